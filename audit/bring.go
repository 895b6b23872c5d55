package audit

import (
	"path"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/tree"
)

// bring finds a library that may be in the process before a file that needs it, although the
// loader's search does not lead to it: the distribution requires another one that has it, as
// torchvision relies on torch, or its own code or modules load it first. It returns who does,
// as the beginning of a sentence. Where files are judged for a recipe, that says so
// ([Provider]).
func (x *exam) bring(name string, by *loaded) (lib *object, who string) {
	own, ok := strings.CutPrefix(by.entry.Owner, OwnerWheel)
	if !ok || !by.inTree {
		return nil, ""
	}
	first := ""
	for _, o := range x.libraries()[name] {
		other := strings.TrimPrefix(o.entry.Owner, OwnerWheel)
		if (first == "" || other < first) && slices.Contains(x.mentioned(own), other) {
			lib, first = o, other
		}
	}
	if lib != nil {
		return lib, first + ", which the distribution requires, has one"
	}
	for _, o := range x.libraries()[name] {
		if o.entry.Owner != by.entry.Owner {
			continue
		}
		if source := x.preloads(own, name); source != "" {
			return o, "The distribution's " + path.Base(source) + " loads it"
		}
		if sibling := x.reaches(own, name, o, by.object); sibling != "" {
			return o, path.Base(sibling) + " of the same distribution finds it"
		}
	}
	return nil, ""
}

// libraries are the libraries that wheels brought, by soname.
func (x *exam) libraries() map[string][]*object {
	if x.sonames == nil {
		x.sonames = map[string][]*object{}
		for _, o := range x.parsed() {
			if strings.HasPrefix(o.entry.Owner, OwnerWheel) && o.Soname != "" {
				x.sonames[o.Soname] = append(x.sonames[o.Soname], o)
			}
		}
	}
	return x.sonames
}

// reaches names a module of a distribution, beside the one that asks, whose own search path
// leads to a library that it needs: if that one is imported first, the library is loaded.
func (x *exam) reaches(dist, name string, lib, asking *object) string {
	for _, o := range x.extensions() {
		if o.entry.Owner != OwnerWheel+dist || o == asking || !slices.Contains(o.Needed, name) {
			continue
		}
		r := &Resolver{view: view{tree: x.Tree, root: &tree.Tree{}}}
		p := &process{r: r}
		by := &loaded{object: o, place: place{o.entry, true}, name: r.abs(o.entry.Path)}
		for _, dir := range p.searchPath(by) {
			if at, ok := r.resolve(dir + "/" + name); ok && at.inTree && at.Path == lib.entry.Path {
				return o.entry.Path
			}
		}
	}
	return ""
}

// preloads names a source file of a distribution that loads libraries itself and speaks of one
// by name: what it does is not known, but that is how it is done (ctypes).
func (x *exam) preloads(dist, soname string) string {
	for _, source := range x.loadingSources(dist) {
		if strings.Contains(source.text, stemOf(soname)) {
			return source.path
		}
	}
	return ""
}

// sharesSymbols reports whether a distribution's code has the symbols of modules or libraries
// given to all that are loaded later (dlopen(3), RTLD_GLOBAL).
func (x *exam) sharesSymbols(dist string) bool {
	return slices.ContainsFunc(x.loadingSources(dist), func(s source) bool {
		return strings.Contains(s.text, "RTLD_GLOBAL") || strings.Contains(s.text, "setdlopenflags")
	})
}

// source is a file of Python code.
type source struct{ path, text string }

// loadingSources are the source files of a distribution that load libraries or say how that is
// done. They are read when something is missing, once.
func (x *exam) loadingSources(dist string) []source {
	if list, ok := x.sources[dist]; ok {
		return list
	}
	var list []source
	for e, text := range x.sourcesOf(ownedBy(dist)) {
		if slices.ContainsFunc([]string{"CDLL(", "LoadLibrary(", "dlopen"}, func(word string) bool { return strings.Contains(text, word) }) {
			list = append(list, source{e.Path, text})
		}
	}
	if x.sources == nil {
		x.sources = map[string][]source{}
	}
	x.sources[dist] = list
	return list
}

// mentioned lists the distributions that one names in its metadata, for whatever extra or
// system, and what these name if they are there, each once.
func (x *exam) mentioned(name string) []string {
	if names, ok := x.required[name]; ok {
		return names
	}
	if x.required == nil {
		x.required = map[string][]string{}
	}
	var all []string
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		for _, n := range x.directlyRequired(queue[0]) {
			if n != name && !slices.Contains(all, n) {
				all, queue = append(all, n), append(queue, n)
			}
		}
	}
	x.required[name] = all
	return all
}

// directlyRequired lists the distributions that one names in its metadata, whatever for.
func (x *exam) directlyRequired(name string) []string {
	var names []string
	for _, r := range x.requirementsOf(name) {
		names = append(names, r.Name)
	}
	return names
}

// applying lists the distributions that one requires on this interpreter without an extra,
// sorted.
func (x *exam) applying(name string) []string {
	var names []string
	env := x.environment()
	for _, r := range x.requirementsOf(name) {
		if r.Applies(env, nil) {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (x *exam) requirementsOf(name string) []packaging.Requirement {
	for _, d := range x.dists() {
		if d.name == name {
			full, _ := x.describe(&outcome{}, d)
			return full.requires
		}
	}
	return nil
}
