package contents

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/audit"
	"ampoule/packaging"
	"ampoule/sbom"
	"ampoule/tree"
)

// DiffSchema is the version of a [Diff]'s JSON form.
const DiffSchema = "ampoule.diff/v1"

// Diff is how two artifacts differ. Lists are sorted, and empty where nothing differs.
type Diff struct {
	Schema string `json:"schema"`
	// Same says that both have one digest.
	Same bool `json:"same"`
	A    Side `json:"a"`
	B    Side `json:"b"`
	// Unknown says what cannot be compared, and why.
	Unknown []string `json:"unknown"`
	// Inputs are what went in: the key, sources, the toolchain, build requirements.
	Inputs []Change `json:"inputs"`
	// Interpreter are CPython's version, key and fingerprint; Sysconfig the variables of its
	// sysconfig.
	Interpreter []Change `json:"interpreter"`
	Sysconfig   []Change `json:"sysconfig"`
	// Distributions are those that are installed.
	Distributions []Change `json:"distributions"`
	// Libraries are what the tree carries: in From and To its Debian package and version, or
	// its hash where that is not known.
	Libraries []Change `json:"libraries"`
	Files     Files    `json:"files"`
	// Sizes are how much the files of the interpreter, of what is carried and of each
	// distribution take, where that differs.
	Sizes []Size `json:"sizes"`
	// Symbols are the dynamic symbols of the interpreter and of changed ELF files.
	Symbols []Symbols `json:"symbols"`
}

// Side is one of the two.
type Side struct {
	Ref    string `json:"ref"`
	Digest string `json:"digest"`
	Python string `json:"python"`
	Tree   string `json:"tree"`
	// Bytes is the size of all files of the tree; Compressed that of its layers.
	Bytes      int64 `json:"bytes"`
	Compressed int64 `json:"compressed"`
}

