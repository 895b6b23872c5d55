package recipes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// maxExtended is how many files a recipe may extend, one through the other.
const maxExtended = 8

// Extended gives the files that the recipe extends, the nearest first, relative to its
// directory, with slashes.
func (r *Recipe) Extended() []string {
	if r.positions == nil {
		return nil
	}
	return slices.Clone(r.positions.extended)
}

// chain reads the files that a recipe extends, one through the other.
type chain struct {
	// within is the directory that no file is outside of; empty where any file may be extended.
	within string
	// infos are the files read so far, to know them again under other names.
	infos []fs.FileInfo
	// names are the same files as people see them.
	names []string
	// extended are all but the first, relative to the first one's directory, with slashes.
	extended []string
	faults   Faults
}

// root gives what the file at a path says, laid over what it extends; nil if nothing of it
// can be used. Dir is the path of its directory from the recipe's.
func (c *chain) root(file, dir string) (*node, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	data, err := readFile(file, maxRecipeBytes)
	if err != nil {
		return nil, err
	}
	c.infos, c.names = append(c.infos, info), append(c.names, file)
	root, faults := readYAML(file, data, maxRecipeBytes)
	c.faults = append(c.faults, faults...)
	if root == nil {
		return nil, nil
	}
	root.setDir(dir)
	return c.over(root, file, dir)
}

// over lays a file over the one that it extends, if it extends any.
func (c *chain) over(root *node, file, dir string) (*node, error) {
	name := root.value("extends")
	if name == nil || name.kind != textKind || !rules["extended file"].allows(name.text) {
		// The decoder tells of it.
		return root, nil
	}
	next := filepath.Join(filepath.Dir(file), filepath.FromSlash(name.text))
	if !c.mayRead(next, name.pos) {
		return nil, nil
	}
	relative := path.Join(dir, name.text)
	c.extended = append(c.extended, relative)
	under, err := c.root(next, path.Dir(relative))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.faults = append(c.faults, name.pos.fault(name.text+" does not exist", "names are relative to the file that they stand in"))
		return nil, nil
	case err != nil:
		c.faults = append(c.faults, name.pos.fault(fmt.Sprintf("%s cannot be read: %v", name.text, err), ""))
		return nil, nil
	case under == nil:
		return nil, nil
	}
	return lay(under, root, reflect.TypeFor[Recipe]()), nil
}

// mayRead reports whether the chain may go on with a file, or tells why it may not.
func (c *chain) mayRead(next string, at Position) bool {
	if rel, err := filepath.Rel(c.within, next); c.within != "" && (err != nil || !filepath.IsLocal(rel)) {
		c.faults = append(c.faults, at.fault("this leads out of the directory that all files are in", "put the file there, too"))
		return false
	}
	info, err := os.Stat(next)
	if err != nil {
		// Reading it gives the same error.
		return true
	}
	if i := slices.IndexFunc(c.infos, func(seen fs.FileInfo) bool { return os.SameFile(seen, info) }); i >= 0 {
		names := append(slices.Clone(c.names[i:]), next)
		c.faults = append(c.faults, at.fault("this extends itself: "+strings.Join(names, " → "), "remove one of the lines that begin with extends"))
		return false
	}
	if len(c.extended) == maxExtended {
		c.faults = append(c.faults, at.fault(fmt.Sprintf("more than %d files extend each other", maxExtended), "write what they say into fewer files"))
		return false
	}
	return true
}

// value gives a mapping's value; nil if the key is not written.
func (n *node) value(key string) *node {
	for _, e := range n.entries {
		if e.key.text == key {
			return e.value
		}
	}
	return nil
}

// setDir says of a value, and of everything in it, from where its paths lead.
func (n *node) setDir(dir string) {
	n.dir = dir
	for _, item := range n.items {
		item.setDir(dir)
	}
	for _, e := range n.entries {
		e.value.setDir(dir)
	}
}

// whole are the structures that say one thing with all their keys: an extending file's
// replaces the extended one's.
var whole = append([]reflect.Type{reflect.TypeFor[Requirements](), reflect.TypeFor[Setting]()}, exactlyOne...)

