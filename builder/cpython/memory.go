package cpython

import (
	"strings"

	"ampoule/builder/sandbox"
)

// memoryKind is the store's kind of records that say how much memory compiling an interpreter held here, in
// bytes, by CPython's version, what configure is told, and whether it counts.
const memoryKind = "interpreter-memory"

// Measure reports whether records of a kind say what compiling took. They decide no bit of what is made.
func Measure(kind string) bool { return kind == memoryKind }

// memoryKey parts an interpreter that counts from others: it is linked without link-time optimisation, and takes less.
func (c *compilation) memoryKey() string {
	key := append([]string{c.spec.Version}, c.configureArgs...)
	if c.counting {
		key = append(key, "counting")
	}
	return strings.Join(key, " ")
}

// memory is how much memory the steps take that compile: what they took before, and 0 if nobody knows.
func (c *compilation) memory() (bytes int64, err error) {
	_, err = c.stage.Store.Lookup(memoryKind, c.memoryKey(), &bytes)
	return bytes, err
}

// tookMemory remembers how much memory the sandbox was seen to hold at most, if anybody looked. A step that
// failed may have ended early: it lowers nothing. What cannot be remembered is not known the next time.
func (c *compilation) tookMemory(failed error) {
	peak, known := sandbox.Peak(c.sb)
	if !known {
		return
	}
	if failed != nil {
		before, err := c.memory()
		if err != nil || before >= peak {
			return
		}
	}
	_ = c.stage.Store.Record(memoryKind, c.memoryKey(), peak)
}
