package recipes

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ReadRecipe reads the recipe at path, and the files that it extends. Whatever is wrong in
// them is told at once, as [Faults]. Every other error is of reading the file, such as
// fs.ErrNotExist.
func ReadRecipe(path string) (*Recipe, error) { return readRecipe(path, "") }

// ReadRecipeWithin is [ReadRecipe] for files that nobody trusts: nothing outside of a directory, in
// which there are no links, is extended, or looked at.
func ReadRecipeWithin(dir, path string) (*Recipe, error) { return readRecipe(path, dir) }

func readRecipe(path, within string) (*Recipe, error) {
	c := chain{within: within}
	root, err := c.root(path, ".")
	if err != nil {
		return nil, fmt.Errorf("reading the recipe: %w", err)
	}
	return decodeRecipe(path, root, c.extended, c.faults)
}

// readFile reads at most one byte more than limit, so that the parser tells of it.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// ParseRecipe reads a recipe from data; file is the name that faults and
// [Recipe.File] give it. It fills the defaults in, and checks everything that
// can be checked without reading other files: the configure flags too if the
// version is a [KnownPython]. A recipe that extends another file is refused: see [ReadRecipe].
func ParseRecipe(file string, data []byte) (*Recipe, error) {
	root, faults := readYAML(file, data, maxRecipeBytes)
	if root != nil {
		if name := root.value("extends"); name != nil && rules["extended file"].allows(name.text) {
			faults = append(faults, name.pos.fault("extends stands where no other file is read", "write the keys of that file here"))
		}
	}
	return decodeRecipe(file, root, nil, faults)
}

// ParseOwn reads what a recipe's own file says, and nothing of what it extends: keys that the
// other file may have may be missing, and what takes several keys is not checked. A recipe that
// extends nothing is read as [ParseRecipe] reads it.
func ParseOwn(file string, data []byte) (*Recipe, error) {
	root, faults := readYAML(file, data, maxRecipeBytes)
	if root == nil || root.value("extends") == nil {
		return ParseRecipe(file, data)
	}
	return decodePart(file, root, faults)
}

// ParsePart reads what a file says that may be extended, and that need not be a complete recipe, as
// [ParseOwn] reads a recipe that extends one.
func ParsePart(file string, data []byte) (*Recipe, error) {
	root, faults := readYAML(file, data, maxRecipeBytes)
	if root == nil {
		return nil, faults.Err()
	}
	return decodePart(file, root, faults)
}

func decodePart(file string, root *node, faults Faults) (*Recipe, error) {
	d := newDecoder("a recipe", file)
	d.part = true
	r := &Recipe{positions: d.positions}
	d.decode(root, reflect.ValueOf(r).Elem(), nil)
	faults = append(faults, d.faults...)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	return r, nil
}

// decodeRecipe makes a recipe of a root with what was wrong in reading it; a nil root makes none.
func decodeRecipe(file string, root *node, extended []string, faults Faults) (*Recipe, error) {
	if root == nil {
		return nil, faults.Err()
	}
	d := newDecoder("a recipe", file)
	d.positions.extended = extended
	r := &Recipe{positions: d.positions}
	d.decode(root, reflect.ValueOf(r).Elem(), nil)
	r.setDefaults()
	faults = append(faults, d.faults...)
	faults = append(faults, r.check().without(faults)...)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Recipe) setDefaults() {
	if len(r.Platforms) == 0 {
		r.Platforms = []string{"linux/amd64"}
	}
	if r.Python.Compiler == "gcc" {
		// Written or not, it is the same compiler, and the same key.
		r.Python.Compiler = ""
	}
	if r.Runtime.VM != nil {
		r.Runtime.VM.setDefaults()
	}
}

func (vm *VM) setDefaults() {
	if vm.CPU == "" {
		vm.CPU = "x86-64"
	}
}

// LockPath is where the lock of the recipe at a path stands: beside it, under its name.
func LockPath(recipe string) string {
	return strings.TrimSuffix(recipe, filepath.Ext(recipe)) + ".lock"
}