// lay lays a value of type t over an extended file's: mappings by key, everything else as a
// whole.
func lay(under, over *node, t reflect.Type) *node {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if under.kind != mapKind || over.kind != mapKind || slices.Contains(whole, t) || t.Kind() != reflect.Struct && t.Kind() != reflect.Map {
		return over
	}
	types := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for _, f := range yamlFields(t) {
			types[f.Tag.Get("yaml")] = f.Type
		}
	}
	laid := &node{kind: mapKind, pos: over.pos, dir: over.dir}
	for _, e := range under.entries {
		if over.value(e.key.text) == nil {
			laid.entries = append(laid.entries, e)
		}
	}
	for _, e := range over.entries {
		inner, known := types[e.key.text]
		if t.Kind() == reflect.Map {
			inner, known = t.Elem(), true
		}
		if below := under.value(e.key.text); below != nil && known {
			e.value = lay(below, e.value, inner)
		}
		laid.entries = append(laid.entries, e)
	}
	return laid
}

// pathRules are the rules of texts that are paths from the directory of the file that they
// stand in.
var pathRules = []string{"requirements file", "patch file", "source directory", "member directory", "file pattern", "source pattern"}

// pathText gives a text as the recipe means it: a path of an extended file leads from the
// recipe's directory.
func pathText(n *node, rule string) string {
	if n.dir == "" || n.dir == "." || !slices.Contains(pathRules, rule) {
		return n.text
	}
	return path.Join(n.dir, n.text)
}

// isExtendedFile reports whether a text can be the path of a file to extend.
func isExtendedFile(text string) bool {
	return isSourceDirectory(text) && (path.Ext(text) == ".yaml" || path.Ext(text) == ".yml")
}

// isLockedPatch reports whether a text can be the path of a patch: one of an extended file
// may stand above the recipe.
func isLockedPatch(text string) bool {
	for strings.HasPrefix(text, "../") {
		text = strings.TrimPrefix(text, "../")
	}
	return isPatchFile(text)
}

// checkExtended tells of what an extended file cannot say in the recipe's place.
func (r *Recipe) checkExtended() Faults {
	if r.App == nil {
		return nil
	}
	for i, file := range r.App.Files {
		if !localPath(file) {
			return Faults{r.Fault("app.files takes files below the recipe's directory, and this is not below it",
				"write app.files into the recipe itself", "app", "files", fmt.Sprint(i))}
		}
	}
	return nil
}

// sourceFS has the files below the recipe's directory, and below those of the files that it
// extends. Names lead from the recipe's directory.
type sourceFS struct {
	roots []*os.Root
	// dirs are the roots' paths from the recipe's directory, with slashes.
	dirs []string
}

// sourceDirs are the directories whose files a recipe may name, from its own on, as paths from
// there.
func (r *Recipe) sourceDirs() []string {
	dirs := []string{"."}
	for _, file := range r.Extended() {
		if dir := path.Dir(file); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// reaches reports whether a path from the recipe's directory stays in one of its sourceDirs.
func (r *Recipe) reaches(file string) bool {
	return localPath(file) || !strings.Contains(file, `\`) && slices.ContainsFunc(r.sourceDirs(), func(dir string) bool {
		_, ok := within(dir, file)
		return ok
	})
}

// within gives the path of a file from a directory that it is below. Both lead from the
// recipe's directory.
func within(dir, file string) (below string, ok bool) {
	below, err := filepath.Rel(filepath.FromSlash(dir), filepath.FromSlash(file))
	return filepath.ToSlash(below), err == nil && filepath.IsLocal(below)
}

// openSources opens the directories whose files a recipe may name.
func openSources(r *Recipe) (*sourceFS, error) {
	s := &sourceFS{dirs: r.sourceDirs()}
	for _, dir := range s.dirs {
		root, err := os.OpenRoot(filepath.Join(filepath.Dir(r.File()), filepath.FromSlash(dir)))
		if err != nil {
			s.close()
			return nil, err
		}
		s.roots = append(s.roots, root)
	}
	return s, nil
}

func (s *sourceFS) close() {
	for _, root := range s.roots {
		_ = root.Close()
	}
}

// Open opens a file by its path from the recipe's directory. A path that leads out of all
// directories is answered as os.Root does.
func (s *sourceFS) Open(name string) (fs.File, error) {
	for i, dir := range s.dirs {
		if below, ok := within(dir, name); ok {
			return s.roots[i].FS().Open(below)
		}
	}
	return s.roots[0].FS().Open(name)
}
