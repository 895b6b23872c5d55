package audit

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"ampoule/tree"
)

// Resolver finds shared libraries as glibc's ld.so would, in a tree that stands
// in a root file system.
type Resolver struct {
	view
	home installation
	// search are directories searched after the executable's DT_RPATH.
	search    []string
	machine   machine
	host      map[string]bool
	providers []Provider
	// bring finds a library that something else has loaded before a file that needs it,
	// though the loader's search does not lead to it; nil where nothing does.
	bring func(name string, by *loaded) (lib *object, who string)
	// objects are the tree's ELF files by path, outside those of the root file system.
	objects map[string]*object
	outside *objectCache
	spent   *spending
	// directories are those that hasDir was asked about.
	directories map[string]bool
	// python is the interpreter's process before any import; nil when its
	// executable could not be read.
	python *process
}

// ResolverInput says where a [Resolver] looks.
type ResolverInput struct {
	Tree *tree.Tree
	// Prefix is the absolute directory where Root has the tree.
	Prefix string
	// Interpreter is as in [Subject].
	Interpreter string
	// Root is the root file system around the tree; nil is an empty one.
	Root Root
	// Search are more absolute directories, searched as if they stood in the
	// interpreter's DT_RPATH: for a tree that is not sealed yet.
	Search []string
	// Host is as in [Target].
	Host []string
	// Providers are as in [Subject].
	Providers []Provider
	// machine is what is known of the loader; the zero value is that of the gate, which
	// counts on nothing that one machine has and another has not.
	machine machine
	// bring is as in [Resolver].
	bring func(name string, by *loaded) (lib *object, who string)
	// spent, unless it is nil, bounds how much is loaded.
	spent *spending
}

// Library is a shared library outside the tree that the tree needs.
type Library struct {
	// Name is how it is asked for, usually its soname.
	Name string
	// Path is where ld.so finds it, absolute, links not followed.
	Path string
	// Entry is the file in Root that Path leads to.
	Entry tree.Entry
	// By are the objects that need it, sorted: paths in the tree, absolute ones of Root.
	By []string
}

// Missing is a library that is nowhere.
type Missing struct {
	Name string
	// Cause says what was wrong with what was found, if anything was.
	Cause string
	// By is as in [Library].
	By []string
}

// NewResolver reads the ELF files of a tree. A tree without an interpreter is an
// error wrapping [ErrNoInterpreter].
func NewResolver(in ResolverInput) (*Resolver, error) {
	home, err := findInstallation(in.Tree, in.Interpreter)
	if err != nil {
		return nil, err
	}
	objects, err := readTree(in.Tree)
	if err != nil {
		return nil, err
	}
	return newResolver(in, home, objects)
}

func newResolver(in ResolverInput, home installation, objects map[string]*object) (*Resolver, error) {
	if !path.IsAbs(in.Prefix) || path.Clean(in.Prefix) != in.Prefix || in.Prefix == "/" {
		return nil, fmt.Errorf("prefix %q is not a clean absolute directory", in.Prefix)
	}
	return openResolver(in, home, objects, &objectCache{}), nil
}

// openResolver is newResolver for a prefix that is known to be sound, or the root itself.
func openResolver(in ResolverInput, home installation, objects map[string]*object, outside *objectCache) *Resolver {
	r := &Resolver{
		view:   view{tree: in.Tree, root: in.Root, prefix: strings.TrimPrefix(in.Prefix, "/")},
		home:   home,
		search: in.Search, machine: in.machine, host: map[string]bool{}, providers: in.Providers, bring: in.bring,
		objects: objects, outside: outside, spent: in.spent,
	}
	if r.root == nil {
		r.root = &tree.Tree{}
	}
	for _, name := range in.Host {
		r.host[name] = true
	}
	if exe := objects[home.exe]; exe != nil && exe.loads() {
		r.python = r.start(exe)
	}
	return r
}

