package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/recipes/edit"
	"ampoule/recipes/foreign"
)

// edits are changes of the files that have the requirements of an artifact or of a group.
type edits struct {
	in    inputs
	group string
	// keys is where the recipe has the requirements, and what is written there.
	keys []string
	what recipes.Requirements
	set  *recipes.RequirementSet
	// files are the requirements files that may be edited, as the set names them.
	files []string
	// before and now are the bytes of each file, by path.
	before, now map[string][]byte
	changes     []editChange
}

// editChange is a change in a file.
type editChange struct {
	File string `json:"file"`
	edit.Change
}

// String says what changed, and where.
func (c editChange) String() string {
	at := fmt.Sprintf("%s:%d: ", c.File, c.Line)
	switch {
	case c.Before == "":
		return at + "added " + c.After
	case c.After == "":
		return at + "removed " + c.Before
	case c.Before == c.After:
		return at + c.Before + " is there already"
	}
	return at + c.Before + " is now " + c.After
}

// edits begins to edit the requirements of the session's recipe, or of one of its groups.
func (s *Session) edits(group string) (*edits, error) {
	in, err := s.read()
	if err != nil {
		return nil, err
	}
	e := &edits{in: in, keys: []string{"requirements"}, what: in.recipe.Requirements, set: in.reqs, before: map[string][]byte{}, now: map[string][]byte{}}
	if group != "" {
		e.group = packaging.NormalName(group)
		e.keys, e.what, e.set = []string{"dependency-groups", e.group}, in.recipe.DependencyGroups[e.group], in.reqs.Groups[e.group]
		if e.set == nil {
			e.set = &recipes.RequirementSet{}
		}
	}
	recipe, err := os.ReadFile(s.Recipe)
	if err != nil {
		return nil, fmt.Errorf("reading the recipe: %w", err)
	}
	e.before[s.Recipe], e.now[s.Recipe] = recipe, recipe
	if err := e.inherited(); err != nil {
		return nil, err
	}
	if e.set.File == "" || e.set.Relock != "" {
		return e, nil
	}
	for _, name := range edit.Included(e.set.Files, e.set.File) {
		// What a group includes of the artifact's is not the group's to change.
		if _, shared := in.reqs.Files[name]; shared && group != "" {
			continue
		}
		e.files = append(e.files, name)
		e.before[e.path(name)], e.now[e.path(name)] = e.set.Files[name], e.set.Files[name]
	}
	return e, nil
}

// inherited refuses a list that stands in a file that the recipe extends: others have it, too.
func (e *edits) inherited() error {
	at := e.in.recipe.At(e.keys...)
	if !e.isList() || at.File == e.in.recipe.File() {
		return nil
	}
	return recipes.Faults{e.in.recipe.Fault("these requirements are those of all recipes that extend this file",
		"edit them by hand and run `ampoule lock --all`, or give "+e.in.recipe.File()+" a list of its own, which replaces this one", e.keys...)}
}

// path is where a requirements file of the set lies.
func (e *edits) path(name string) string {
	return filepath.Join(filepath.Dir(e.in.recipe.File()), filepath.FromSlash(name))
}

// isList reports whether the requirements stand in the recipe itself.
func (e *edits) isList() bool { return e.set.File == "" }

// canEdit refuses files that other tools write; names are what the verb is given.
func (e *edits) canEdit(verb string, names []string) error {
	if e.set.Relock != "" {
		format, _ := foreign.Recognise(e.set.File)
		add, remove := format.Editors()
		command := map[string]string{"add": add, "remove": remove}[verb]
		hint := "run `" + command + " " + strings.Join(names, " ") + "`, and `ampoule lock`"
		if command == "" {
			hint = "change what it is exported from, export it anew (`" + format.Command() + "`), and run `ampoule lock`"
		}
		return recipes.Faults{e.in.recipe.Fault(e.set.File+" is the lock of another tool, which alone edits it", hint, e.keys...)}
	}
	if filepath.Base(e.set.File) == "pyproject.toml" {
		return recipes.Faults{e.in.recipe.Fault("the group stands in "+e.set.File+", which is not edited", "change its table dependency-groups, and run `ampoule lock`", e.keys...)}
	}
	for _, name := range e.files {
		if by, ok := edit.GeneratedBy(e.set.Files[name]); ok {
			hint := "change what it is made from, make it anew, and run `ampoule lock`"
			if by != "" {
				hint = "change what it is made from, run `" + by + "`, and `ampoule lock`"
			}
			return recipes.Faults{{File: e.path(name), Line: 1, Column: 1, What: "another tool writes this file", Hint: hint}}
		}
	}
	return nil
}

