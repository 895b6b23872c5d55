package audit

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"ampoule/audit/elf"
	"ampoule/tree"
)

// Place is what an interpreter would import from, judged where it stands: nothing of it
// need have been built here, or be meant to travel.
type Place struct {
	// Tree has the files that are judged, and the interpreter's as far as [InterpreterFiles]
	// wants them, by their absolute paths without the leading slash.
	Tree *tree.Tree
	// Root is the machine around them; nil when it is not known.
	Root Root
	// Interpreter is the path of the executable in Tree, not of a link to it: empty when
	// it is not known.
	Interpreter string
	// Site is the directory in Tree that distributions are installed in.
	Site string
	// Wheel says that Tree has one wheel's files, as if it were installed: others may be
	// installed beside it, and its RECORD was compared by [OpenWheel].
	Wheel bool
}

// Inspection is what the checks found in a [Place].
type Inspection struct {
	// Objects counts the ELF files that were judged, without the interpreter's.
	Objects  int
	Checks   []CheckResult
	Findings []Finding
	// Unjudged are the checks for which something was not known.
	Unjudged []Unjudged
	// Interpreter is nil when it is not known.
	Interpreter *Interpreter
}

// Unjudged is a check that could not be made.
type Unjudged struct {
	Check string `json:"check"`
	// Why says what was not known.
	Why string `json:"why"`
}

// Interpreter is what is told of the interpreter that files were judged against.
type Interpreter struct {
	// File is the executable's path.
	File string `json:"file"`
	// Version is 3.13; Flags are the ABI flags of the executable's name.
	Version string `json:"version"`
	Flags   string `json:"flags,omitempty"`
	// Link is [LinkStatic] or [LinkShared]; empty when it can be neither.
	Link string `json:"link,omitempty"`
	// Libpython is the shared library that it needs; empty when it is static.
	Libpython string `json:"libpython,omitempty"`
}

// Inspect makes every check that does not need more than is known of a place. An error
// means that there is no result: content cannot be read, or ctx is done.
func Inspect(ctx context.Context, p Place) (Inspection, error) {
	x, err := newFound(p)
	if err != nil {
		return Inspection{}, fmt.Errorf("inspecting files: %w", err)
	}
	known := aPlace
	if p.Wheel {
		known = 0
	}
	if x.home.known() {
		known |= anInterpreter
	}
	if p.Root != nil {
		known |= aMachine
	}
	in := Inspection{Interpreter: x.told()}
	for name := range x.objects {
		if !x.interpreters(name) {
			in.Objects++
		}
	}
	var findings []Finding
	for _, c := range checks {
		if missing := c.needs &^ known; missing != 0 {
			if why := missing.text(p.Wheel); why != "" {
				in.Unjudged = append(in.Unjudged, Unjudged{c.name, why})
			}
			continue
		}
		o, err := c.run(ctx, x)
		if err != nil {
			return Inspection{}, fmt.Errorf("inspecting files: check %s: %w", c.name, err)
		}
		result := CheckResult{Name: c.name, Reason: c.reason, Examined: o.examined}
		for _, f := range merge(o.findings) {
			f.Check, f.Targets = c.name, nil
			if x.interpreters(f.File) {
				// Whoever made the interpreter answers for it; what is in question is what it would import.
				f.Severity = Warn
			}
			if f.Severity == Warn {
				result.Warned++
			} else {
				result.Refused++
			}
			findings = append(findings, f)
		}
		in.Checks = append(in.Checks, result)
	}
	slices.SortStableFunc(findings, compareFindings)
	in.Findings = findings
	return in, nil
}

// text says what is not known; empty when nobody would miss it.
func (n need) text(inWheel bool) string {
	switch {
	case n&aBuild != 0:
		return "nothing is run, and nothing is known of the build"
	case n&anInterpreter != 0:
		return "the interpreter is not known"
	case n&aMachine != 0:
		return "the machine is not known"
	case inWheel:
		return ""
	}
	return "nothing is installed"
}

// newFound makes the exam of a place.
func newFound(p Place) (*exam, error) {
	x := &exam{Subject: Subject{Tree: p.Tree, Targets: []Target{{Name: "here"}}}, found: true}
	if p.Interpreter != "" {
		var err error
		if x.home, err = newInstallation(p.Tree, p.Interpreter); err != nil {
			return nil, err
		}
	}
	x.home.site = p.Site
	var err error
	if x.objects, err = readTree(p.Tree); err != nil {
		return nil, err
	}
	root := p.Root
	if root == nil {
		root = &tree.Tree{}
	}
	r := openResolver(ResolverInput{Tree: p.Tree, Root: root}, x.home, x.objects)
	x.runs = []run{{Target: x.Targets[0], Resolver: r, loadings: r.loadings(), found: true, alone: p.Wheel}}
	return x, nil
}

// interpreters tells whether a file is the interpreter's and not what it imports from site-packages.
func (x *exam) interpreters(file string) bool {
	e, ok := x.Tree.Lookup(file)
	return ok && e.Owner == OwnerInterpreter
}

func (x *exam) told() *Interpreter {
	if !x.home.known() {
		return nil
	}
	told := &Interpreter{File: "/" + x.home.exe, Version: x.home.version, Flags: x.home.flags}
	exe := x.objects[x.home.exe]
	if exe == nil || !exe.loads() {
		return told
	}
	if exe.holdsRuntime() {
		told.Link = LinkStatic
	}
	if i := slices.IndexFunc(exe.Needed, IsLibpython); i >= 0 {
		told.Link, told.Libpython = LinkShared, exe.Needed[i]
	}
	return told
}

// glibc is the version of the machine's glibc, by what its libc.so.6 defines; nil when it
// is not known.
func (r run) glibc() []int {
	var highest []int
	for _, m := range []elf.Machine{elf.X8664, elf.AArch64} {
		for _, dir := range defaultDirs(m) {
			at, ok := r.resolve(dir + "/libc.so.6")
			if !ok || at.Kind != tree.File {
				continue
			}
			libc, err := r.object(at)
			if err != nil || libc.fault != nil {
				continue
			}
			for _, name := range libc.Defines {
				if v, ok := parseGlibc(name); ok && slices.Compare(v, highest) > 0 {
					highest = v
				}
			}
			return highest
		}
	}
	return highest
}

// InterpreterFiles lists what the checks look at of the interpreter whose executable has
// the given path: files, and directories whose files they look at, not below them. Any of
// them may be missing.
func InterpreterFiles(exe string) (files, dirs []string, err error) {
	m := executableName.FindStringSubmatch(path.Base(exe))
	if m == nil {
		return nil, nil, fmt.Errorf("%s is not named pythonX.Y: %w", exe, ErrNoInterpreter)
	}
	top := path.Join(path.Dir(path.Dir(exe)), "lib")
	home := installation{version: m[1], flags: m[2]}
	files = append(files, exe)
	for _, dir := range []string{"", "x86_64-linux-gnu", "aarch64-linux-gnu"} {
		files = append(files, path.Join(top, dir, home.soname()), path.Join(top, dir, "libpython3.so"))
	}
	libs := []string{"python" + home.version}
	if strings.Contains(home.flags, "t") {
		libs = append(libs, libs[0]+"t")
	}
	for _, lib := range libs {
		files = append(files, path.Join(top, lib, "build-details.json"))
		dirs = append(dirs, path.Join(top, lib, "lib-dynload"), path.Join(top, lib))
	}
	return files, dirs, nil
}
