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

// linkTime is what compiling with link-time optimisation is taken to hold where nobody has seen it, in bytes: CPython
// 3.13 held 1.5 GB, by GCC 14 and two jobs.
const linkTime = 3 << 29

// memory is how much memory the steps take that compile: what they took before, else a guess, or 0.
func (c *compilation) memory() (bytes int64, err error) {
	seen, err := c.stage.Store.Lookup(memoryKind, c.memoryKey(), &bytes)
	if err == nil && !seen && !c.counting && c.spec.python().LinkTime() {
		bytes = linkTime
	}
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
