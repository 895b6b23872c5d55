package audit

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ampoule/audit/elf"
	"ampoule/tree"
)

// loaded is one object that ld.so has mapped.
type loaded struct {
	*object
	place
	// name is the path that it was opened by: $ORIGIN is its directory, links not followed.
	name string
	// asked are the names that it was asked for by.
	asked []string
	// loader is what asked for it first; nil for the executable.
	loader *loaded
	// host says that the machine provides it: a name without a file.
	host bool
	// brought says what has loaded it before, without which the loader would not find it;
	// empty for what it finds.
	brought string
	deps    []dependency
}

// dependency is one entry of an object's dynamic section and what it led to.
type dependency struct {
	// field is DT_NEEDED, DT_AUXILIARY or DT_FILTER.
	field, name string
	// lib is nil when there is none; then fault says why.
	lib   *loaded
	fault string
	// needs is what the fault depends on; empty when it is certain.
	needs string
}

// label names an object for people: its path in the tree, or the absolute one.
func (l *loaded) label() string {
	switch {
	case l.host:
		return l.name
	case l.inTree:
		return l.Path
	}
	return "/" + l.Path
}

// process is what one process has loaded, in glibc's order.
type process struct {
	r    *Resolver
	main *loaded
	list []*loaded
	// starting says that the program is being started, by no dlopen.
	starting bool
	// provided are in the process already for another module's sake: they answer to their
	// names and give their symbols. How they come to be there is judged where they are loaded.
	provided []*loaded
}

// start begins a process with an executable and loads what it needs.
func (r *Resolver) start(o *object) *process {
	p := &process{r: r, starting: true}
	p.main = p.add(o, place{o.entry, true}, r.abs(o.entry.Path), nil)
	p.loadFrom(0)
	p.starting = false
	return p
}

// open does what dlopen(3) by path does in a copy of the process, called by the
// interpreter: the library that holds it, or the executable.
func (p *process) open(o *object) (*process, *loaded) {
	q := &process{r: p.r, main: p.main, list: slices.Clone(p.list)}
	for _, l := range q.list {
		if l.inTree && l.Path == o.entry.Path {
			return q, l
		}
	}
	for _, lib := range q.r.provided(o.entry.Path) {
		q.provided = append(q.provided, &loaded{object: lib, place: place{lib.entry, true}, name: q.r.abs(lib.entry.Path)})
	}
	first := len(q.list)
	l := q.add(o, place{o.entry, true}, q.r.abs(o.entry.Path), q.caller())
	q.loadFrom(first)
	return q, l
}

// caller is the object whose code calls dlopen for import.
func (p *process) caller() *loaded {
	for _, l := range p.list {
		if l.object != nil && l.holdsRuntime() {
			return l
		}
	}
	return p.main
}

func (p *process) add(o *object, at place, name string, loader *loaded) *loaded {
	l := &loaded{object: o, place: at, name: name, loader: loader}
	p.list = append(p.list, l)
	return l
}

// loadFrom loads what the objects from an index on need, breadth first, as
// glibc's _dl_map_object_deps does.
func (p *process) loadFrom(first int) {
	for i := first; i < len(p.list); i++ {
		l := p.list[i]
		if l.host || l.fault != nil {
			continue
		}
		for _, group := range []struct {
			field string
			names []string
		}{{"DT_NEEDED", l.Needed}, {"DT_AUXILIARY", l.Auxiliary}, {"DT_FILTER", l.Filter}} {
			for _, name := range group.names {
				if !p.r.spent.dependency() {
					return
				}
				d := p.find(name, l)
				d.field = group.field
				l.deps = append(l.deps, d)
			}
		}
	}
}

// byName finds a loaded object as _dl_map_object does before it searches: by a
// name that it was asked for by, or by its soname.
func (p *process) byName(name string) *loaded {
	for _, l := range p.list {
		if l.name == name || slices.Contains(l.asked, name) || !l.host && l.Soname == name {
			return l
		}
	}
	for _, l := range p.provided {
		if l.Soname == name {
			return l
		}
	}
	return nil
}

