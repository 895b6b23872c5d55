package recipes

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/recipes/foreign"
)

// FirstParty is code of the project's own repository, as a lock names it.
type FirstParty struct {
	// Name is normalised.
	Name string
	Position
}

// begin reads the file that the recipe names: a lock by its name, else pip's format.
func (r *requirementsReader) begin(wanted Requirements, from Position) {
	if _, ok := foreign.Recognise(r.set.File); ok {
		r.toolLock(wanted, from)
		return
	}
	r.file(inclusion{r.set.File, false}, from, nil)
}

// toolLock reads the lock of another tool.
func (r *requirementsReader) toolLock(wanted Requirements, from Position) {
	lock, err := foreign.Read(r.root, r.set.File, foreign.Query{
		Python: r.recipe.Python.Version, Extras: wanted.Extras, Groups: wanted.Groups, Package: wanted.Package,
	})
	if wrong, ok := errors.AsType[foreign.Faults](err); ok {
		for _, f := range wrong {
			r.add(r.shown(f.Place), f.What, f.Hint)
		}
		return
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.add(from, r.set.File+" does not exist", "names are relative to the file that they stand in")
		return
	case err != nil:
		r.add(from, fmt.Sprintf("%s cannot be read: %v", r.set.File, err), "a recipe reads files of its own directory only")
		return
	}
	format, _ := foreign.Recognise(r.set.File)
	r.set.Relock, r.set.Files = format.Command(), lock.Files
	for _, p := range lock.Packages {
		requirement, wrong := parseRequirement(p.Name + "==" + p.Version)
		if wrong != nil {
			r.add(r.shown(p.Place), wrong.what, wrong.hint)
			continue
		}
		requirement.Hashes, requirement.Registry, requirement.Position = p.Hashes, p.Registry, r.shown(p.Place)
		r.set.Requirements = append(r.set.Requirements, requirement)
	}
	for _, p := range lock.FirstParty {
		r.set.FirstParty = append(r.set.FirstParty, FirstParty{p.Name, r.shown(p.Place)})
	}
}

// shown gives a place in a file of the recipe's directory as people see it.
func (r *requirementsReader) shown(p foreign.Place) Position {
	file := filepath.Join(filepath.Dir(r.recipe.File()), filepath.FromSlash(p.File))
	return Position{File: file, Line: p.Line, Column: p.Column}
}

// checkIndexes refuses options that name an index where hashes do not say what is installed.
func (r *requirementsReader) checkIndexes() {
	if !r.set.RequireHashes {
		r.faults = append(r.faults, r.indexes...)
	}
}

// checkRequirements tells of what is said of a file that has nothing of the kind.
func (r *Recipe) checkRequirements() Faults {
	faults := r.checkFile(r.Requirements, "requirements")
	for _, name := range slices.Sorted(maps.Keys(r.DependencyGroups)) {
		faults = append(faults, r.checkFile(r.DependencyGroups[name], "dependency-groups", name)...)
	}
	return faults
}

// checkFile checks the requirements that stand at a path of the recipe.
func (r *Recipe) checkFile(q Requirements, keys ...string) Faults {
	format, isLock := foreign.Recognise(q.File)
	var faults Faults
	refuse := func(isWrong bool, key, what string) {
		if isWrong && q.File != "" {
			at := child(keys, key)
			hint := "remove " + strings.Join(at, ".") + ", or name a lock that has some"
			faults = append(faults, r.Fault(path.Base(q.File)+" has no "+what, hint, at...))
		}
	}
	hasTables := keys[0] == groupsKey && isGroupsFile(q.File)
	refuse(len(q.Extras) > 0 && !hasTables && (!isLock || format == foreign.Pipenv), "extras", "extras")
	refuse(len(q.Groups) > 0 && !hasTables && !isLock, "groups", "groups")
	refuse(q.Package != "" && format != foreign.UV, "package", "packages of a workspace")
	return faults
}
