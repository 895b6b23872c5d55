package diagnose

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the table
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
)

//go:generate go run ./internal/gen -o table.gz

//go:embed table.gz
var packed []byte

// table says which packages hold what, for each suite. internal/gen says how it is
// written.
type table struct {
	suites []string
	// answers are the packages of each suite, by number.
	answers []string
	// names gives the number of the answer for a name behind its kind.
	names map[string]int32
}

// load unpacks the table when it is first wanted: only builds that failed need it.
var load = sync.OnceValues(func() (*table, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		return nil, err
	}
	return parse(string(text))
})

// parse reads the text of the table.
func parse(text string) (*table, error) {
	suites, text, _ := strings.Cut(text, "\n")
	t := &table{suites: strings.Fields(suites), names: make(map[string]int32, strings.Count(text, "\n"))}
	for len(text) > 0 {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if answer, ok := strings.CutPrefix(line, "="); ok {
			if n := strings.Count(answer, "|"); n > 0 && n != len(t.suites)-1 {
				return nil, fmt.Errorf("the answer %q is not for %d suites", answer, len(t.suites))
			}
			t.answers = append(t.answers, answer)
		} else if len(t.answers) == 0 {
			return nil, errors.New("a name stands before the first answer")
		} else {
			t.names[line] = int32(len(t.answers) - 1)
		}
	}
	return t, nil
}

// debian answers for one suite; for none where its number is negative.
type debian struct {
	table *table
	suite int
}

// of returns the packages for a name of a kind, the likeliest first.
func (d debian) of(kind, name string) []string {
	number, ok := d.table.names[kind+name]
	if !ok || d.suite < 0 {
		return nil
	}
	answer := d.table.answers[number]
	if strings.Contains(answer, "|") {
		answer = strings.Split(answer, "|")[d.suite]
	}
	if answer == "" {
		return nil
	}
	return strings.Split(answer, ",")
}

// anyOf returns the packages for the first name that has any.
func (d debian) anyOf(kind string, names ...string) []string {
	for _, name := range names {
		if packages := d.of(kind, name); packages != nil {
			return packages
		}
	}
	return nil
}

// holdingHeader returns the packages for a header as it is included: those for that
// path, or those for the nearest of its directories that is known.
func (d debian) holdingHeader(name string) []string {
	name = path.Clean(name)
	if packages := d.of("h", name); packages != nil {
		return packages
	}
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if packages := d.of("d", dir); packages != nil {
			return packages
		}
	}
	return nil
}

// holdingLibrary returns the packages for a library as linkers name it.
func (d debian) holdingLibrary(name string) []string {
	return d.anyOf("l", name, strings.ToLower(name))
}

// holdingPkgConfig returns the packages for a name that pkg-config is asked for. Meson
// looks for such names in other ways too, and is not strict about case.
func (d debian) holdingPkgConfig(name string) []string {
	lower := strings.ToLower(name)
	packages := d.anyOf("p", name, lower, "lib"+lower)
	if packages == nil {
		packages = d.anyOf("c", lower)
	}
	if packages == nil {
		packages = d.holdingLibrary(name)
	}
	return packages
}

// holdingCMake returns the packages for a name that CMake's find_package is asked for.
func (d debian) holdingCMake(name string) []string {
	lower := strings.ToLower(name)
	packages := d.anyOf("c", lower, strings.TrimPrefix(lower, "lib"))
	if packages == nil {
		packages = d.holdingPkgConfig(lower)
	}
	if packages == nil {
		packages = d.holdingLibrary(strings.TrimPrefix(lower, "lib"))
	}
	return packages
}
