package recipes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const lockHeader = "# Written by `ampoule lock`. Change the recipe or the requirements and run it again.\n"

// Encode gives the lock's canonical text: the same for equal locks, whatever the
// order of their lists, with a line for each package, dist and name. Lists and
// keys that hold nothing are left out.
func (l *Lock) Encode() []byte {
	e := &lockEncoder{}
	e.WriteString(lockHeader)
	e.pair(0, "apiVersion", l.APIVersion)
	e.key(0, "answers")
	e.list(1, "recipe", sorted(l.Answers.Recipe))
	e.list(1, "requirements", sorted(l.Answers.Requirements))
	e.key(0, "python")
	e.pair(1, "version", l.Python.Version)
	e.pair(1, "file", l.Python.File)
	e.pair(1, "sha256", l.Python.SHA256)
	e.list(1, "flags", sorted(l.Python.Flags))
	e.key(0, "base")
	e.base(1, l.Base)
	e.list(0, "toolchain", sorted(l.Toolchain))
	e.key(0, "targets")
	for _, name := range slices.Sorted(maps.Keys(l.Targets)) {
		e.key(1, name)
		e.base(2, l.Targets[name])
	}
	e.libraries(0, l.Libraries)
	e.debian(0, l.Debian)
	e.list(0, "requirements", sorted(l.Requirements))
	e.app(l.App)
	e.dists(0, l.Dists)
	if len(l.Groups) > 0 {
		e.key(0, "groups")
	}
	for _, name := range slices.Sorted(maps.Keys(l.Groups)) {
		e.group(name, l.Groups[name])
	}
	return e.Bytes()
}

func sorted(texts []string) []string { return slices.Sorted(slices.Values(texts)) }

type lockEncoder struct{ bytes.Buffer }

func (e *lockEncoder) indent(depth int) { e.WriteString(strings.Repeat("  ", depth)) }

func (e *lockEncoder) key(depth int, key string) {
	e.indent(depth)
	e.WriteString(scalar(key) + ":\n")
}

func (e *lockEncoder) pair(depth int, key, value string) {
	e.indent(depth)
	e.WriteString(scalar(key) + ": " + scalar(value) + "\n")
}

func (e *lockEncoder) list(depth int, key string, texts []string) {
	if len(texts) == 0 {
		return
	}
	e.key(depth, key)
	for _, text := range texts {
		e.indent(depth + 1)
		e.WriteString("- " + scalar(text) + "\n")
	}
}

func (e *lockEncoder) base(depth int, b LockedBase) {
	if b.Image != "" {
		e.pair(depth, "image", b.Image)
	}
	if b.Suite != "" {
		e.pair(depth, "suite", b.Suite)
	}
	e.list(depth, "packages", sorted(b.Packages))
}

// libraries writes what is loaded by name, if anything is.
func (e *lockEncoder) libraries(depth int, l *LockedLibraries) {
	if l == nil {
		return
	}
	e.key(depth, "libraries")
	e.list(depth+1, "names", sorted(l.Names))
	e.list(depth+1, "packages", sorted(l.Packages))
	e.overrides(depth+1, l.Overrides)
}

// group writes the section of a dependency group.
func (e *lockEncoder) group(name string, g LockedGroup) {
	if len(g.Answers)+len(g.Requirements)+len(g.Debian)+len(g.Dists) == 0 && g.Libraries == nil {
		e.indent(1)
		e.WriteString(scalar(name) + ": {}\n")
		return
	}
	e.key(1, name)
	e.list(2, "answers", sorted(g.Answers))
	e.list(2, "requirements", sorted(g.Requirements))
	e.libraries(2, g.Libraries)
	e.debian(2, g.Debian)
	e.dists(2, g.Dists)
}

func (e *lockEncoder) debian(depth int, suites map[string]Suite) {
	if len(suites) > 0 {
		e.key(depth, "debian")
	}
	for _, suite := range slices.Sorted(maps.Keys(suites)) {
		if len(suites[suite]) == 0 {
			e.indent(depth + 1)
			e.WriteString(scalar(suite) + ": []\n")
			continue
		}
		e.key(depth+1, suite)
		debs := slices.SortedFunc(slices.Values(suites[suite]), func(a, b Deb) int { return cmp.Compare(a.Name, b.Name) })
		for _, d := range debs {
			e.indent(depth + 2)
			fmt.Fprintf(e, "- {name: %s, version: %s, arch: %s, file: %s, sha256: %s}\n",
				scalar(d.Name), scalar(d.Version), scalar(d.Arch), scalar(d.File), scalar(d.SHA256))
		}
	}
}

// app writes first-party code, in its own order.
func (e *lockEncoder) app(apps []LockedApp) {
	if len(apps) > 0 {
		e.key(0, "app")
	}
	for _, a := range apps {
		fmt.Fprintf(e, "  - source: %s\n", scalar(a.Source))
		e.pair(2, "name", a.Name)
		e.pair(2, "version", a.Version)
		e.list(2, "requires", sorted(a.Requires))
		e.key(2, "build")
		e.build(3, a.Build)
	}
}

