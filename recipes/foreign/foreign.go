// Package foreign reads the lock files of other tools: which versions they pin for one
// Python on linux/amd64, and by which hashes. It reads files alone: it runs nothing, and
// asks no index.
package foreign

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/faults"
	"ampoule/packaging"
)

// Format is a kind of lock file.
type Format string

// The formats, by the usual name of the file.
const (
	UV     Format = "uv.lock"
	Poetry Format = "poetry.lock"
	PDM    Format = "pdm.lock"
	Pipenv Format = "Pipfile.lock"
	// Pylock is the format of PEP 751.
	Pylock Format = "pylock.toml"
)

// Formats are all of them.
var Formats = []Format{UV, Poetry, PDM, Pipenv, Pylock}

// commands write each lock anew.
var commands = map[Format]string{UV: "uv lock", Poetry: "poetry lock", PDM: "pdm lock", Pipenv: "pipenv lock", Pylock: "uv export --format pylock.toml -o pylock.toml"}

// Command is what a person runs to have the lock written anew. Several tools write
// [Pylock]; the command is that of one.
func (f Format) Command() string { return commands[f] }

// editors are the commands that add and remove a requirement of what each lock is made from.
var editors = map[Format]struct{ add, remove string }{
	UV: {"uv add", "uv remove"}, Poetry: {"poetry add", "poetry remove"}, PDM: {"pdm add", "pdm remove"}, Pipenv: {"pipenv install", "pipenv uninstall"},
}

// Editors are what a person runs to add and to remove a requirement and have the lock written
// anew. They are empty for [Pylock], which is exported from something else.
func (f Format) Editors() (add, remove string) { return editors[f].add, editors[f].remove }

// pylockName is a name that PEP 751 gives to its files.
var pylockName = regexp.MustCompile(`^pylock\.[^.]+\.toml$`)

// Recognise tells a lock file by its name.
func Recognise(file string) (Format, bool) {
	base := path.Base(file)
	if pylockName.MatchString(base) {
		return Pylock, true
	}
	f := Format(base)
	return f, slices.Contains(Formats, f)
}

// Found is a lock file that was found.
type Found struct {
	File   string
	Format Format
}

// Detect finds the lock files in the root of a file system, in the order of [Formats].
func Detect(fsys fs.FS) ([]Found, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("looking for lock files: %w", err)
	}
	var found []Found
	for _, e := range entries {
		if format, ok := Recognise(e.Name()); ok && !e.IsDir() {
			found = append(found, Found{e.Name(), format})
		}
	}
	slices.SortStableFunc(found, func(a, b Found) int {
		return cmp.Compare(slices.Index(Formats, a.Format), slices.Index(Formats, b.Format))
	})
	return found, nil
}

// Query says what is wanted of a lock.
type Query struct {
	// Python is the version of CPython in full, such as 3.13.5.
	Python string
	// Extras are extras of the project.
	Extras []string
	// Groups are dependency groups, beside what the project itself requires. "main" and
	// "default" are names of the latter.
	Groups []string
	// Package is the member of a workspace whose requirements are meant; empty is the root.
	Package string
}

// Place is a place in a file. Line and Column count from 1, columns in characters; 0 is
// not known.
type Place struct {
	File         string
	Line, Column int
}

// String gives file:line:column.
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Package is one distribution that a lock pins.
type Package struct {
	// Name is normalised (PEP 503).
	Name    string
	Version string
	// Hashes are those of the release's files, wheels and sdists, as ALGORITHM:HEX: sorted,
	// each once, none weaker than sha256.
	Hashes []string
	// Registry is set where the package comes from another index than most others: its
	// address without credentials, or its name.
	Registry string
	// Place is where the package's entry begins.
	Place
}

// Lock is what a lock file pins for one Python.
type Lock struct {
	// Packages has each name once, sorted.
	Packages []Package
	// FirstParty are the project itself and other members of its workspace, as far as they
	// are in the lock. They have no hashes.
	FirstParty []Package
	// Files are the bytes of all files that were read, by name.
	Files map[string][]byte
}

// Fault is one thing that is wrong.
type Fault struct {
	Place
	// What says what is wrong, in one line; Hint what can be done.
	What, Hint string
}

// Faults are all things that are wrong; as an error it is never empty.
type Faults []Fault //nolint:errname // a list of faults, which is an error too

// Error gives a line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String() + ": " + fault.What
	}
	return strings.Join(lines, "\n")
}

// Kind says whose fault it is.
func (Faults) Kind() faults.Kind { return faults.Input }

// Hint gives each hint once, a line for each.
func (f Faults) Hint() string {
	var hints []string
	for _, fault := range f {
		if fault.Hint != "" && !slices.Contains(hints, fault.Hint) {
			hints = append(hints, fault.Hint)
		}
	}
	return strings.Join(hints, "\n")
}

// Limits on what is read.
const (
	maxBytes    = 16 << 20
	maxPackages = 10_000
	maxHashes   = 200_000
	maxFaults   = 100
)