// canAdd refuses what nothing can be added to.
func (e *edits) canAdd(wanted []edit.Wanted) error {
	var texts []string
	for _, w := range wanted {
		texts = append(texts, "'"+w.Text+"'")
	}
	if err := e.canEdit("add", texts); err != nil {
		return err
	}
	if e.set.RequireHashes {
		return recipes.Faults{{
			File: e.path(e.set.File), What: "all requirements have hashes, and those of a new one are not known before it is locked",
			Hint: "write it with --hash=sha256:…, or give hashes to none: ampoule.lock has them all",
		}}
	}
	if app := e.in.recipe.App; app != nil && e.group == "" && e.isList() && len(e.what.List) == 0 {
		return recipes.Faults{e.in.recipe.Fault("the recipe has no requirements but those of its first-party code",
			"write it into project.dependencies of "+filepath.ToSlash(filepath.Join(app.Source, "pyproject.toml"))+", and run `ampoule lock`", "app")}
	}
	return nil
}

// add writes one requirement.
func (e *edits) add(w edit.Wanted) error {
	if e.isList() {
		file := e.in.recipe.File()
		text, change, err := edit.AddItem(file, e.now[file], w, e.keys...)
		return e.take(file, text, err, change)
	}
	// One that a file has is replaced there.
	file := e.path(e.set.File)
	for _, name := range e.files {
		if path := e.path(name); edit.HasLine(e.now[path], w) {
			file = path
			break
		}
	}
	text, change, err := edit.AddLine(file, e.now[file], w)
	return e.take(file, text, err, change)
}

// remove removes all requirements of a name.
func (e *edits) remove(name string) error {
	before := len(e.changes)
	if e.isList() {
		file := e.in.recipe.File()
		text, changes, err := edit.RemoveItems(file, e.now[file], name, e.keys...)
		if err := e.take(file, text, err, changes...); err != nil {
			return err
		}
	}
	for _, file := range e.files {
		path := e.path(file)
		text, changes, err := edit.RemoveLines(path, e.now[path], name)
		if err := e.take(path, text, err, changes...); err != nil {
			return err
		}
	}
	if len(e.changes) == before {
		return e.notRequired(name)
	}
	return nil
}

// take notes what an edit gave.
func (e *edits) take(file string, text []byte, err error, changes ...edit.Change) error {
	if err != nil {
		return err
	}
	e.now[file] = text
	for _, c := range changes {
		e.changes = append(e.changes, editChange{file, c})
	}
	return nil
}

// places are the files that have what the verb was asked about.
func (e *edits) places() []string {
	var files []string
	for _, c := range e.changes {
		files = append(files, c.File)
	}
	return slices.Compact(slices.Sorted(slices.Values(files)))
}

// checkGroup refuses a group that the recipe does not have.
func (e *edits) checkGroup() error {
	groups := e.in.recipe.DependencyGroups
	if _, known := groups[e.group]; known || e.group == "" {
		return nil
	}
	hint := "there is none"
	if len(groups) > 0 {
		hint = "the groups: " + strings.Join(slices.Sorted(maps.Keys(groups)), ", ")
	}
	return recipes.Faults{e.in.recipe.Fault("the recipe has no dependency group "+e.group, hint, "dependency-groups")}
}

// notRequired says that a name that should be removed is not required there.
func (e *edits) notRequired(name string) error {
	var names []string
	for _, q := range e.set.Requirements {
		switch {
		case q.Constraint:
		case q.Name == name:
			return recipes.Faults{{File: q.File, Line: q.Line, Column: q.Column, What: name + " is required here, which is not edited", Hint: "remove it here, and run `ampoule lock`"}}
		default:
			names = append(names, q.Name)
		}
	}
	hint := "what is written there: " + strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), ", ")
	if near := recipes.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	if e.in.lock != nil && slices.ContainsFunc(e.in.lock.Dists, func(d recipes.Dist) bool { return d.Name == name }) {
		hint = "something else brings it"
	}
	return recipes.Faults{e.in.recipe.Fault(name+" is not required", hint, e.keys...)}
}