// Change is something that one has and the other has otherwise, or not at all: then From or
// To is empty.
type Change struct {
	What string `json:"what"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Files are the files that differ, by their paths in the tree.
type Files struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Changed []string `json:"changed"`
}

// Size is how many bytes something takes.
type Size struct {
	Of   string `json:"of"`
	From int64  `json:"from"`
	To   int64  `json:"to"`
}

// Symbols are the dynamic symbols of one file that differ, with their versions. Defined are
// those that others can bind to, undefined those that it wants of others.
type Symbols struct {
	File             string   `json:"file"`
	DefinedAdded     []string `json:"definedAdded"`
	DefinedRemoved   []string `json:"definedRemoved"`
	UndefinedAdded   []string `json:"undefinedAdded"`
	UndefinedRemoved []string `json:"undefinedRemoved"`
}

// Compare says how two artifacts differ.
func Compare(a, b *Artifact) (*Diff, error) {
	d := &Diff{
		Schema: DiffSchema, Same: a.Digest == b.Digest, A: a.side(), B: b.side(), Unknown: []string{},
		Inputs: []Change{}, Interpreter: []Change{}, Sysconfig: []Change{}, Distributions: []Change{}, Libraries: []Change{},
		Files: Files{Added: []string{}, Removed: []string{}, Changed: []string{}}, Sizes: []Size{}, Symbols: []Symbols{},
	}
	d.inputs(a, b)
	var err error
	if d.Interpreter, err = interpreterChanges(a, b); err != nil {
		return nil, err
	}
	if err := d.sysconfig(a, b); err != nil {
		return nil, err
	}
	d.Distributions = changes(a.distributions(), b.distributions())
	// What packages libraries are of is compared where both say it.
	packaged := a.Bill != nil && b.Bill != nil
	d.Libraries = changes(a.libraries(packaged), b.libraries(packaged))
	d.files(a.Tree, b.Tree)
	d.sizes(a, b)
	if err := d.symbols(a.Tree, b.Tree); err != nil {
		return nil, err
	}
	return d, nil
}

// Differs reports whether anything was found. Artifacts with different digests may have
// equal trees.
func (d *Diff) Differs() bool { return !d.Same }

func (a *Artifact) side() Side {
	s := Side{Ref: a.Ref, Digest: a.Digest, Python: a.Labels.Python, Tree: a.Labels.Tree}
	for _, e := range a.Tree.Entries() {
		s.Bytes += e.Size
	}
	for _, l := range a.Image.Layers {
		if !l.Base {
			s.Compressed += l.Size
		}
	}
	return s
}

// changes compares values by their names.
func changes(a, b map[string]string) []Change {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b)
	list := []Change{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if a[name] != b[name] {
			list = append(list, Change{name, a[name], b[name]})
		}
	}
	return list
}

// inputs compares what went in. Without both bills of materials, what is known is what the
// trees say of themselves.
func (d *Diff) inputs(a, b *Artifact) {
	d.Inputs = changes(a.ownInputs(), b.ownInputs())
	for i, one := range []*Artifact{a, b} {
		if one.Bill == nil {
			which := []string{"first", "second"}[i]
			d.Unknown = append(d.Unknown, "the "+which+" one has no bill of materials: what they were built with, and the packages of carried libraries, cannot be compared")
		}
	}
	if a.Bill == nil || b.Bill == nil {
		return
	}
	d.Inputs = append(d.Inputs, ingredientChanges(a.Bill.Inputs(), b.Bill.Inputs())...)
}

// ownInputs are what labels and record say of what went in.
func (a *Artifact) ownInputs() map[string]string {
	in := map[string]string{"key": a.Labels.Key, "interpreter's key": a.Record.Python.Key}
	for i, layer := range a.Record.Python.Toolchain {
		in["toolchain's layer "+strconv.Itoa(i)] = layer
	}
	n := 0
	for _, l := range a.Image.Layers {
		if l.Base {
			in["base's layer "+strconv.Itoa(n)] = l.DiffID
			n++
		}
	}
	return in
}

// ingredientChanges compares by kind and name. One name may stand there in several versions.
func ingredientChanges(a, b []sbom.Ingredient) []Change {
	from, to := ingredientVersions(a), ingredientVersions(b)
	all := map[string]bool{}
	for name := range from {
		all[name] = true
	}
	for name := range to {
		all[name] = true
	}
	var list []Change
	for _, name := range slices.Sorted(maps.Keys(all)) {
		gone, come := without(from[name], to[name]), without(to[name], from[name])
		if len(gone) == 1 && len(come) == 1 {
			list = append(list, Change{name, gone[0], come[0]})
			continue
		}
		for _, v := range gone {
			list = append(list, Change{What: name, From: v})
		}
		for _, v := range come {
			list = append(list, Change{What: name, To: v})
		}
	}
	return list
}

// ingredientVersions are version and hash of each ingredient, by kind and name, sorted.
func ingredientVersions(list []sbom.Ingredient) map[string][]string {
	all := map[string][]string{}
	for _, i := range list {
		name := i.Kind + " " + i.Name
		value := i.Version
		if i.SHA256 != "" {
			value += " sha256:" + i.SHA256
		}
		all[name] = append(all[name], value)
	}
	for name := range all {
		slices.Sort(all[name])
		all[name] = slices.Compact(all[name])
	}
	return all
}

// without lists what is in a and not in b. Both are sorted.
func without(a, b []string) []string {
	list := []string{}
	for _, s := range a {
		if _, found := slices.BinarySearch(b, s); !found {
			list = append(list, s)
		}
	}
	return list
}

// interpreterChanges compares fingerprints, field by field.
func interpreterChanges(a, b *Artifact) ([]Change, error) {
	from, err := a.interpreter()
	if err != nil {
		return nil, err
	}
	to, err := b.interpreter()
	return changes(from, to), err
}

func (a *Artifact) interpreter() (map[string]string, error) {
	all := map[string]string{"fingerprint": a.Record.Python.FingerprintDigest, "repeatable": ""}
	if a.Labels.Repeatable != nil {
		all["repeatable"] = strconv.FormatBool(*a.Labels.Repeatable)
	}
	data, err := json.Marshal(a.Record.Python.Fingerprint)
	if err != nil {
		return nil, fmt.Errorf("reading the fingerprint of %s: %w", a.Ref, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("reading the fingerprint of %s: %w", a.Ref, err)
	}
	flatten("", fields, all)
	return all, nil
}

// flatten names each value of an object by its path.
func flatten(at string, value any, into map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			flatten(strings.TrimPrefix(at+"."+name, "."), inner, into)
		}
	case []any:
		for i, inner := range v {
			flatten(at+"."+strconv.Itoa(i), inner, into)
		}
	case nil:
	default:
		into[at] = fmt.Sprint(v)
	}
}

func (d *Diff) sysconfig(a, b *Artifact) error {
	from, err := audit.Sysconfig(a.Tree)
	if err != nil {
		return fmt.Errorf("reading the sysconfig of %s: %w", a.Ref, err)
	}
	to, err := audit.Sysconfig(b.Tree)
	if err != nil {
		return fmt.Errorf("reading the sysconfig of %s: %w", b.Ref, err)
	}
	d.Sysconfig = changes(from, to)
	return nil
}

// distributions are version and wheel of each distribution. Of those that CPython brings, such
// as pip, there is no wheel.
func (a *Artifact) distributions() map[string]string {
	all := map[string]string{}
	for _, e := range a.Tree.Entries() {
		name, version, ok := packaging.ParseInfoDir(path.Base(e.Path))
		if ok && e.Kind == tree.Dir && path.Base(path.Dir(e.Path)) == "site-packages" {
			all[packaging.NormalName(name)] = version
		}
	}
	for _, w := range a.Record.Wheels {
		all[packaging.NormalName(w.Name)] = w.Version + " sha256:" + w.SHA256
	}
	return all
}

// libraries are what the tree carries in lib, with their packages where that is wanted.
func (a *Artifact) libraries(packaged bool) map[string]string {
	all := map[string]string{}
	for _, e := range a.Tree.Entries() {
		if e.Owner != ownerNative || e.Kind != tree.File || path.Dir(e.Path) != "lib" {
			continue
		}
		value := "sha256:" + e.SHA256
		if o := a.carried(e); packaged && o.Kind == FromDebian {
			value = o.Name + " " + o.Version + " " + value
		}
		all[path.Base(e.Path)] = value
	}
	return all
}

// files compares everything that is no directory.
func (d *Diff) files(a, b *tree.Tree) {
	for _, e := range a.Entries() {
		other, ok := b.Lookup(e.Path)
		switch {
		case e.Kind == tree.Dir:
		case !ok || other.Kind == tree.Dir:
			d.Files.Removed = append(d.Files.Removed, e.Path)
		case e.Kind != other.Kind || e.Mode != other.Mode || e.SHA256 != other.SHA256 || e.Link != other.Link:
			d.Files.Changed = append(d.Files.Changed, e.Path)
		}
	}
	for _, e := range b.Entries() {
		if other, ok := a.Lookup(e.Path); e.Kind != tree.Dir && (!ok || other.Kind == tree.Dir) {
			d.Files.Added = append(d.Files.Added, e.Path)
		}
	}
}

// sizes compares how much each owner's files take, the largest difference first.
func (d *Diff) sizes(a, b *Artifact) {
	from, to := a.sizeOf(), b.sizeOf()
	all := maps.Clone(from)
	maps.Copy(all, to)
	for name := range all {
		if from[name] != to[name] {
			d.Sizes = append(d.Sizes, Size{name, from[name], to[name]})
		}
	}
	slices.SortFunc(d.Sizes, func(x, y Size) int {
		return cmp.Or(cmp.Compare(max(y.To-y.From, y.From-y.To), max(x.To-x.From, x.From-x.To)), cmp.Compare(x.Of, y.Of))
	})
}

func (a *Artifact) sizeOf() map[string]int64 {
	all := map[string]int64{}
	for _, e := range a.Tree.Entries() {
		if e.Kind == tree.File {
			all[strings.TrimPrefix(e.Owner, audit.OwnerWheel)] += e.Size
		}
	}
	return all
}
