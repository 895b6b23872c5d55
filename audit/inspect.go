package audit

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"ampoule/artifact"
	"ampoule/audit/elf"
	"ampoule/audit/policy"
	"ampoule/packaging"
	"ampoule/tree"
)

// Place is what an interpreter would import from, judged where it stands: nothing of it
// need have been built here, or be meant to travel.
type Place struct {
	// Tree has the files that are judged, and the interpreter's as far as [InterpreterFiles]
	// wants them, by their absolute paths without the leading slash.
	Tree *tree.Tree
	// Interpreter is the path of the executable in Tree, not of a link to it: empty when
	// it is not known.
	Interpreter string
	// Site is the directory in Tree that distributions are installed in.
	Site string
	// Prefix is the directory of the environment, or of the interpreter, that Site is in, on
	// the inspector's machine; empty where Site is in none, or somewhere else.
	Prefix string
	// Mounts says that more may be mounted where it runs: the machine is an image.
	Mounts bool
	// CPU is as in [Target]: the level of the machine's processor.
	CPU string
	// Installed are distributions in other directories of the same interpreter, by their
	// normalised names (PEP 503), with their versions. Beside are libraries of such distributions,
	// or of those that would be installed together with a wheel, each with its owner. They count
	// as there, and are not judged.
	Installed map[string]string
	Beside    []tree.Entry
	// Alone says that Tree has one wheel's files, as if it were installed, or one file:
	// others may be installed beside it, and a wheel's RECORD was compared by [OpenWheel].
	Alone bool
	// Wheel is the name of the wheel file that is judged, or of the directory that a program was
	// packed into under the name of one: installers, and such programs, choose by its tags,
	// whatever is in its WHEEL. It is empty without one.
	Wheel string
}

// Inspection is what the checks found in a [Place].
type Inspection struct {
	// Objects counts the ELF files that were judged, without the interpreter's; Dependent those
	// of them that need something of an interpreter or of a machine to work.
	Objects   int
	Dependent int
	Checks    []CheckResult
	Findings  []Finding
	// Unjudged are the checks for which something was not known.
	Unjudged []Unjudged
	// Interpreter is nil when it is not known.
	Interpreter *Interpreter
	// Compiled are the distributions, NAME VERSION, whose wheels have the tag of one machine's
	// Linux, which no index takes: somebody compiled them for himself.
	Compiled []string
}