// provided lists the libraries that are loaded before a file, by path.
func (r *Resolver) provided(file string) []*object {
	var list []*object
	for _, p := range r.providers {
		if !matches(p.Files, file) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(r.objects)) {
			if o := r.objects[name]; name != file && o.loads() && matches(p.Libraries, name) {
				list = append(list, o)
			}
		}
	}
	return list
}

// object reads a file that a search led to.
func (r *Resolver) object(at place) (*object, error) {
	o := r.objects[at.Path]
	if !at.inTree {
		var err error
		if o, err = r.outside.get(at.Entry); err != nil {
			return nil, err
		}
	}
	if o == nil {
		return nil, fmt.Errorf("%s is not an ELF file", at.Path)
	}
	return o, nil
}

// hasDir reports whether there is a directory at an absolute path.
func (r *Resolver) hasDir(abs string) bool {
	is, ok := r.directories[abs]
	if !ok {
		at, found := r.resolve(abs)
		is = found && at.Kind == tree.Dir
		if r.directories == nil {
			r.directories = map[string]bool{}
		}
		r.directories[abs] = is
	}
	return is
}

// loading is one object of the tree in the process that would load it.
type loading struct {
	root *loaded
	*process
}

// loadings loads every object of the tree as it would be loaded: executables
// each in a process of their own, extension modules by the interpreter, and so
// the libraries that none of them leads to (ctypes may load those); the other
// libraries are in the processes of what needs them.
func (r *Resolver) loadings() []loading {
	var list []loading
	reached := map[string]bool{}
	add := func(c loading) {
		list = append(list, c)
		for _, l := range c.list {
			if l.inTree {
				reached[l.Path] = true
			}
		}
	}
	var libraries []*object
	for _, name := range slices.Sorted(maps.Keys(r.objects)) {
		switch o := r.objects[name]; {
		case !o.loads():
		case name == r.home.exe:
			add(loading{r.python.main, r.python})
		case o.IsExecutable():
			p := r.start(o)
			add(loading{p.main, p})
		case o.isExtension() && !r.home.ownsLibpython(o.entry):
			add(r.imported(o))
		default:
			libraries = append(libraries, o)
		}
	}
	for _, o := range libraries {
		if !reached[o.entry.Path] {
			add(r.imported(o))
		}
	}
	return list
}

// imported loads an object in a fresh process of the interpreter.
func (r *Resolver) imported(o *object) loading {
	python := r.python
	if python == nil {
		python = &process{r: r}
	}
	p, l := python.open(o)
	return loading{l, p}
}

// Outside lists the libraries in Root, glibc's own and the host's left out, that
// the tree's ELF files need, transitively, sorted by name; and those that are
// nowhere.
func (r *Resolver) Outside() (found []Library, missing []Missing) {
	libraries, nowhere := map[string]*Library{}, map[string]*Missing{}
	for _, c := range r.loadings() {
		for _, l := range c.list {
			for _, d := range l.deps {
				switch {
				case IsGlibc(d.name) || r.host[d.name]:
				case d.lib == nil:
					m := nowhere[d.name]
					if m == nil {
						m = &Missing{Name: d.name, Cause: d.fault}
						nowhere[d.name] = m
					}
					m.By = insert(m.By, l.label())
				case !d.lib.inTree:
					lib := libraries[d.name]
					if lib == nil {
						lib = &Library{Name: d.name, Path: d.lib.name, Entry: d.lib.Entry}
						libraries[d.name] = lib
					}
					lib.By = insert(lib.By, l.label())
				}
			}
		}
	}
	for _, lib := range libraries {
		found = append(found, *lib)
	}
	for _, m := range nowhere {
		missing = append(missing, *m)
	}
	slices.SortFunc(found, func(a, b Library) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(missing, func(a, b Missing) int { return cmp.Compare(a.Name, b.Name) })
	return found, missing
}

// insert adds a string to a sorted set.
func insert(set []string, s string) []string {
	i, found := slices.BinarySearch(set, s)
	if found {
		return set
	}
	return slices.Insert(set, i, s)
}
