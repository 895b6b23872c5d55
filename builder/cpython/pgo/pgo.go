// Package pgo holds training profiles: what an instrumented CPython counted while it ran,
// as data that later compilations are optimised by: GCC's (-fprofile-generate and
// -fprofile-use), which has a file for each object, or clang's (-fprofile-instr-generate and
// -fprofile-instr-use), which is one file. Beside it there can be what BOLT arranges linked files by.
//
// Training gives other counts each time. A profile that is pinned by its hash makes an
// optimised build repeatable, and saves it the training.
package pgo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"ampoule/faults"
	"ampoule/tree"
)

// Format is raised when profiles of before do not fit any more.
const Format = 1

// aboutName is the member that says what a profile is of, dataDir the directory of the
// counts: data/Objects/abstract.gcda belongs to Objects/abstract.o.
const (
	aboutName = "profile.json"
	dataDir   = "data"
	dataExt   = ".gcda"
)

// limits bound a profile. One of CPython 3.13 has 300 members and 3 MB.
var limits = tree.Limits{Entries: 20_000, Bytes: 256 << 20}

// mostAbout bounds profile.json, in bytes.
const mostAbout = 4 << 20

// About says what a profile was made of.
type About struct {
	Format int `json:"format"`
	// Version and Source are CPython's: 3.13.5, and the sha256 of its source archive.
	Version string `json:"version"`
	Source  string `json:"source"`
	// GCC is the compiler's version as -dumpfullversion gives it, empty of clang; Clang is clang's as
	// -dumpversion gives it. Compilers are the compiler's packages as NAME=VERSION.
	GCC       string   `json:"gcc"`
	Clang     string   `json:"clang,omitempty"`
	Compilers []string `json:"compilers"`
	// Configure and Make are the arguments of the two.
	Configure []string `json:"configure"`
	Make      []string `json:"make"`
	// Builtin are the modules that the recipe has linked in, sorted.
	Builtin []string `json:"builtin,omitempty"`
	// Task is what the interpreter ran, without its own name; Commands are the recipe's that
	// were run in its place.
	Task     []string   `json:"task,omitempty"`
	Commands [][]string `json:"commands,omitempty"`
	// Merged are the sha256 of the profiles that this one was made of, sorted.
	Merged []string `json:"merged,omitempty"`
	// Objects says of each object file, by its path below the build directory, whether
	// GCC has counts for it. Clang counts functions by name: Functions is for how many there are counts.
	Objects   map[string]bool `json:"objects"`
	Functions int             `json:"functions,omitempty"`
	// Bolt is nil where BOLT has no part in it.
	Bolt *Bolt `json:"bolt,omitempty"`
}

// Counted is of how many object files there are counts.
func (a About) Counted() int {
	n := 0
	for _, counted := range a.Objects {
		if counted {
			n++
		}
	}
	return n
}

// Profile is a training profile.
type Profile struct {
	About About
	// data are the compiler's counts, and bolt is BOLT's data, below their directories.
	data, bolt []tree.Entry
}

// errNothingCounted says that there is nothing to be optimised by.
var errNothingCounted = faults.New(faults.Build, "configure must have --enable-optimizations, and the compiler must be GCC or clang", "training counted nothing")

// New makes a profile of counts: a tree that has OBJECT.gcda for some of the objects, or [ClangData]. It
// says in the profile what has counts.
func New(about About, objects []string, counts *tree.Tree) (*Profile, error) {
	about.Format, about.Objects = Format, make(map[string]bool, len(objects))
	for _, object := range objects {
		about.Objects[object] = false
	}
	if about.Clang != "" {
		return newClang(about, counts)
	}
	p := &Profile{About: about}
	for _, e := range counts.Entries() {
		if e.Kind != tree.File {
			continue
		}
		object := strings.TrimSuffix(e.Path, dataExt) + ".o"
		if _, known := about.Objects[object]; !known || path.Ext(e.Path) != dataExt {
			return nil, misfit("%s belongs to no object file of the build", e.Path)
		}
		about.Objects[object] = true
		p.data = append(p.data, e)
	}
	if len(p.data) == 0 {
		return nil, errNothingCounted
	}
	return p, p.check()
}

// Write writes the profile as a tar that has one form.
func (p *Profile) Write(w io.Writer) error {
	about, err := json.MarshalIndent(p.About, "", " ")
	if err != nil {
		return fmt.Errorf("writing profile: %w", err)
	}
	files := []tree.Entry{tree.FileEntry(aboutName, 0o644, append(about, '\n'))}
	for dir, entries := range map[string][]tree.Entry{dataDir: p.data, boltDir: p.bolt} {
		for _, e := range entries {
			e.Path, e.Mode, e.UID, e.GID = path.Join(dir, e.Path), 0o644, 0, 0
			files = append(files, e)
		}
	}
	t, err := tree.New(files)
	if err != nil {
		return fmt.Errorf("writing profile: %w", err)
	}
	return t.WriteTar(w, "", tree.Time)
}

