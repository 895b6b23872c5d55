package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/store"
	"ampoule/tree"
)

// loadMemory remembers which modules loaded in one target, with everything that decided
// it: the interpreter, what runs when it starts, the carried libraries that it mapped, each
// distribution whose files were imported, and the modules that were looked for in
// vain. A module whose import by itself failed is tried anew each time. That it would
// open another library at will if the tree had one is not seen.
type loadMemory struct {
	store *store.Store
	// place is what all modules have in common: script, target and interpreter.
	place map[string]any
	// known is what was remembered before, by owner; an owner is read when it is first
	// asked for.
	known map[string]map[string]remembered
	// noted are the owners of which there is something new.
	noted map[string]bool
	// parts are the hashes of what each owner has in the tree now.
	parts map[string]string
	tree  *tree.Tree
	// dir is where the target has the tree, site the directory of distributions in it.
	dir, site string
}

// remembered is one module that loaded.
type remembered struct {
	Module audit.Module
	Report audit.LoadReport
	// Parts are the hashes of the owners whose files decided it, Libraries those of the
	// carried libraries that were mapped, by path.
	Parts, Libraries map[string]string
	Missed           []string
}

const loadsKind = "gate-loads"

// remember opens what is remembered of a target.
func (t *target) remember(sealed *tree.Tree) *loadMemory {
	m := &loadMemory{
		store: t.r.b.Store, known: map[string]map[string]remembered{}, noted: map[string]bool{}, tree: sealed, dir: t.place,
		site: sitePackages(sealed, path.Base(t.r.python())),
		place: map[string]any{
			"script": string(loadScript), "place": t.place, "base": layers.DiffIDs(t.base), "interpreter": t.r.interpreter.Layer.DiffID,
		},
	}
	if len(t.host) > 0 {
		m.place["host"] = layers.DiffIDs(sandbox.Image{Layers: t.host})
	}
	m.parts = partsOf(sealed, m.site)
	return m
}

// sitePackages is where a tree has its distributions. The standard library of a
// free-threaded build has a t in its name (PEP 703).
func sitePackages(t *tree.Tree, python string) string {
	lib := "lib/" + python
	if _, ok := t.Lookup(lib + "t"); ok {
		lib += "t"
	}
	return lib + "/site-packages/"
}

// key names what is remembered of an owner as the tree has it.
func (m *loadMemory) key(owner string) string {
	return layers.Key(loadsKind, 2, map[string]any{"place": m.place, "owner": owner, "part": m.parts[owner]})
}

// of returns what is remembered of an owner, by the module's file.
func (m *loadMemory) of(owner string) (map[string]remembered, error) {
	if known, ok := m.known[owner]; ok {
		return known, nil
	}
	known := map[string]remembered{}
	if _, err := m.store.Lookup(loadsKind, m.key(owner), &known); err != nil {
		return nil, err
	}
	m.known[owner] = known
	return known, nil
}

// startup is the part of a tree that every interpreter runs when it starts (package site).
const startup = "startup"

// startupFile matches its files, in the directory of distributions.
var startupFile = regexp.MustCompile(`^([^/]+\.pth|(site|user)customize[^/]*)$`)

// partsOf hashes what each owner has in a tree, and what runs at each start.
func partsOf(t *tree.Tree, site string) map[string]string {
	hashes := map[string][]string{}
	for _, e := range t.Entries() {
		line := fmt.Sprintf("%s %o %s %s", e.Path, e.Mode, e.SHA256, e.Link)
		if name, ok := strings.CutPrefix(e.Path, site); ok && startupFile.MatchString(name) {
			hashes[startup] = append(hashes[startup], line)
		}
		if e.Kind != tree.Dir {
			hashes[e.Owner] = append(hashes[e.Owner], line)
		}
	}
	parts := map[string]string{}
	for owner, lines := range hashes {
		sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
		parts[owner] = hex.EncodeToString(sum[:])
	}
	return parts
}

// recall returns the report of a module, if everything that decided it is as it was.
func (m *loadMemory) recall(module audit.Module) (_ audit.LoadReport, ok bool, err error) {
	e, _ := m.tree.Lookup(module.File)
	known, err := m.of(e.Owner)
	if err != nil {
		return audit.LoadReport{}, false, err
	}
	r, ok := known[module.File]
	if !ok || r.Module.Name != module.Name || !slices.Equal(r.Module.Packages, module.Packages) || slices.ContainsFunc(r.Missed, m.provides) {
		return audit.LoadReport{}, false, nil
	}
	for owner, hash := range r.Parts {
		if m.parts[owner] != hash {
			return audit.LoadReport{}, false, nil
		}
	}
	for file, hash := range r.Libraries {
		if e, ok := m.tree.Resolve(file); !ok || e.SHA256 != hash {
			return audit.LoadReport{}, false, nil
		}
	}
	return r.Report, true, nil
}

// provides tells whether the tree has a module of that dotted name.
func (m *loadMemory) provides(name string) bool {
	p := m.site + strings.ReplaceAll(name, ".", "/")
	if _, ok := m.tree.Lookup(p); ok {
		return true
	}
	at, _ := slices.BinarySearchFunc(m.tree.Entries(), p+".", func(e tree.Entry, p string) int { return strings.Compare(e.Path, p) })
	entries := m.tree.Entries()[at:]
	return len(entries) > 0 && strings.HasPrefix(entries[0].Path, p+".")
}

// note remembers what a module's load gave.
func (m *loadMemory) note(a loadAnswer, report audit.LoadReport, modules []audit.Module) error {
	i := slices.IndexFunc(modules, func(module audit.Module) bool { return module.File == a.File })
	if i < 0 || !a.OK || report.Kind != audit.KindImport || len(report.Behind) > 0 {
		return nil
	}
	parts, libraries := map[string]string{startup: m.parts[startup]}, map[string]string{}
	for _, file := range slices.Concat(a.Imported, []string{a.File}, m.mapped(a)) {
		switch e, ok := m.tree.Resolve(file); {
		case !ok || e.Owner == audit.OwnerInterpreter:
		case e.Owner == seal.OwnerNative:
			libraries[file] = e.SHA256
		default:
			parts[e.Owner] = m.parts[e.Owner]
		}
	}
	e, _ := m.tree.Lookup(a.File)
	known, err := m.of(e.Owner)
	if err != nil {
		return err
	}
	known[a.File] = remembered{Module: modules[i], Report: report, Parts: parts, Libraries: libraries, Missed: a.Missed}
	m.noted[e.Owner] = true
	return nil
}

// mapped lists the files of the tree that a load had mapped.
func (m *loadMemory) mapped(a loadAnswer) []string {
	var files []string
	for _, name := range a.Mapped {
		if file, ok := strings.CutPrefix(name, "/"+m.dir+"/"); ok {
			files = append(files, file)
		}
	}
	return files
}

// save keeps what is new.
func (m *loadMemory) save() error {
	for owner := range m.noted {
		if err := m.store.Record(loadsKind, m.key(owner), m.known[owner]); err != nil {
			return err
		}
	}
	return nil
}
