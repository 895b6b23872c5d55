package seal

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/tree"
)

// Owners of entries that neither the interpreter nor a wheel brought.
const (
	// OwnerNative is for carried libraries and data.
	OwnerNative = "native"
	// OwnerMetadata is for what tells about the artifact itself.
	OwnerMetadata = "metadata"
)

// Parts are what a tree is made of.
type Parts struct {
	// Interpreter and Wheels are relative to the tree's root.
	Interpreter, Wheels *tree.Tree
	// Installed are the wheels that Wheels was made of.
	Installed []Wheel
	// Root is the file system that everything was compiled in: libraries and data
	// to carry come from it.
	Root *tree.Tree
	// LeftOut are files of wheels that Wheels does not have.
	LeftOut []audit.LeftOut
	// Libraries are what programs load by name.
	Libraries Libraries
	// Finish gives carried libraries, by their paths in the tree, what they need to find each
	// other there, and returns those that changed ([Stage.Carry]).
	Finish func(libraries []tree.Entry) ([]tree.Entry, error)
	// Providers are the recipe's.
	Providers []audit.Provider
	// Name is the recipe's name, Python the interpreter's full version.
	Name, Python string
	// InterpreterKey and Toolchain name what decided the interpreter.
	InterpreterKey string
	Toolchain      []string
}

// Sealed is a tree in its final form.
type Sealed struct {
	Tree *tree.Tree
	// Record is what the tree tells of what it is made of.
	Record *audit.ArtifactRecord
	// Sources are the sha256, in hex, of the files that changed carried ones were made of, by their
	// paths in the tree.
	Sources map[string]string
	// Told is what a person should know of what was left out.
	Told []string
}

// MissingLibraryError says that a file needs a shared library that is nowhere.
type MissingLibraryError struct{ Missing []audit.Missing }

func (e *MissingLibraryError) Error() string {
	lines := make([]string, len(e.Missing))
	for i, m := range e.Missing {
		lines[i] = fmt.Sprintf("%s, needed by %s", m.Name, strings.Join(recipes.First(m.By), ", "))
	}
	return "shared libraries are neither in the tree nor in the toolchain: " + strings.Join(recipes.First(lines), "; ")
}

// Kind says whose fault it is.
func (*MissingLibraryError) Kind() faults.Kind { return faults.Build }

// Hint says what to write into the recipe.
func (e *MissingLibraryError) Hint() string {
	return "add the Debian package that has the library to packages.NAME.build, or, if the machine provides it, to runtime.vm.host; a library of the tree that another module loads before is named in gate.providers"
}

// Seal makes the tree. Libraries that a target's host provides are not carried.
func Seal(p Parts, host []string) (*Sealed, error) {
	t, err := merge(p)
	if err != nil {
		return nil, err
	}
	if t, err = carryData(t, p.Root); err != nil {
		return nil, err
	}
	t, told, err := carryNamed(t, p.Libraries, host)
	if err != nil {
		return nil, err
	}
	if t, err = carryLibraries(t, p, host); err != nil {
		return nil, err
	}
	whole := t
	if t, err = lessICU(t); err != nil {
		return nil, err
	}
	if t, err = finishCarried(t, p.Finish); err != nil {
		return nil, err
	}
	if t, err = t.With(pipLock(p, t)...); err != nil {
		return nil, err
	}
	t = normalize(t)
	fingerprint, err := audit.Measure(t)
	if err != nil {
		return nil, fmt.Errorf("measuring the interpreter: %w", err)
	}
	for _, l := range p.LeftOut {
		if len(l.Clashes) > 0 {
			told = append(told, l.String())
		}
	}
	made := record(p, fingerprint)
	meta, err := metadata(made)
	if err != nil {
		return nil, err
	}
	if t, err = t.With(meta); err != nil {
		return nil, err
	}
	return &Sealed{Tree: normalize(t), Record: made, Sources: sources(whole, t), Told: told}, nil
}

