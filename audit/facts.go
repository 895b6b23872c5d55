package audit

import (
	"crypto/sha256"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"ampoule/tree"
)

// facts are what is known of an interpreter whatever it imports. Of however many places
// that it is in, they are found out once.
type facts struct {
	// config is what its _sysconfigdata tells, measured its fingerprint.
	config   func() (sysconfig, error)
	measured func() (Fingerprint, error)
	// native are the flags in config by which code for one processor is made.
	native func() []nativeFlag
	// api are the names of CPython's API, with those that it exports.
	api func() pythonAPI
	// own is the tree of its files alone.
	own *tree.Tree
}

// newFacts makes those of an interpreter whose files are in a tree. Objects are the
// tree's ELF files.
func newFacts(own *tree.Tree, home installation, objects map[string]*object) *facts {
	runtimes := runtimesOf(own, objects)
	config := sync.OnceValues(func() (sysconfig, error) { return readSysconfig(own, home) })
	return &facts{
		own:    own,
		config: config,
		native: sync.OnceValue(func() []nativeFlag {
			c, _ := config() // the check interpreter tells that it cannot be read
			return c.nativeFlags()
		}),
		measured: sync.OnceValues(func() (f Fingerprint, err error) {
			err = f.measure(own, home)
			return f, err
		}),
		api: sync.OnceValue(func() pythonAPI { return exported(stableAPI(), runtimes) }),
	}
}

// runtimesOf lists the files of a tree that have a Python runtime.
func runtimesOf(t *tree.Tree, objects map[string]*object) []*object {
	var list []*object
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		if _, ok := t.Lookup(name); ok && objects[name].holdsRuntime() {
			list = append(list, objects[name])
		}
	}
	return list
}

// interpreters has the facts of those that were met before, by what they consist of.
type interpreters struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]*facts
}

// of returns the facts of the interpreter of a place.
func (i *interpreters) of(p Place, home installation, objects map[string]*object) *facts {
	own := p.Tree.Select(func(e tree.Entry) bool {
		return e.Kind != tree.Dir && (e.Owner == OwnerInterpreter || !strings.HasPrefix(e.Path, p.Site+"/"))
	})
	h := sha256.New()
	for _, text := range []string{home.exe, home.lib, home.flags} {
		_, _ = io.WriteString(h, text+"\x00")
	}
	for _, e := range own.Entries() {
		_, _ = io.WriteString(h, e.Path+"\x00"+e.SHA256+"\x00"+e.Link+"\x00")
	}
	key := [sha256.Size]byte(h.Sum(nil))
	i.mu.Lock()
	defer i.mu.Unlock()
	f := i.known[key]
	if f == nil {
		if i.known == nil {
			i.known = map[[sha256.Size]byte]*facts{}
		}
		f = newFacts(own, home, objects)
		i.known[key] = f
	}
	return f
}

// pythonAPI are the names of CPython's API: the interpreter's, and those of any other
// runtime that is in the tree.
func (x *exam) pythonAPI() pythonAPI {
	var others []*object
	for name, o := range x.objects {
		if _, ok := x.facts.own.Lookup(name); !ok && o.holdsRuntime() {
			others = append(others, o)
		}
	}
	if len(others) == 0 {
		return x.facts.api()
	}
	return exported(maps.Clone(x.facts.api()), others)
}

// exported adds what runtimes export to names of CPython's API.
func exported(api pythonAPI, runtimes []*object) pythonAPI {
	for _, o := range runtimes {
		for _, s := range o.api {
			api[family(s.Value())], api[s.Value()] = true, true
		}
	}
	return api
}