// find finds and loads a library for an object. Without one it says why.
func (p *process) find(name string, by *loaded) dependency {
	d := dependency{name: name}
	d.lib = p.byName(name)
	if d.lib != nil {
		return d
	}
	for _, candidate := range p.candidates(name, by) {
		var looked bool
		d.lib, d.fault, looked = p.try(candidate, name, by)
		if looked {
			return d
		}
	}
	if p.r.host[name] {
		d.lib = &loaded{name: name, loader: by, host: true}
		p.list = append(p.list, d.lib)
		return d
	}
	if p.r.bring != nil {
		if lib, who := p.r.bring(name, by); lib != nil {
			d.lib = p.add(lib, place{lib.entry, true}, p.r.abs(lib.entry.Path), p.caller())
			d.lib.brought = who
			return d
		}
	}
	d.fault, d.needs = p.nowhere(name, by)
	return d
}

// try does what the loader does with a file that its search leads to: it goes on when there
// is none, or one for another machine, and looks no further, whatever it is, otherwise.
func (p *process) try(file, name string, by *loaded) (lib *loaded, fault string, looked bool) {
	at, ok := p.r.resolve(file)
	if !ok || at.Kind != tree.File {
		return nil, "", false
	}
	o, err := p.r.object(at)
	if err != nil {
		return nil, err.Error(), true
	}
	if o.Class != by.Class || o.Order != by.Order || o.Machine != by.Machine {
		return nil, "", false
	}
	if o.fault != nil {
		return nil, fmt.Sprintf("%s is unreadable: %v", file, o.fault), true
	}
	for _, refused := range o.refusals() {
		if refused.applies(p.r.machine) && !(refused.opened && p.starting) {
			return nil, fmt.Sprintf("the loader refuses %s: %s", file, refused.says), true
		}
	}
	return p.mapFile(o, at, file, name, by), "", true
}

// nowhere says why there is no library of a name, and what it depends on that there is one.
func (p *process) nowhere(name string, by *loaded) (fault, needs string) {
	fault = "no file of this name where ld.so looks"
	if strings.Contains(name, "/") {
		return fault, ""
	}
	if by.Flags1&elf.Flag1NoDefaultLib == 0 {
		for _, dir := range p.r.machine.configured {
			if at, ok := p.r.resolve(dir + "/" + name); ok && at.Kind == tree.File {
				return path.Join(dir, name) + " is not in ld.so.cache, and the loader looks at no ld.so.conf: ldconfig has to be run", ""
			}
		}
	}
	if p.r.machine.level == 0 && by.Machine == elf.X8664 {
		for _, dir := range p.searchPath(by) {
			for level := 2; level <= highestLevel; level++ {
				file := dir + "/glibc-hwcaps/" + levelName(level) + "/" + name
				if at, ok := p.r.resolve(file); ok && at.Kind == tree.File {
					return file + " is for processors of that level alone", "the processor's level: audit it on the machine that it is to run on"
				}
			}
		}
	}
	return fault, ""
}

// mapFile loads a file, which may be loaded already under another name.
func (p *process) mapFile(o *object, at place, file, name string, by *loaded) *loaded {
	for _, l := range p.list {
		if !l.host && l.inTree == at.inTree && l.Path == at.Path {
			if !slices.Contains(l.asked, name) {
				l.asked = append(l.asked, name)
			}
			return l
		}
	}
	l := p.add(o, at, file, by)
	l.asked = []string{name}
	return l
}