// sources says of the files that a tree carries, and that are not what they were before, what
// they were.
func sources(before, now *tree.Tree) map[string]string {
	were := map[string]string{}
	for _, e := range before.Entries() {
		if e.Owner != OwnerNative || e.Kind != tree.File {
			continue
		}
		if is, _ := now.Lookup(e.Path); is.SHA256 != e.SHA256 {
			were[e.Path] = e.SHA256
		}
	}
	return were
}

// merge lays the wheels over the interpreter. Where a wheel brings a distribution
// that the interpreter has (pip), the interpreter's goes.
func merge(p Parts) (*tree.Tree, error) {
	interpreter := p.Interpreter.Map(func(e tree.Entry) tree.Entry {
		e.Owner = audit.OwnerInterpreter
		return e
	})
	bundled, err := own(interpreter)
	if err != nil {
		return nil, err
	}
	replaced := map[string]bool{}
	for _, w := range p.Installed {
		replaced[audit.OwnerWheel+w.Name] = true
	}
	// A .dist-info directory that stays behind empty is a distribution to importlib.metadata.
	emptied := map[string]bool{}
	for _, e := range bundled.Entries() {
		for dir := path.Dir(e.Path); replaced[e.Owner] && dir != "."; dir = path.Dir(dir) {
			emptied[dir] = true
		}
	}
	// New makes those of these directories again that are not empty.
	rest := bundled.Select(func(e tree.Entry) bool { return !replaced[e.Owner] && !emptied[e.Path] })
	rest = rest.Map(func(e tree.Entry) tree.Entry {
		e.Owner = audit.OwnerInterpreter
		return e
	})
	for _, e := range p.Wheels.Entries() {
		if old, ok := rest.Lookup(e.Path); ok && (e.Kind != tree.Dir || old.Kind != tree.Dir) {
			return nil, overwrites(e.Path, fileOf(p.Installed, e.Owner), old.Owner)
		}
		if e.Path == artifact.VariablesFile {
			return nil, overwrites(e.Path, fileOf(p.Installed, e.Owner), OwnerMetadata)
		}
		if library, ok := shadowed(p.Root, e); ok {
			return nil, overwrites(e.Path, fileOf(p.Installed, e.Owner), library)
		}
	}
	return rest.With(p.Wheels.Entries()...)
}

// overwrites says that a wheel would take the place of a file that is not its own: at is
// the file's path in the tree, wheel the name of the wheel's file. Other is what has the
// place: "interpreter", the distribution that it brought ("wheel:pip"), or the path of a
// library that is carried from the toolchain.
func overwrites(at, wheel, other string) error {
	return faults.New(faults.Refused, "leave the distribution out, or the file: packages.NAME.exclude",
		"sealing: %s of %s would take the place of a file of %s", at, wheel, other)
}

// fileOf names the wheel of an owner's distribution.
func fileOf(wheels []Wheel, owner string) string {
	for _, w := range wheels {
		if audit.OwnerWheel+w.Name == owner {
			return w.File
		}
	}
	return cmp.Or(owner, "a wheel that does not list it")
}

// shadowed finds the library of the file system that everything was compiled in whose name
// a wheel's file has in lib, where all modules look: they would get the wheel's in place of
// the one that they were linked with.
func shadowed(root *tree.Tree, e tree.Entry) (string, bool) {
	if root == nil || path.Dir(e.Path) != "lib" || e.Kind == tree.Dir {
		return "", false
	}
	for _, dir := range []string{"lib", "usr/lib", "lib64", "usr/lib64"} {
		for _, arch := range []string{"", "x86_64-linux-gnu", "aarch64-linux-gnu"} {
			p := path.Join(dir, arch, path.Base(e.Path))
			if found, ok := root.Lookup(p); ok && found.Kind != tree.Dir {
				return p, true
			}
		}
	}
	return "", false
}