// Read reads a profile, which somebody else may have made, within limits. One that is not
// whole, or that contradicts itself, is a [*MisfitError]. The counts stay where they are.
func Read(r io.ReaderAt, size int64) (*Profile, error) {
	t, err := tree.FromTar(r, size, limits)
	if err != nil {
		return nil, misfit("it is no profile: %w", err)
	}
	p := &Profile{}
	told := false
	for _, e := range t.Entries() {
		counts, isData := strings.CutPrefix(e.Path, dataDir+"/")
		fdata, isBolt := strings.CutPrefix(e.Path, boltDir+"/")
		switch {
		case e.Kind == tree.Dir && (isData || e.Path == dataDir || e.Path == boltDir):
		case e.Kind == tree.File && e.Path == aboutName:
			told = true
			if err := p.About.read(e); err != nil {
				return nil, err
			}
		case e.Kind == tree.File && isData:
			e.Path = counts
			p.data = append(p.data, e)
		case e.Kind == tree.File && isBolt:
			e.Path = fdata
			p.bolt = append(p.bolt, e)
		default:
			return nil, misfit("%s does not belong into a profile", e.Path)
		}
	}
	if !told {
		return nil, misfit("it has no %s", aboutName)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, p.checkBolt()
}

func (a *About) read(e tree.Entry) error {
	if e.Size > mostAbout {
		return misfit("its %s has %d bytes; %d are the most", aboutName, e.Size, mostAbout)
	}
	data, err := e.ReadAll()
	if err != nil {
		return fmt.Errorf("reading profile: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(a); err != nil {
		return misfit("reading its %s: %w", aboutName, err)
	}
	if a.Format != Format {
		return misfit("its format is %d, and %d is the one that this Ampoule reads", a.Format, Format)
	}
	return nil
}

// errNoCounts says that an interpreter would not be optimised by a profile.
var errNoCounts = misfit("it has no counts")

// check compares the compiler's counts with what the profile says of itself.
func (p *Profile) check() error {
	if p.About.Clang != "" {
		return p.checkFunctions()
	}
	if len(p.data) == 0 {
		return errNoCounts
	}
	seen := map[string]bool{}
	for _, e := range p.data {
		object := strings.TrimSuffix(e.Path, dataExt) + ".o"
		if path.Ext(e.Path) != dataExt || !p.About.Objects[object] {
			return misfit("it has counts for %s and does not list them", object)
		}
		seen[object] = true
		if err := p.checkCounts(e); err != nil {
			return err
		}
	}
	for _, object := range slices.Sorted(maps.Keys(p.About.Objects)) {
		if p.About.Objects[object] && !seen[object] {
			return misfit("it lists counts for %s and has none", object)
		}
	}
	return nil
}

func (p *Profile) checkCounts(e tree.Entry) error {
	content, err := e.Content.Open()
	if err != nil {
		return fmt.Errorf("reading profile: %w", err)
	}
	defer content.Close()
	version, err := readCounts(content, e.Size)
	if err != nil {
		return misfit("%s: %w", e.Path, err)
	}
	if !strings.HasPrefix(p.About.GCC+".", version+".") {
		return misfit("%s is of GCC %s, and the profile of GCC %s", e.Path, version, p.About.GCC)
	}
	return nil
}

// Counts is the tree of the counts, where the compiler looks for them: OBJECT.gcda beside where OBJECT.o will be.
func (p *Profile) Counts(ctx context.Context) (*tree.Tree, error) { return readable(ctx, p.data) }

// readable is the tree of entries, which can be read until ctx is done.
func readable(ctx context.Context, entries []tree.Entry) (*tree.Tree, error) {
	files := make([]tree.Entry, len(entries))
	for i, e := range entries {
		e.Content = tree.While(ctx, e.Content)
		files[i] = e
	}
	return tree.New(files)
}

// Fits compares a profile with the build that it is for. What is not the same is a
// [*MisfitError] that names it.
func (a About) Fits(build About) error {
	switch {
	case a.Bolt == nil && build.Bolt != nil:
		return misfit("it has no data for BOLT, and the recipe has --enable-bolt")
	case a.Bolt != nil && build.Bolt == nil:
		return misfit("it has data for BOLT, and the recipe has no --enable-bolt")
	}
	a.Compilers = a.own()
	what, was, is := a.differs(build)
	if what == "" {
		return nil
	}
	return &MisfitError{
		err:   fmt.Errorf("%s is %s in the profile, and %s in the build", what, was, is),
		stale: what == aCompiler || what == aGCC || what == aClang || what == aBolt,
	}
}

// own are the packages of the compiler that counted. Profiles of before list those of all compilers in their toolchain.
func (a About) own() []string {
	major, _, _ := strings.Cut(cmp.Or(a.Clang, a.GCC), ".")
	return slices.DeleteFunc(slices.Clone(a.Compilers), func(pkg string) bool {
		name, _, _ := strings.Cut(pkg, "=")
		family, version, _ := strings.Cut(name, "-")
		clangs := family == "clang" || family == "llvm"
		return family != "bolt" && (clangs != (a.Clang != "") || version != major)
	})
}

// The parts that an update of the toolchain changes.
const (
	aCompiler = "the compiler"
	aGCC      = "GCC"
	aClang    = "clang"
	aBolt     = "BOLT"
)

// differs says what is not the same of two builds, and how it is in both; nothing if all is.
func (a About) differs(b About) (what, was, is string) {
	for _, part := range []struct{ what, was, is string }{
		{"CPython", a.Version, b.Version},
		{"CPython's source", a.Source, b.Source},
		{aCompiler, strings.Join(a.Compilers, " "), strings.Join(b.Compilers, " ")},
		{aGCC, a.GCC, b.GCC},
		{aClang, a.Clang, b.Clang},
		{aBolt, a.Bolt.version(), b.Bolt.version()},
		{"configure", a.shaping(a.Configure), a.shaping(b.Configure)},
		{"make", a.shaping(a.Make), a.shaping(b.Make)},
		{"python.builtin", strings.Join(a.Builtin, " "), strings.Join(b.Builtin, " ")},
	} {
		if part.was != part.is {
			return part.what, orNone(part.was), orNone(part.is)
		}
	}
	return "", "", ""
}

// named begins the arguments of configure that something else here is compared for: the names of programs. BOLT's flags
// decide what it makes of its data.
var named = []string{"CC=", "CXX=", "LLVM_AR=", "LLVM_PROFDATA=", "LLVM_BOLT=", "MERGE_FDATA=", "BOLT_"}

// linking begins the arguments of configure and make that do not change how objects are compiled, but of what executables
// are linked, and how. Objects of a shared libpython are others: GCC gives many functions another shape where code may
// be anywhere in memory.
var linking = []string{"--enable-static-libpython-for-interpreter", "LINK_PYTHON_OBJS=", "LINKCC=", "LDFLAGS=", "LDFLAGS_NODIST="}

// linkTime begins the argument of configure that has objects optimised when they are linked. Training does without, and
// GCC looks at counts before: they fit both.
const linkTime = "--with-lto"

// late begins the compiler's flags that decide about code only when functions have their shapes and their counters.
// Where one of them changes the shape of a function after all, the compiler refuses its counts. A level of x86-64 is
// none of them: what an instruction costs decides about inlining, before functions have counters.
var late = []string{"-falign-", "-fno-plt", "-fprofile-partial-training", "-ftls-model="}

// shaping are the arguments that may change what is counted. BOLT counts in what is linked, where each flag counts.
// Their order says nothing: a recipe cannot decide the same twice.
func (a About) shaping(args []string) string {
	args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return begins(named, arg) })
	slices.Sort(args)
	if a.Bolt != nil {
		return strings.Join(args, " ")
	}
	var shape []string
	for _, arg := range args {
		if begins(linking, arg) || a.Clang == "" && strings.HasPrefix(arg, linkTime) {
			continue
		}
		name, flags, _ := strings.Cut(arg, "=")
		if name == "CFLAGS" || name == "CFLAGS_NODIST" {
			words := slices.DeleteFunc(strings.Fields(flags), func(word string) bool { return begins(late, word) })
			if len(words) == 0 {
				continue
			}
			arg = name + "=" + strings.Join(words, " ")
		}
		shape = append(shape, arg)
	}
	return strings.Join(shape, " ")
}

