// Package diagnose reads the log of a build step that failed and says what the build
// wanted and did not have, and which entry of the recipe would give it that.
//
// It knows the sentences of compilers, linkers, pkg-config, Meson, CMake, autoconf,
// pip, setuptools, cargo and of the sdists that people build most. Which package of
// Debian holds a header, a library or a program comes from a table made from Debian's
// own indexes of files (internal/gen), for each suite.
package diagnose

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// mostCauses is how many causes a log may have: who sees ten has enough to do.
const mostCauses = 10

// Cause is something that a build wanted and did not have, or was not allowed.
type Cause struct {
	// What says it in one line: "the header libpq-fe.h is missing".
	What string
	// Line is the log's line that says so, without control codes, at most 300 bytes.
	Line string
	// Build are the Debian packages of the suite any one of which holds what is
	// missing, the likeliest first; empty when none is known.
	Build []string
	// Requires are Python distributions, as PEP 508 requirements, to add to the build
	// requirements of the wheel.
	Requires []string
	// Advice says what to do where adding one of those is not all, or no help.
	Advice string
}

// Read returns the causes that a log tells, in the order of the log, each once and at
// most ten. What a build merely looked for (an optional dependency) counts only where
// nothing else explains the failure. The log may be of any size: a line's first 4 KiB
// count, and memory does not grow with it. The packages are those of the Debian suite
// (bullseye, bookworm, trixie); of other suites none are known. The error is that of
// reading the log, with the causes found until then.
func Read(log io.Reader, suite string) ([]Cause, error) {
	table, err := load()
	if err != nil {
		return nil, fmt.Errorf("reading table of packages: %w", err)
	}
	s := &scan{debian: debian{table, slices.Index(table.suites, suite)}, used: make([]bool, len(rules))}
	err = eachLine(log, s.line)
	if err != nil {
		err = fmt.Errorf("reading log: %w", err)
	}
	return s.causes(), err
}

// unknown is the advice where nothing better is known.
const unknown = "add the Debian package that holds it to build"

// Entry returns what the causes' wheel should have below its name in the recipe's
// packages, as a YAML flow mapping: the likeliest package of each cause and all
// requirements. It is empty where neither helps.
func Entry(causes []Cause) string {
	var build, requires []string
	for _, c := range causes {
		if len(c.Build) > 0 && !slices.ContainsFunc(c.Build, func(name string) bool { return slices.Contains(build, name) }) {
			build = append(build, c.Build[0])
		}
		for _, requirement := range c.Requires {
			if quoted := strconv.Quote(requirement); !slices.Contains(requires, quoted) {
				requires = append(requires, quoted)
			}
		}
	}
	var parts []string
	if len(build) > 0 {
		parts = append(parts, "build: ["+strings.Join(build, ", ")+"]")
	}
	if len(requires) > 0 {
		parts = append(parts, "requires: ["+strings.Join(requires, ", ")+"]")
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// finding is a cause with what decides whether it is told.
type finding struct {
	Cause
	// optional marks what a build did without, as far as the line tells.
	optional bool
	// configured marks what was asked of pkg-config, possibly by Meson or CMake.
	configured bool
}

// scan goes through a log. Its findings are bounded.
type scan struct {
	debian
	used     []bool // rules that say a thing only once, and did
	warning  bool   // CMake's message that the line belongs to is but a warning
	found    []finding
	optional []finding
}

// line takes note of what a line says.
func (s *scan) line(line string) {
	s.cmakeMessage(line)
	for _, i := range candidates(line) {
		r := rules[i]
		if s.used[i] {
			continue
		}
		m := r.expr().FindStringSubmatch(line)
		if m == nil {
			continue
		}
		findings := r.say(s, m)
		for _, f := range findings {
			f.Line = shortened(line)
			if f.Build == nil && f.Requires == nil && f.Advice == "" {
				f.Advice = unknown
			}
			s.add(f)
		}
		s.used[i] = r.once && len(findings) > 0
		if len(findings) > 0 {
			return
		}
	}
}

// add keeps a finding that says something new.
func (s *scan) add(f finding) {
	into := &s.found
	if f.optional {
		into = &s.optional
	}
	if len(*into) < mostCauses && !slices.ContainsFunc(*into, f.repeats) {
		*into = append(*into, f)
	}
}

// repeats reports whether a finding has nothing to add to an earlier one: the same
// words, or the same cure.
func (f finding) repeats(earlier finding) bool {
	if f.What == earlier.What {
		return true
	}
	cured := len(f.Build)+len(f.Requires) > 0
	return cured && slices.Equal(f.Build, earlier.Build) && slices.Equal(f.Requires, earlier.Requires)
}

// causes returns what explains the failure best.
func (s *scan) causes() []Cause {
	told := s.found
	if len(told) == 0 {
		told = s.optional
	} else if slices.ContainsFunc(told, func(f finding) bool { return f.configured }) {
		// Without pkg-config, nothing that it is asked for is found, and each tool
		// says of its absence that it goes on.
		i := slices.IndexFunc(s.optional, func(f finding) bool { return f.What == missingProgram("pkg-config") })
		if i >= 0 && !slices.ContainsFunc(told, s.optional[i].repeats) {
			told = slices.Insert(slices.Clone(told), 0, s.optional[i])
		}
	}
	var causes []Cause
	for _, f := range told[:min(len(told), mostCauses)] {
		causes = append(causes, f.Cause)
	}
	return causes
}