// own gives each file that a RECORD lists to its distribution, bytecode with its source: what
// the interpreter was built with is told apart by nothing else.
func own(t *tree.Tree) (*tree.Tree, error) {
	owners := map[string]string{}
	for _, e := range t.Entries() {
		info := path.Dir(e.Path)
		site := path.Dir(info)
		name, _, ok := packaging.ParseInfoDir(path.Base(info))
		// What a distribution vendors, with a RECORD perhaps, is its own.
		if path.Base(e.Path) != "RECORD" || !ok || path.Base(site) != "site-packages" {
			continue
		}
		data, err := e.ReadAll()
		if err != nil {
			return nil, err
		}
		rows, err := packaging.ParseRecord(data)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", e.Path, err)
		}
		owner := audit.OwnerWheel + packaging.NormalName(name)
		for _, row := range rows {
			owners[path.Join(site, row.Path)] = owner
		}
	}
	return t.Map(func(e tree.Entry) tree.Entry {
		if owner, ok := owners[sourceOf(e.Path)]; ok && e.Kind != tree.Dir {
			e.Owner = owner
		}
		return e
	}), nil
}

// sourceOf returns the source of a bytecode file (PEP 3147), and any other path as it is.
func sourceOf(p string) string {
	dir, base := path.Split(p)
	if path.Base(dir) != "__pycache__" || !strings.HasSuffix(base, ".pyc") {
		return p
	}
	stem, _, _ := strings.Cut(base, ".cpython-")
	return path.Join(path.Dir(path.Clean(dir)), stem+".py")
}