// Unjudged is a check that could not be made.
type Unjudged struct {
	Check string `json:"check"`
	// Why says what was not known.
	Why string `json:"why"`
	// Files counts the files that it would have looked at, where that is known.
	Files int `json:"files,omitempty"`
	// Needs says what the check depends on that could have been given, and how to give it;
	// empty where nothing could.
	Needs string `json:"needs,omitempty"`
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

// Inspector judges places of one machine. It may be used concurrently.
type Inspector struct {
	// root is nil when the machine is not known.
	root    Root
	machine machine
	// read are the files of the machine and of its interpreters that were read before.
	read objectCache
	// interpreters are those that were measured before.
	interpreters interpreters
}

// NewInspector makes an inspector of a machine with that root file system, which is nil
// when it is not known.
func NewInspector(root Root) *Inspector {
	i := &Inspector{root: root}
	if root != nil {
		i.machine = machineOf(root)
		i.root = &rememberedRoot{Root: root, seen: map[string]answer{}}
	}
	return i
}

// objectCache holds ELF files that were read, by path and hash.
type objectCache struct {
	mu      sync.Mutex
	objects map[string]*object
	// spent is what they cost.
	spent *spending
}

// get returns what was read before of a file, or reads it.
//
//nolint:contextcheck // its own count of costs, where nobody gave one, has no end but its bounds
func (c *objectCache) get(e tree.Entry) (*object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := e.SHA256 + " " + e.Path
	if o, ok := c.objects[key]; ok {
		return o, nil
	}
	var o *object
	if e.Size >= int64(len(elf.Magic)) {
		var err error
		if o, err = readObject(e); err != nil {
			return nil, err
		}
	}
	if c.objects == nil {
		c.objects, c.spent = map[string]*object{}, newSpending(context.Background())
	}
	if o != nil {
		if err := c.spent.object(o); err != nil {
			return nil, err
		}
	}
	c.objects[key] = o
	return o, nil
}

// Inspect makes every check that does not need more than is known of a place. An error
// means that there is no result: content cannot be read, or ctx is done.
func (i *Inspector) Inspect(ctx context.Context, p Place) (Inspection, error) {
	x, err := i.newFound(ctx, p)
	if err != nil {
		return Inspection{}, fmt.Errorf("inspecting files: %w", err)
	}
	known := aPlace
	if p.Alone {
		known = 0
	}
	if x.home.known() {
		known |= anInterpreter
	}
	musl := x.python().Musl
	if i.root != nil && !musl {
		known |= aMachine
	}
	if i.root != nil && p.Prefix != "" {
		known |= anEnvironment
	}
	in := Inspection{Interpreter: x.told()}
	for name, o := range x.objects {
		if x.interpreters(name) || x.beside[name] {
			continue
		}
		in.Objects++
		if o.depends() {
			in.Dependent++
		}
	}
	var findings []Finding
	for _, c := range checks {
		if missing := c.needs &^ known; missing != 0 {
			if why, needs := missing.text(p.Alone, musl); why != "" {
				n := Unjudged{Check: c.name, Why: why, Needs: needs}
				if why != WhyNoBuild {
					n.Files = in.Objects
				}
				in.Unjudged = append(in.Unjudged, n)
			}
			continue
		}
		result, told, unjudged, err := x.inspect(ctx, c)
		if err != nil {
			return Inspection{}, fmt.Errorf("inspecting files: check %s: %w", c.name, err)
		}
		if unjudged != "" {
			in.Unjudged = append(in.Unjudged, Unjudged{Check: c.name, Why: unjudged})
			continue
		}
		in.Checks = append(in.Checks, result)
		findings = append(findings, told...)
	}
	slices.SortStableFunc(findings, compareFindings)
	in.Findings, in.Compiled = findings, x.compiled()
	return in, nil
}

// inspect makes one check of what is found, and says why if nothing could be judged.
func (x *exam) inspect(ctx context.Context, c check) (result CheckResult, findings []Finding, unjudged string, err error) {
	o, err := c.run(ctx, x)
	if err != nil || o.unjudged != "" {
		return CheckResult{}, nil, o.unjudged, err
	}
	result = CheckResult{Name: c.name, Reason: c.reason, Examined: o.examined}
	findings = slices.DeleteFunc(merge(o.all()), func(f Finding) bool { return x.beside[f.File] })
	for i := range findings {
		f := &findings[i]
		f.Check, f.Targets, f.Distribution = c.name, nil, x.distribution(f.File)
		if x.interpreters(f.File) && c.name != environmentCheck {
			// Whoever made the interpreter answers for it; what is in question is what it would import.
			f.Severity, f.Needs = Warn, ""
		}
		result.Count(*f)
	}
	return result, findings, "", nil
}

// WhyNoInterpreter is the reason of [Unjudged] where no interpreter is known.
const WhyNoInterpreter = "the interpreter is not known"

// whyMusl is the reason of [Unjudged] where the interpreter is linked to musl: what the
// checks know of the loader's search and of symbols' versions is glibc's.
const whyMusl = "the interpreter's C library is musl, and only glibc's loader and versions are known"

// WhyNoBuild is the reason of [Unjudged] for what only a build can show.
const WhyNoBuild = "nothing is run, and nothing is known of the build"

// needsInterpreter is what checks depend on where no interpreter is known: it has a machine.
const needsInterpreter = "the interpreter that imports it: --against names its executable, its prefix, an environment of it, or an image that has it"

// text says what is not known, and what would have to be given; empty when nobody would
// miss it.
func (n need) text(alone, musl bool) (why, needs string) {
	switch {
	case n&aBuild != 0:
		return WhyNoBuild, ""
	case alone && n&aPlace != 0:
		return "", ""
	case n&anInterpreter != 0:
		return WhyNoInterpreter, needsInterpreter
	case n&aMachine != 0 && musl:
		return whyMusl, ""
	case n&aMachine != 0:
		return "the machine is not known", needsInterpreter
	case n&anEnvironment != 0:
		return "", ""
	}
	return "nothing is installed", ""
}

// newFound makes the exam of a place.
func (i *Inspector) newFound(ctx context.Context, p Place) (*exam, error) {
	x := &exam{Subject: Subject{Tree: p.Tree, Targets: []Target{{Name: "here", CPU: p.CPU}}}, found: true}
	if p.Interpreter != "" {
		var err error
		if x.home, err = newInstallation(p.Tree, p.Interpreter); err != nil {
			return nil, err
		}
	}
	x.home.site = p.Site
	x.dists = distsOf(p.Tree, p.Site)
	x.Tree = owned(p.Tree, p.Site, x.dists())
	if err := x.lay(p); err != nil {
		return nil, err
	}
	var err error
	spent := newSpending(ctx)
	if x.objects, err = i.readTree(x.Tree, spent); err != nil {
		return nil, err
	}
	x.facts = i.interpreters.of(p, x.home, x.objects)
	root := i.root
	if root == nil {
		root = &tree.Tree{}
	}
	on := i.machine
	if p.CPU != "" {
		on.level = cpuLevel(p.CPU)
	}
	x.glibc, x.alone, x.prefix, x.machine, x.mounts = on.glibc, p.Alone, p.Prefix, i.root, p.Mounts
	r := openResolver(ResolverInput{Tree: x.Tree, Root: root, machine: on, bring: x.bring, spent: spent}, x.home, x.objects, &i.read)
	if name, err := packaging.ParseWheelName(p.Wheel); err == nil {
		x.named = name.Tags()
	}
	x.runs = []run{{Target: x.Targets[0], Resolver: r, loadings: r.loadings(), found: true, alone: p.Alone}}
	return x, spent.fault
}

// lay adds what is installed beside to the tree.
func (x *exam) lay(p Place) (err error) {
	x.installed, x.beside = p.Installed, map[string]bool{}
	var more []tree.Entry
	for _, e := range p.Beside {
		if _, ok := x.Tree.Lookup(e.Path); !ok && !x.beside[e.Path] {
			x.beside[e.Path] = true
			more = append(more, e)
		}
	}
	if len(more) > 0 {
		x.Tree, err = x.Tree.With(more...)
	}
	return err
}

// readTree is as the function, but reads an interpreter's files once.
func (i *Inspector) readTree(t *tree.Tree, spent *spending) (map[string]*object, error) {
	return readEach(t, func(e tree.Entry) (o *object, err error) {
		if e.Owner == OwnerInterpreter {
			o, err = i.read.get(e)
		} else {
			o, err = readObject(e)
		}
		if err != nil || o == nil {
			return nil, err
		}
		return o, spent.object(o)
	})
}

// distribution names the distribution that a file belongs to.
func (x *exam) distribution(file string) string {
	e, _ := x.Tree.Lookup(file)
	for _, d := range x.dists() {
		if e.Owner == OwnerWheel+d.name {
			return d.label()
		}
	}
	return ""
}

// label is a distribution's NAME VERSION.
func (d dist) label() string {
	_, version, _ := packaging.ParseInfoDir(path.Base(d.info))
	return printable(d.name + " " + version)
}

// compiled lists the distributions whose wheels are for any Linux of a machine, whatever its
// C library: such are made for the machine that makes them (PEP 513 tells why).
func (x *exam) compiled() []string {
	var list []string
	for _, d := range x.dists() {
		tags, _ := x.promised(d)
		if slices.ContainsFunc(tags, func(t packaging.Tag) bool { return strings.HasPrefix(t.Platform, "linux_") }) {
			list = append(list, d.label())
		}
	}
	return list
}

// owned says of the files of a tree which distributions' RECORDs list them.
func owned(t *tree.Tree, site string, list []dist) *tree.Tree {
	owners := map[string]string{}
	for _, d := range list {
		owner := OwnerWheel + d.name
		for _, row := range d.rows {
			if p, ok := recorded(site, row.Path); ok {
				owners[p] = owner
			}
		}
	}
	return t.Map(func(e tree.Entry) tree.Entry {
		if owner := owners[e.Path]; owner != "" && e.Kind == tree.File {
			e.Owner = owner
		}
		return e
	})
}

// interpreters reports whether a file is the interpreter's and not what it imports from site-packages.
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

// Follow finds the file that an absolute path leads to in a file system, following links
// as the kernel does; its path is without links.
func Follow(root Root, abs string) (tree.Entry, bool) {
	at, ok := view{tree: &tree.Tree{}, root: root}.resolve(abs)
	return at.Entry, ok
}

// Glibc is the version of a machine's glibc, by what its libc.so.6 defines; empty where
// there is none.
func Glibc(root Root) string {
	at := view{tree: &tree.Tree{}, root: root}
	for _, m := range []elf.Machine{elf.X8664, elf.AArch64} {
		for _, dir := range defaultDirs(m) {
			libc, ok := at.resolve(dir + "/libc.so.6")
			if !ok || libc.Kind != tree.File || libc.Size < int64(len(elf.Magic)) {
				continue
			}
			o, err := readObject(libc.Entry)
			if err != nil || o == nil || o.fault != nil {
				continue
			}
			best := ""
			for _, name := range o.Defines {
				if v, ok := strings.CutPrefix(name, "GLIBC_"); ok && slices.Compare(policy.Numbers(v), policy.Numbers(best)) > 0 {
					best = v
				}
			}
			return best
		}
	}
	return ""
}

// loaderDirs reads the directories that a machine's loader is configured to search
// (ldconfig(8)): ldconfig has put what is there into its cache. Included files count where
// the file system can list directories.
func loaderDirs(root Root) []string {
	var dirs []string
	seen := map[string]bool{}
	var read func(file string)
	read = func(file string) {
		e, ok := Follow(root, file)
		if !ok || e.Kind != tree.File || e.Size > maxConfig || seen[e.Path] || len(seen) > maxConfigs {
			return
		}
		seen[e.Path] = true
		r, err := e.Content.Open()
		if err != nil {
			return
		}
		defer r.Close()
		lines := bufio.NewScanner(io.LimitReader(r, maxConfig))
		for lines.Scan() {
			line, _, _ := strings.Cut(lines.Text(), "#")
			line = strings.TrimSpace(line)
			pattern, isInclude := strings.CutPrefix(line, "include ")
			switch {
			case isInclude:
				for _, included := range glob(root, path.Join(path.Dir(file), strings.TrimSpace(pattern)), pattern) {
					read(included)
				}
			case path.IsAbs(line):
				dirs = append(dirs, path.Clean(line))
			}
		}
	}
	read("/etc/ld.so.conf")
	return dirs
}

// Bounds of ld.so.conf: bytes of a file, and files.
const (
	maxConfig  = 64 << 10
	maxConfigs = 100
)

// glob lists the files that a pattern's last part matches; a pattern may be relative to
// the directory of the file that it stands in.
func glob(root Root, relative, pattern string) []string {
	pattern = strings.TrimSpace(pattern)
	if !path.IsAbs(pattern) {
		pattern = relative
	}
	in, ok := root.(lister)
	if !ok {
		return nil
	}
	dir, last := path.Split(pattern)
	at, ok := Follow(root, dir)
	if !ok {
		return nil
	}
	names, err := in.List(at.Path)
	if err != nil {
		return nil
	}
	var files []string
	for _, name := range names {
		if ok, err := path.Match(last, name); err == nil && ok {
			files = append(files, path.Join(dir, name))
		}
	}
	return files
}

// triplets are the directories of lib in which Debian has what is for one machine.
var triplets = []string{"", "x86_64-linux-gnu", "aarch64-linux-gnu"}

// InterpreterFiles gives patterns, as path.Match has them, of the files that the checks
// look at of the interpreter whose executable has the given path; its modules are among
// them on request. Any of them may be missing.
func InterpreterFiles(exe string, modules bool) ([]string, error) {
	m := executableName.FindStringSubmatch(path.Base(exe))
	if m == nil {
		return nil, fmt.Errorf("%s is not named pythonX.Y: %w", exe, ErrNoInterpreter)
	}
	top := path.Join(path.Dir(path.Dir(exe)), "lib")
	home := installation{version: m[1], flags: m[2]}
	patterns := []string{exe, path.Join(path.Dir(top), artifact.RecordFile)}
	includes := []string{"python" + home.version}
	if home.flags != "" {
		includes = append(includes, "python"+home.version+home.flags)
	}
	for _, dir := range includes {
		patterns = append(patterns, path.Join(path.Dir(top), "include", dir, "patchlevel.h"))
	}
	for _, dir := range triplets {
		patterns = append(patterns, path.Join(top, dir, "pkgconfig", "python-"+home.version+"*.pc"), path.Join(top, dir, home.soname()), path.Join(top, dir, "libpython3.so"))
	}
	patterns = append(patterns, path.Join(top+"64", home.soname()))
	libs := []string{"python" + home.version}
	if strings.Contains(home.flags, "t") {
		libs = append(libs, libs[0]+"t")
	}
	for _, lib := range libs {
		for _, dir := range []string{top, top + "64"} {
			patterns = append(patterns, path.Join(dir, lib, "build-details.json"), path.Join(dir, lib, "_sysconfigdata_*.py"))
			for _, config := range home.configs() {
				patterns = append(patterns, path.Join(dir, lib, config, "Makefile"))
			}
			if modules {
				patterns = append(patterns, path.Join(dir, lib, "lib-dynload", "*.so"))
			}
		}
	}
	return patterns, nil
}
