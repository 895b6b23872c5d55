package submission

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/builder/workspace"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// Submission is what an archive has, as it was read in a directory.
type Submission struct {
	Recipe       *recipes.Recipe
	Requirements *recipes.RequirementSet
	// Lock is nil where the archive has none.
	Lock *recipes.Lock
	// Workspace is the recipe's first-party code; nil without any.
	Workspace *workspace.Workspace
}

// Open unpacks an archive into an empty directory, where its files stay, and reads it. What is
// wrong in the files is told as [recipes.Faults], by their names in the archive.
func Open(ctx context.Context, archive io.Reader, dir string, limits Limits) (Submission, error) {
	if err := Unpack(ctx, archive, dir, limits); err != nil {
		return Submission{}, err
	}
	s, err := read(dir) //nolint:contextcheck // a directory is read as a tree without one
	return s, Relative(err, dir)
}

// read reads what was unpacked.
func read(dir string) (Submission, error) {
	m, err := readManifest(dir)
	if err != nil {
		return Submission{}, err
	}
	file := filepath.Join(dir, filepath.FromSlash(m.Recipe))
	var s Submission
	s.Recipe, err = recipes.ReadRecipeWithin(dir, file)
	if errors.Is(err, fs.ErrNotExist) {
		return Submission{}, recipes.Faults{{File: file, What: "the archive has no recipe there", Hint: "put ampoule.yaml at its top, or name the recipe in " + manifestName}}
	}
	if err == nil {
		err = checkApp(dir, s.Recipe)
	}
	if err != nil {
		return Submission{}, err
	}
	var all recipes.Faults
	if s.Requirements, err = recipes.ReadRequirements(s.Recipe); !gather(&all, err) {
		return Submission{}, err
	}
	s.Lock, err = recipes.ReadLock(recipes.LockPath(file))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.Lock = nil
	case !gather(&all, err):
		return Submission{}, err
	}
	if err := all.Err(); err != nil {
		return Submission{}, err
	}
	s.Workspace, err = code(filepath.Dir(file), s, m.App)
	return s, err
}

// checkApp refuses first-party code outside of the archive.
func checkApp(dir string, r *recipes.Recipe) error {
	if r.App == nil {
		return nil
	}
	at, err := filepath.Rel(dir, filepath.Dir(r.File()))
	if err != nil {
		return err
	}
	for _, source := range r.App.Dirs() {
		if !filepath.IsLocal(filepath.Join(at, filepath.FromSlash(source))) {
			return recipes.Faults{r.Fault(source+" leads out of the archive", "submit the code in the same archive, as `ampoule build --server` does", "app")}
		}
	}
	return nil
}

// gather adds an error's faults to others. It returns false for an error that is something else.
func gather(all *recipes.Faults, err error) bool {
	var some recipes.Faults
	if err != nil && !errors.As(err, &some) {
		return false
	}
	*all = append(*all, some...)
	return true
}

func readManifest(dir string) (manifest, error) {
	f, err := os.Open(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{Version: version, Recipe: defaultRecipe}, nil
	}
	if err != nil {
		return manifest{}, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return manifest{}, err
	}
	var m manifest
	if len(text) > maxManifest {
		return m, wrong("%s is larger than %d bytes", manifestName, maxManifest)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err = d.Decode(&m)
	switch {
	case err == nil && d.More():
		return m, wrong("%s has something behind its end", manifestName)
	case err != nil:
		return m, wrong("%s is wrong: %w", manifestName, err)
	case m.Version != version:
		return m, faults.New(faults.Input, "use the same version of Ampoule at both ends", "%s has version %d, and this server reads %d", manifestName, m.Version, version)
	}
	return m, checkName(m.Recipe)
}

// code is the first-party code of an archive. Without a manifest all files of a source directory
// are its code, but for those that say what is built.
func code(dir string, s Submission, a *app) (*workspace.Workspace, error) {
	if s.Recipe.App == nil {
		if a != nil {
			return nil, wrong("%s tells of an application, and the recipe has none", manifestName)
		}
		return nil, nil
	}
	w := &workspace.Workspace{State: workspace.State{Dirty: true}}
	if a != nil {
		w.State, w.Origin = a.State, workspace.Origin{Repository: a.Repository, Ref: a.Ref}
		if len(a.Projects) != len(s.Requirements.Projects) {
			return nil, wrong("%s tells of %d directories of code, and the recipe of %d", manifestName, len(a.Projects), len(s.Requirements.Projects))
		}
	}
	for i, named := range s.Requirements.Projects {
		p := workspace.Project{Dir: named.Dir}
		own := func(file string) bool { return !slices.Contains(s.besides(), path.Join(named.Dir, file)) }
		if a != nil {
			listed := map[string]bool{}
			for _, file := range a.Projects[i].Files {
				listed[file] = true
			}
			own, p.Version = func(file string) bool { return listed[file] }, a.Projects[i].Version
		} else if named.Version == recipes.VersionTags {
			return nil, recipes.Faults{{
				File: named.At.File, Line: named.At.Line, Column: named.At.Column, What: "the version comes from tags, which the archive does not tell",
				Hint: "submit with `ampoule build --server`",
			}}
		}
		files, err := tree.FromDir(filepath.Join(dir, filepath.FromSlash(named.Dir)))
		if err != nil {
			return nil, err
		}
		p.Tree = files.Select(func(e tree.Entry) bool { return e.Kind != tree.Dir && own(e.Path) })
		w.Projects = append(w.Projects, p)
	}
	if a != nil && w.Hash() != a.Hash {
		return nil, wrong("the first-party code in the archive is not what %s says it is", manifestName)
	}
	return w, nil
}

// besides are the files that are no part of the code, by paths from the recipe's directory.
func (s Submission) besides() []string {
	file := filepath.Base(s.Recipe.File())
	return slices.Concat(s.Recipe.Extended(), []string{file, recipes.LockPath(file), manifestName})
}

// Relative takes the directory that an archive was unpacked into out of an error: the files have
// their names in the archive.
func Relative(err error, dir string) error {
	if err == nil {
		return nil
	}
	prefix := filepath.Clean(dir) + string(filepath.Separator)
	clean := func(text string) string { return strings.ReplaceAll(text, prefix, "") }
	var found recipes.Faults
	if errors.As(err, &found) {
		all := make(recipes.Faults, len(found))
		for i, f := range found {
			f.File, f.What, f.Hint = clean(f.File), clean(f.What), clean(f.Hint)
			all[i] = f
		}
		return all
	}
	if text := err.Error(); strings.Contains(text, prefix) {
		return &relativeError{err, clean(text)}
	}
	return err
}

// relativeError is an error in other words.
type relativeError struct {
	error
	text string
}

func (e *relativeError) Error() string { return e.text }

// Unwrap returns the error, which has the kind.
func (e *relativeError) Unwrap() error { return e.error }