// carryLibraries puts every shared library that the tree needs, and that is not
// glibc's own, into lib/, under the name that it is asked for.
func carryLibraries(t *tree.Tree, p Parts, host []string) (*tree.Tree, error) {
	in := audit.ResolverInput{Tree: t, Prefix: "/ampoule", Root: p.Root, Host: host, Providers: p.Providers}
	found, missing, err := outside(in)
	if err == nil && len(missing) > 0 {
		in.Search = privateDirs(p.Root, missing)
		if len(in.Search) > 0 {
			var more []audit.Library
			more, missing, err = outside(in)
			found = added(found, more)
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("resolving shared libraries: %w", err)
	case len(missing) > 0:
		return nil, &MissingLibraryError{missing}
	}
	var carried []tree.Entry
	for _, library := range found {
		e := library.Entry
		e.Path, e.Owner = "lib/"+library.Name, OwnerNative
		carried = append(carried, e)
	}
	return t.With(carried...)
}

// added adds what other places have of libraries that were not found before: what the
// loader's own directories have comes from there.
func added(found, more []audit.Library) []audit.Library {
	for _, library := range more {
		if !slices.ContainsFunc(found, func(l audit.Library) bool { return l.Name == library.Name }) {
			found = append(found, library)
		}
	}
	return found
}

func outside(in audit.ResolverInput) (found []audit.Library, missing []audit.Missing, err error) {
	resolver, err := audit.NewResolver(in)
	if err != nil {
		return nil, nil, err
	}
	found, missing = resolver.Outside()
	return found, missing, nil
}

// privateDirs are the directories below the loader's own that alone have a library
// which is missing there. Debian keeps in such what only some programs are to link; a
// module that links one relies on an RPATH, which is taken out of it as the build's.
func privateDirs(root *tree.Tree, missing []audit.Missing) []string {
	where := map[string][]string{}
	for _, e := range root.Sub("usr/lib").Entries() {
		dir, name := path.Split(e.Path)
		if dir != "" && e.Kind != tree.Dir {
			where[name] = append(where[name], path.Join("/usr/lib", dir))
		}
	}
	var dirs []string
	for _, m := range missing {
		if in := where[m.Name]; len(in) == 1 {
			dirs = append(dirs, in[0])
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// carried names the data of the build's file system that a host may lack.
var carried = []struct{ from, to string }{
	{"usr/share/zoneinfo", "share/zoneinfo"},
	{"lib/terminfo", "share/terminfo"},
	{"usr/lib/terminfo", "share/terminfo"},
}

// certificates is where Debian keeps the certificates that its bundle is made of.
const certificates = "usr/share/ca-certificates/mozilla"

// caBundle is where the interpreter looks when the host has no certificates.
const caBundle = "share/ca-certificates/ca-bundle.crt"

func carryData(t, root *tree.Tree) (*tree.Tree, error) {
	var entries []tree.Entry
	for _, c := range carried {
		for _, e := range root.Sub(c.from).Entries() {
			// Two more copies of all zones, and links to this machine's settings.
			if strings.HasPrefix(e.Path, "right/") || strings.HasPrefix(e.Path, "posix/") || e.Path == "right" || e.Path == "posix" || path.IsAbs(e.Link) {
				continue
			}
			e.Path, e.Owner = c.to+"/"+e.Path, OwnerNative
			entries = append(entries, e)
		}
	}
	slices.SortStableFunc(entries, func(a, b tree.Entry) int { return cmp.Compare(a.Path, b.Path) })
	entries = slices.CompactFunc(entries, func(a, b tree.Entry) bool { return a.Path == b.Path })
	var bundle bytes.Buffer
	for _, e := range root.Sub(certificates).Entries() {
		data, err := e.ReadAll()
		if err != nil {
			return nil, err
		}
		bundle.Write(bytes.TrimRight(data, "\n"))
		bundle.WriteByte('\n')
	}
	if bundle.Len() > 0 {
		e := tree.FileEntry(caBundle, 0o644, bundle.Bytes())
		e.Owner = OwnerNative
		entries = append(entries, e)
	}
	return t.With(entries...)
}

// pipLock makes the tree's own pip refuse to change it (PEP 668), and anything that
// is asked of it all the same be binary, hashed and uncached.
func pipLock(p Parts, t *tree.Tree) []tree.Entry {
	managed := `[externally-managed]
Error=This Python belongs to the artifact "` + p.Name + `" that Ampoule sealed.
 It does not change after it was built: add the requirement to the recipe of
 "` + p.Name + `", then run "ampoule lock" and "ampoule build".
 To try something out, make a virtual environment: python3 -m venv DIR
`
	pip := "[global]\nonly-binary = :all:\nrequire-hashes = true\nno-cache-dir = true\n"
	entries := []tree.Entry{
		tree.FileEntry(stdlib(t)+"/EXTERNALLY-MANAGED", 0o644, []byte(managed)),
		tree.FileEntry("pip.conf", 0o644, []byte(pip)),
	}
	for i := range entries {
		entries[i].Owner = OwnerMetadata
	}
	return entries
}

// stdlib returns the directory of the standard library: lib/python3.13.
func stdlib(t *tree.Tree) string {
	for _, e := range t.Entries() {
		if path.Base(e.Path) == "os.py" && strings.Count(e.Path, "/") == 2 && strings.HasPrefix(e.Path, "lib/python") {
			return path.Dir(e.Path)
		}
	}
	return "lib"
}

// normalize gives every entry root as its owner and one of two modes.
func normalize(t *tree.Tree) *tree.Tree {
	return t.Map(func(e tree.Entry) tree.Entry {
		e.UID, e.GID = 0, 0
		switch {
		case e.Kind == tree.Symlink:
			e.Mode = fs.ModePerm
		case e.Kind == tree.Dir || e.Mode&0o111 != 0:
			e.Mode = 0o755
		default:
			e.Mode = 0o644
		}
		return e
	})
}

// record is what the metadata file tells.
func record(p Parts, f audit.Fingerprint) *audit.ArtifactRecord {
	r := &audit.ArtifactRecord{
		Name: p.Name,
		Python: audit.PythonRecord{
			Version: p.Python, Key: p.InterpreterKey, Toolchain: p.Toolchain, Fingerprint: f, FingerprintDigest: f.Digest(),
		},
		Wheels: make([]audit.WheelMade, len(p.Installed)), LeftOut: p.LeftOut,
	}
	for i, w := range p.Installed {
		r.Wheels[i] = audit.WheelMade{Name: w.Name, Version: w.Version, File: w.File, SHA256: w.SHA256, Sdist: w.Sdist, Key: w.Key}
	}
	return r
}

func metadata(r *audit.ArtifactRecord) (tree.Entry, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return tree.Entry{}, fmt.Errorf("writing metadata: %w", err)
	}
	e := tree.FileEntry(artifact.RecordFile, 0o644, append(data, '\n'))
	e.Owner = OwnerMetadata
	return e, nil
}