// File is the path of the recipe as it was given to ReadRecipe or ParseRecipe.
func (r *Recipe) File() string {
	if r.positions == nil {
		return ""
	}
	return r.positions.file
}

// At tells where the value at the path of keys stands, for example
// At("packages", "psycopg2") or At("requirements", "0"); of a value that is not
// written, where its nearest parent stands.
func (r *Recipe) At(path ...string) Position { return r.positions.find(path) }

// Fault makes a fault at the place that [Recipe.At] gives for path.
func (r *Recipe) Fault(what, hint string, path ...string) Fault {
	return r.At(path...).fault(what, hint)
}

// check tells what is wrong beyond the rules of single values.
func (r *Recipe) check() Faults {
	faults := r.checkBase("base")
	faults = append(faults, r.checkBase("runtime", "container", "base")...)
	if r.positions.has("runtime") && r.Runtime.Container == nil && r.Runtime.VM == nil {
		faults = append(faults, r.Fault("runtime has neither container nor vm", "write at least one: where must the tree run?", "runtime"))
	}
	faults = append(faults, r.checkCommands(r.Test.Commands, "test")...)
	own := ownLines{recipe: r}
	for i, text := range r.Requirements.List {
		if _, err := parseRequirement(text); err != nil && !own.take(text, r.At("requirements", strconv.Itoa(i))) {
			faults = append(faults, r.Fault(err.what, err.hint, "requirements", strconv.Itoa(i)))
		}
	}
	faults = slices.Concat(faults, own.told(), r.checkApp(), r.checkExtended(), r.checkRequirements())
	for _, name := range slices.Sorted(maps.Keys(r.Packages)) {
		if p := r.Packages[name]; p.empty() && p.Overrides == "" && len(p.Exclude) == 0 {
			faults = append(faults, r.Fault("packages."+name+" says nothing", "remove it, or say how "+name+" is built", "packages", name))
		}
	}
	faults = append(faults, r.checkGroups()...)
	faults = append(faults, r.checkTrain()...)
	return append(faults, r.checkConfigure()...)
}

// checkCommands tells of commands without a program, under commands of a key.
func (r *Recipe) checkCommands(commands [][]string, key string) Faults {
	var faults Faults
	for i, command := range commands {
		if len(command) == 0 || command[0] == "" {
			faults = append(faults, r.Fault("a command has no program", "for example [python3, -m, flask, --version]", key, "commands", strconv.Itoa(i), "0"))
		}
	}
	return faults
}

// checkTrain tells of what training lacks, and of training that nothing wants.
func (r *Recipe) checkTrain() Faults {
	if !r.positions.has("train") {
		return nil
	}
	faults := r.checkCommands(r.Train.Commands, "train")
	if _, known := r.DependencyGroups[r.Train.Group]; !known && r.Train.Group != "" {
		hint := fmt.Sprintf("write dependency-groups: {%s: [pyperformance]}", r.Train.Group)
		if len(r.DependencyGroups) > 0 {
			hint = suggestion(r.Train.Group, slices.Sorted(maps.Keys(r.DependencyGroups)), "the groups")
		}
		faults = append(faults, r.Fault(fmt.Sprintf("the dependency group %s, which train takes, is missing", r.Train.Group), hint, "train", "group"))
	}
	if !r.Python.Optimised() {
		faults = append(faults, r.Fault("train without --enable-optimizations decides nothing",
			"add --enable-optimizations to configure, or remove train", "train"))
	}
	return faults
}

// checkBase tells of a base that is written and is not exactly one thing.
func (r *Recipe) checkBase(path ...string) Faults {
	if !r.positions.has(path...) {
		return nil
	}
	debian, image := r.positions.has(child(path, "debian")...), r.positions.has(child(path, "image")...)
	switch {
	case debian && image:
		return Faults{r.Fault(dotted(path)+" has both debian and image", "keep one", path...)}
	case !debian && !image:
		return Faults{r.Fault(dotted(path)+" has neither debian nor image", "for example {debian: bookworm}", path...)}
	}
	return nil
}