func begins(starts []string, text string) bool {
	return slices.ContainsFunc(starts, func(start string) bool { return strings.HasPrefix(text, start) })
}

// FitsObjects compares the object files of a build with those that a profile is of.
func (a About) FitsObjects(objects []string) error {
	for _, object := range objects {
		if _, known := a.Objects[object]; !known {
			return misfit("the build has %s, which was not there in training", object)
		}
	}
	for _, object := range slices.Sorted(maps.Keys(a.Objects)) {
		if !slices.Contains(objects, object) {
			return misfit("the build has no %s, which was there in training", object)
		}
	}
	return nil
}

func orNone(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// MisfitError says that a profile is not one for this build, or none at all.
type MisfitError struct {
	err error
	// stale says that the toolchain is another one than that of the training.
	stale bool
}

func misfit(format string, args ...any) error {
	return &MisfitError{err: fmt.Errorf(format, args...)}
}

func (e *MisfitError) Error() string { return "the training profile does not fit: " + e.err.Error() }

// Kind says whose fault it is: the recipe names the profile.
func (*MisfitError) Kind() faults.Kind { return faults.Input }

// Hint says what to do.
func (e *MisfitError) Hint() string {
	if e.stale {
		return "train a new one with `ampoule pgo-profile --write --upgrade`, and lock with `ampoule lock --upgrade`: every recipe with this CPython, these flags and this compiler can name it"
	}
	return "train a new one with `ampoule pgo-profile --write`, or remove python.profile from the recipe"
}

// Unwrap gives the reason.
func (e *MisfitError) Unwrap() error { return e.err }
