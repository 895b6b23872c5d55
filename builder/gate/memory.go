package gate

import (
	"encoding/json"
	"maps"
	"slices"

	"ampoule/audit"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/store"
)

// memory is what is remembered of one distribution's modules, in one target and one view.
// Its key has all that the loads could see: the gate's script, the base, the interpreter's
// files, every file of the owners in the view, and what other distributions have outside
// site-packages. Carried libraries come from locked Debian packages; of these a record has
// those that were mapped. A load holds while these are the same, and while the tree
// has nothing more of what it looked for in vain ([round.beyond]).
type memory struct {
	store *store.Store
	key   string
	// seen are the owners in the view.
	seen  owners
	tree  resolver
	known map[string]remembered
	noted bool
}

// resolver finds files of a tree, as [tree.Tree] does.
type resolver interface {
	sha256(file string) (string, bool)
}

// remembered is the import of one module, or of all own ones of a distribution.
type remembered struct {
	Module audit.Module
	Shown  []outcome
}

const (
	loadsKind = "gate-loads"
	// loadsFormat is raised when the same answers are understood in another way.
	loadsFormat = 6
)

// open opens what is remembered of an owner's modules in a view.
func (r *round) open(owner string, seen owners) (*memory, error) {
	view := map[string]string{}
	for _, o := range slices.Sorted(maps.Keys(seen)) {
		view[o] = r.sub.parts.of[o]
	}
	about := map[string]any{
		"script": string(loadScript), "place": r.Place, "base": layers.DiffIDs(r.Base), "host": layers.DiffIDs(sandbox.Image{Layers: r.host}),
		"interpreter": r.sub.parts.of[audit.OwnerInterpreter], "nobody": r.sub.parts.of[""], "shared": r.sub.parts.shared,
		"owner": owner, "view": view, "startup": r.startup,
	}
	m := &memory{store: r.stage.Store, key: layers.Key(loadsKind, loadsFormat, about), seen: seen, tree: r.sub, known: map[string]remembered{}}
	_, err := m.store.Lookup(loadsKind, m.key, &m.known)
	return m, err
}

func (s *subject) sha256(file string) (string, bool) {
	e, ok := s.Tree.Resolve(file)
	return e.SHA256, ok
}

// recall returns what a module's import showed before, if everything that decided it is as
// it was. A failure is only of use for what it looked for.
func (m *memory) recall(module audit.Module) ([]outcome, bool) {
	r, ok := m.known[idOf(module)]
	if !ok || r.Module.Name != module.Name || isOwn(module) && !slices.Equal(r.Module.Packages, module.Packages) {
		return nil, false
	}
	if slices.ContainsFunc(r.Shown, func(o outcome) bool { return !m.holds(o) }) {
		return nil, false
	}
	return r.Shown, true
}

// holds reports whether the files that a load mapped are as they were.
func (m *memory) holds(o outcome) bool {
	for _, file := range o.Mapped {
		if _, ok := m.tree.sha256(file); !ok {
			return false
		}
	}
	for file, hash := range o.Libraries {
		if sum, ok := m.tree.sha256(file); !ok || sum != hash {
			return false
		}
	}
	return true
}

// note remembers what a module's import showed. What had a file mapped that nobody knows is
// tried anew: that file is in no key.
func (m *memory) note(module audit.Module, shown []outcome) {
	if slices.ContainsFunc(shown, func(o outcome) bool { return len(o.Report.Maps) > 0 }) {
		return
	}
	m.known[idOf(module)] = remembered{module, shown}
	m.noted = true
}

// maxRemembered bounds what is remembered of one distribution's modules, in bytes. Of more nothing
// is: the store has a limit, and that is no reason to fail.
const maxRemembered = 8 << 20

// save keeps what is new.
func (m *memory) save() error {
	if !m.noted {
		return nil
	}
	if text, err := json.Marshal(m.known); err != nil || len(text) > maxRemembered {
		return err
	}
	return m.store.Record(loadsKind, m.key, m.known)
}