// candidates lists the files that ld.so tries for a name (ld.so(8), and
// _dl_map_object for what it leaves out): in the directories of the search path; what
// ld.so.cache lists; in the directories that it was built to search.
func (p *process) candidates(name string, by *loaded) []string {
	if strings.Contains(name, "/") {
		if file, ok := p.expand(name, by); ok && path.IsAbs(file) {
			return []string{file}
		}
		return nil
	}
	variants := p.r.machine.variants(by.Machine)
	var files []string
	within := func(dirs []string) {
		for _, dir := range dirs {
			// Not cleaned: what leads through a directory that is not there leads nowhere.
			dir = strings.TrimSuffix(dir, "/") + "/"
			for _, below := range variants {
				if p.r.hasDir(dir + below) {
					files = append(files, dir+below+"/"+name)
				}
			}
			files = append(files, dir+name)
		}
	}
	within(p.searchPath(by))
	system := p.systemDirs(by)
	noDefault := by.Flags1&elf.Flag1NoDefaultLib != 0
	for _, lib := range p.r.machine.cache[name] {
		if lib.level > max(p.r.machine.level, 0) || noDefault && slices.Contains(system, path.Dir(lib.path)) {
			continue
		}
		files = append(files, lib.path)
	}
	if !noDefault {
		within(system)
	}
	return files
}

// searchPath are the directories of DT_RPATH of the object and of its loaders up to the
// executable unless the object has a DT_RUNPATH, then of that: it serves the object itself
// alone. LD_LIBRARY_PATH is unset.
func (p *process) searchPath(by *loaded) []string {
	if by.RunPath != nil {
		return p.dirs(by, by.RunPath)
	}
	var dirs []string
	sawMain := false
	for l := by; l != nil; l = l.loader {
		dirs = append(dirs, p.dirs(l, l.rpath())...)
		sawMain = sawMain || l == p.main
	}
	if p.main != nil && !sawMain {
		dirs = append(dirs, p.dirs(p.main, p.main.rpath())...)
	}
	return append(dirs, p.r.search...)
}

// systemDirs are the directories that the process's loader was built to search. One that
// stands elsewhere, as those of Nix and Guix do, has its own libraries beside it.
func (p *process) systemDirs(by *loaded) []string {
	all := defaultDirs(by.Machine)
	if p.r.machine.dirs == nil {
		return all
	}
	if p.main != nil && path.IsAbs(p.main.Interp) {
		if dir := path.Dir(p.main.Interp); !slices.Contains(all, dir) {
			if libc, ok := p.r.resolve(dir + "/libc.so.6"); ok && libc.Kind == tree.File {
				return []string{dir}
			}
		}
	}
	return p.r.machine.dirs
}

// rpath is the DT_RPATH that counts: none beside a DT_RUNPATH.
func (o *object) rpath() *string {
	if o.RunPath != nil {
		return nil
	}
	return o.RPath
}

// dirs are the directories of a search path; relative ones, which depend on the
// working directory, are left out: the check rpath refuses them.
func (p *process) dirs(l *loaded, search *string) []string {
	if search == nil {
		return nil
	}
	var dirs []string
	for _, element := range strings.Split(*search, ":") {
		if dir, ok := p.expand(element, l); ok && path.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// expand replaces $ORIGIN, $LIB and $PLATFORM. What the last one means depends on the
// processor: where no machine is known, a path with it is none.
func (p *process) expand(s string, l *loaded) (string, bool) {
	s = replaceToken(s, "ORIGIN", path.Dir(l.name))
	s = replaceToken(s, "LIB", p.r.machine.lib(l.Machine))
	if p.r.machine.level == 0 {
		return s, replaceToken(s, "PLATFORM", "") == s
	}
	return replaceToken(s, "PLATFORM", platform(l.Machine)), true
}

// replaceToken replaces $NAME and ${NAME}; $NAME followed by a letter, digit or
// underscore is another name (glibc's is_dst).
func replaceToken(s, name, value string) string {
	s = strings.ReplaceAll(s, "${"+name+"}", value)
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "$"+name)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if after != "" && isNameByte(after[0]) {
			b.WriteString("$" + name)
		} else {
			b.WriteString(value)
		}
		s = after
	}
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// defaultDirs are the directories that ld.so of Debian-like and RHEL-like
// systems searches in the end. The first is $LIB's.
func defaultDirs(m elf.Machine) []string {
	triplet := "x86_64-linux-gnu"
	if m == elf.AArch64 {
		triplet = "aarch64-linux-gnu"
	}
	return []string{"/lib/" + triplet, "/usr/lib/" + triplet, "/lib64", "/usr/lib64", "/lib", "/usr/lib"}
}