// Read reads a lock file of a file system, and the project file beside it where there is
// one: it says what was required when the lock was made. What is wrong in the files, and
// what cannot be had as the lock has it, is told as [Faults]; every other error is of
// reading files.
func Read(fsys fs.FS, file string, q Query) (*Lock, error) {
	format, ok := Recognise(file)
	if !ok {
		return nil, fmt.Errorf("reading %s: the name is that of no lock file", file)
	}
	r := &reader{
		fsys: fsys, file: file, format: format, query: q, env: packaging.LinuxEnvironment(q.Python, "x86_64"),
		lock: &Lock{Files: map[string][]byte{}},
	}
	for i, extra := range q.Extras {
		if i == 0 {
			r.query.Extras = nil
		}
		r.query.Extras = append(r.query.Extras, packaging.NormalName(extra))
	}
	data, err := r.content(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	switch format {
	case UV:
		err = r.uv(data)
	case Poetry:
		err = r.poetry(data)
	case PDM:
		err = r.pdm(data)
	case Pipenv:
		err = r.pipenv(data)
	case Pylock:
		r.pylock(data)
	}
	if err != nil {
		return nil, err
	}
	r.finish()
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	return r.lock, nil
}

// reader reads one lock file.
type reader struct {
	fsys   fs.FS
	file   string
	format Format
	query  Query
	env    packaging.Environment
	lock   *Lock
	faults Faults
}

// add tells of a fault.
func (r *reader) add(at Place, hint, format string, args ...any) {
	if len(r.faults) < maxFaults {
		r.faults = append(r.faults, Fault{at, fmt.Sprintf(format, args...), hint})
	}
}

// again is the hint of a lock that its tool should write anew.
func (r *reader) again() string { return "run `" + r.format.Command() + "`" }

// start is the beginning of the lock file.
func (r *reader) start() Place { return Place{r.file, 1, 1} }

// beside names a file relative to the lock's directory.
func (r *reader) beside(name string) string { return path.Join(path.Dir(r.file), name) }

var errTooLarge = fmt.Errorf("it has more than %d bytes", maxBytes)

// content reads a file within limits.
func (r *reader) content(name string) (data []byte, err error) {
	f, err := r.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	data, err = io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(data) > maxBytes {
		err = errTooLarge
	}
	if err == nil {
		r.lock.Files[name] = data
	}
	return data, err
}

// optional reads a file that need not be there.
func (r *reader) optional(name string) (data []byte, ok bool, err error) {
	data, err = r.content(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("reading %s: %w", name, err)
	}
	return data, true, nil
}

// wantsGroup reports whether a group is asked for, beside what the project requires.
func (r *reader) wantsGroup(name string) bool {
	return slices.ContainsFunc(r.query.Groups, func(g string) bool { return packaging.NormalName(g) == packaging.NormalName(name) })
}

// groups are the groups that are asked for beside the project's own requirements, which
// some tools call main and others default.
func (r *reader) groups() []string {
	return slices.DeleteFunc(slices.Clone(r.query.Groups), func(g string) bool { return g == "main" || g == "default" })
}

// unknown tells of an extra, a group or a member that a lock does not have.
func (r *reader) unknown(at Place, what, name string, known []string) {
	hint := r.format.has(what, known)
	r.add(at, hint, "%s has no %s %q", path.Base(r.file), what, name)
}

func (f Format) has(what string, known []string) string {
	if len(known) == 0 {
		return "it has none"
	}
	slices.Sort(known)
	shown := known
	if len(shown) > 20 {
		shown = append(slices.Clone(known[:20]), "…")
	}
	return "its " + what + "s: " + strings.Join(shown, ", ")
}

// unknownFormat tells of a format that this reader does not know.
func (r *reader) unknownFormat(at Place, field, value, known string) {
	r.add(at, "write it with a version of the tool that writes "+known+", or export a requirements file with hashes",
		"%s %s is a form of %s that is not known; %s is", field, value, path.Base(r.file), known)
}

// stale tells of a lock that is older than its project file.
func (r *reader) stale(at Place, project, why string) {
	what := fmt.Sprintf("%s is older than %s", path.Base(r.file), project)
	if why != "" {
		what += ": " + why
	}
	r.add(at, r.again()+", and `ampoule lock`", "%s", what)
}

// forPython checks a lock's Requires-Python, as PEP 440 has it.
func (r *reader) forPython(at Place, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	specifiers, err := packaging.ParseSpecifiers(text)
	if err != nil {
		r.add(at, r.again(), "%q are no versions of Python", shorten(text))
		return
	}
	if v, err := packaging.ParseVersion(r.query.Python); err == nil && !specifiers.Contains(v) {
		r.otherPython(at, text)
	}
}

func (r *reader) otherPython(at Place, text string) {
	r.add(at, "write a python.version that it is for, or let the project be for "+r.query.Python+" and "+r.again(),
		"%s is for Python %s, and the recipe builds %s", path.Base(r.file), text, r.query.Python)
}

// holds reports whether a marker holds here; a marker that is none is a fault.
func (r *reader) holds(at Place, marker string, extras, groups []string) bool {
	if marker == "" {
		return true
	}
	m, err := packaging.ParseLockMarker(marker)
	if err != nil {
		r.add(at, r.again(), "%v in the marker %q", err, shorten(marker))
		return false
	}
	return m.HoldsIn(r.env, extras, groups)
}

// refuse tells of a package that no index has.
func (r *reader) refuse(at Place, name, from, hint string) {
	r.add(at, hint, "%s comes from %s, not from an index", name, from)
}

const (
	hintRelease = "require a release of it from an index, or put what is there into an index of your own"
	hintMember  = "make it a member of the workspace, or put it into an index of your own"
)

func shorten(text string) string {
	if r := []rune(text); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return text
}