func (e *lockEncoder) dists(depth int, dists []Dist) {
	if len(dists) > 0 {
		e.key(depth, "dists")
	}
	for _, d := range slices.SortedFunc(slices.Values(dists), func(a, b Dist) int { return cmp.Compare(a.ID(), b.ID()) }) {
		e.indent(depth + 1)
		if d.Build == nil {
			source := ""
			if d.Source != "" {
				source = ", source: " + scalar(d.Source)
			}
			fmt.Fprintf(e, "- {name: %s, version: %s, file: %s, sha256: %s%s}\n", scalar(d.Name), scalar(d.Version), scalar(d.File), scalar(d.SHA256), source)
			continue
		}
		fmt.Fprintf(e, "- name: %s\n", scalar(d.Name))
		e.pair(depth+2, "version", d.Version)
		e.pair(depth+2, "file", d.File)
		e.pair(depth+2, "sha256", d.SHA256)
		if d.Source != "" {
			e.pair(depth+2, "source", d.Source)
		}
		e.key(depth+2, "build")
		e.build(depth+3, d.Build)
	}
}

// build writes what building one sdist takes.
func (e *lockEncoder) build(depth int, b *BuildSet) {
	e.flow(depth, "requires", sorted(b.Requires))
	if len(b.Added) > 0 {
		e.flow(depth, "added", sorted(b.Added))
	}
	e.flow(depth, "dynamic", sorted(b.Dynamic))
	e.flow(depth, "dists", sorted(b.Dists))
	if len(b.Packages) > 0 {
		e.flow(depth, "packages", sorted(b.Packages))
	}
	if len(b.Env) > 0 {
		e.key(depth, "env")
	}
	for _, name := range slices.Sorted(maps.Keys(b.Env)) {
		e.pair(depth+1, name, b.Env[name])
	}
	if len(b.ConfigSettings) > 0 {
		e.key(depth, "config-settings")
	}
	for _, name := range slices.Sorted(maps.Keys(b.ConfigSettings)) {
		e.indent(depth + 1)
		e.WriteString(scalar(name) + ": " + b.ConfigSettings[name].String() + "\n")
	}
	items(e, depth, "patches", b.Patches, func(p Patch) string {
		return fmt.Sprintf("file: %s, sha256: %s", scalar(p.File), scalar(p.SHA256))
	})
	crates := slices.SortedFunc(slices.Values(b.Crates), func(a, b Crate) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version)) })
	items(e, depth, "crates", crates, func(c Crate) string {
		return fmt.Sprintf("name: %s, version: %s, sha256: %s", scalar(c.Name), scalar(c.Version), scalar(c.SHA256))
	})
	e.cargoLocks(depth, b.CargoLocks)
	e.overrides(depth, b.Overrides)
}

// cargoLocks writes the files as blocks, so that a change of them reads as one.
func (e *lockEncoder) cargoLocks(depth int, locks []CargoLock) {
	if len(locks) > 0 {
		e.key(depth, "cargo-locks")
	}
	for _, c := range locks {
		e.indent(depth + 1)
		e.WriteString("- file: " + scalar(c.File) + "\n")
		e.indent(depth + 2)
		e.WriteString("text: |\n")
		for line := range strings.Lines(c.Text) {
			if line != "\n" {
				e.indent(depth + 3)
			}
			e.WriteString(line)
		}
	}
}

// overrides writes which rules were applied.
func (e *lockEncoder) overrides(depth int, applied []Applied) {
	items(e, depth, "overrides", applied, func(a Applied) string {
		return fmt.Sprintf("name: %s, revision: %s, why: %s", scalar(a.Name), scalar(a.Revision), scalar(a.Why))
	})
}

// items writes a list of mappings, a line each.
func items[T any](e *lockEncoder, depth int, key string, list []T, spell func(T) string) {
	if len(list) > 0 {
		e.key(depth, key)
	}
	for _, v := range list {
		e.indent(depth + 1)
		e.WriteString("- {" + spell(v) + "}\n")
	}
}

// flow writes a list in one line.
func (e *lockEncoder) flow(depth int, key string, texts []string) {
	e.indent(depth)
	e.WriteString(scalar(key) + ": " + flow(texts) + "\n")
}

// String gives the setting as it stands in YAML.
func (s Setting) String() string {
	if s.List != nil {
		return flow(s.List)
	}
	return scalar(s.Text)
}

// Equal reports whether both are the same text, or the same list.
func (s Setting) Equal(other Setting) bool {
	return s.Text == other.Text && (s.List == nil) == (other.List == nil) && slices.Equal(s.List, other.List)
}

// MarshalJSON gives the text, or the list.
func (s Setting) MarshalJSON() ([]byte, error) {
	if s.List != nil {
		return json.Marshal(s.List)
	}
	return json.Marshal(s.Text)
}

func flow(texts []string) string {
	scalars := make([]string, len(texts))
	for i, text := range texts {
		scalars[i] = scalar(text)
	}
	return "[" + strings.Join(scalars, ", ") + "]"
}

var (
	plainScalar = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/+=~@-]*$`)
	// ambiguous are plain texts that some YAML reader takes for something else:
	// numbers of any notation, dates, and the words of YAML 1.1.
	ambiguous = regexp.MustCompile(`(?i)^([0-9][0-9_]*(\.[0-9_]*)?(e[+-]?[0-9]+)?|0x[0-9a-f_]+|0o?[0-7_]+|0b[01_]+|[0-9]+-[0-9]+-[0-9].*|true|false|null|yes|no|on|off|y|n)$`)
)

// Scalar writes a text as one YAML value that is read back as that text.
func Scalar(text string) string { return scalar(text) }

// scalar spells a text plainly where every YAML reader takes it for text, and in
// double quotes with JSON's escapes elsewhere.
func scalar(text string) string {
	if plainScalar.MatchString(text) && !ambiguous.MatchString(text) {
		return text
	}
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	// A string always encodes.
	_ = encoder.Encode(text)
	return strings.TrimSpace(quoted.String())
}
