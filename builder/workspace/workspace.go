// Package workspace reads first-party code out of a working tree: the files of each source
// directory, and the commit that they stand on.
//
// Git says which files those are and what is committed. It runs nothing of the repository:
// no hook, no filter, no file system monitor, and it asks no other machine. Files are read
// as they are on disk, so that what is not committed yet is read too.
package workspace

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/recipes"
	"ampoule/tree"
)

// Spec says what is read.
type Spec struct {
	// Dir is the recipe's directory.
	Dir string
	// Sources are the directories of the code.
	Sources []Source
	// Files are patterns, as Go's path.Match has them, of paths below Dir. One that
	// matches a directory takes everything below it. Without any, git says which files
	// there are.
	Files []string
	// Except are paths from Dir that are no part of the code, although they are in one
	// of the Sources.
	Except []string
	// Beside are further files, by paths from Dir. [State] tells of them too.
	Beside []string
	// At is where the recipe names the sources.
	At recipes.Position
}

// Source is a directory of first-party code.
type Source struct {
	// Dir is relative to the recipe's directory, with slashes. It may lead above that, as
	// far as the repository goes.
	Dir string
	// Tagged reports whether its version comes from the repository's tags; then At is
	// where that is written.
	Tagged bool
	At     recipes.Position
}

// Workspace is first-party code as it stood in a working tree.
type Workspace struct {
	// Projects are in the order of the spec's sources.
	Projects []Project
	State    State
	Origin   Origin
}

// Project is the code of one source directory.
type Project struct {
	// Dir is the source's.
	Dir string
	// Tree are its files. To read one that has changed meanwhile is a [*ChangedError].
	Tree *tree.Tree
	// Version is what tags give (PEP 440); empty where the project does not ask them.
	Version string
}

// State says what the code is of.
type State struct {
	// Commit is the commit that is checked out, in hexadecimal; empty without a repository,
	// or before its first commit.
	Commit string `json:"commit,omitempty"`
	// Dirty is set where the files are not, byte for byte, those of the commit.
	Dirty bool `json:"dirty"`
	// Changed are files that differ, relative to the top of the working tree: the first
	// [maxChanged].
	Changed []string `json:"changed,omitempty"`
	// Generated are files that the recipe names and the commit does not have. They do not
	// make it dirty: the recipe says that they are made. The list has the first ones.
	Generated []string `json:"generated,omitempty"`
	// Untracked are files and directories in the sources that git neither tracks nor
	// ignores: they are no part of the code. The list has the first ones.
	Untracked []string `json:"untracked,omitempty"`
}

// maxChanged bounds how many files a [State] names.
const maxChanged = 100

// Hash names the code of all projects: "sha256:" and a hash of their files and of the
// versions that tags give them.
func (w *Workspace) Hash() string {
	type named struct{ Dir, Tree, Version string }
	all := make([]named, len(w.Projects))
	for i, p := range w.Projects {
		all[i] = named{p.Dir, p.Tree.Hash(), p.Version}
	}
	data, err := json.Marshal(all)
	if err != nil {
		panic("workspace: texts are not JSON: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// limits bound what is read.
type limits struct {
	files int
	bytes int64
}

// usual are the limits of a workspace: an application that is larger holds what belongs
// elsewhere, such as data or a virtual environment.
var usual = limits{files: 100_000, bytes: 4 << 30}

// Read reads first-party code. Git runs in an environment, which is as os.Environ has it. What
// cannot be read as it is meant is told at once, as [recipes.Faults].
func Read(ctx context.Context, spec Spec, environ []string) (*Workspace, error) {
	return read(ctx, spec, environ, usual)
}

func read(ctx context.Context, spec Spec, environ []string, bounds limits) (*Workspace, error) {
	dir, err := filepath.Abs(spec.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the application: %w", err)
	}
	g := git{environ: environ}
	top, err := g.top(ctx, dir)
	if errors.Is(err, errNoGit) && len(spec.Files) > 0 {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the application: %w", err)
	}
	r := &reader{spec: spec, git: g, limits: bounds, top: top, tracked: top != ""}
	switch {
	case top == "" && len(spec.Files) == 0:
		return nil, recipes.Faults{noRepository(spec)}
	case top == "":
		r.top = dir
	}
	below, err := filepath.Rel(r.top, dir)
	if err != nil {
		return nil, fmt.Errorf("reading the application: %w", err)
	}
	r.dir = filepath.ToSlash(below)
	root, err := os.OpenRoot(r.top)
	if err != nil {
		return nil, fmt.Errorf("reading the application: %w", err)
	}
	defer func() { _ = root.Close() }()
	r.root = root
	return r.read(ctx)
}

// noRepository says that nothing tells which files are the application's.
func noRepository(spec Spec) recipes.Fault {
	return fault(spec.At, fmt.Sprintf("%s is in no git repository, and app.files does not say which files are the application's", spec.Sources[0].Dir),
		fmt.Sprintf("name them, directories with everything below them: `app: {source: %s, files: [pyproject.toml, src]}`", spec.Sources[0].Dir))
}

func fault(at recipes.Position, what, hint string) recipes.Fault {
	return recipes.Fault{File: at.File, Line: at.Line, Column: at.Column, What: what, Hint: hint}
}

// reader reads one workspace.
type reader struct {
	spec   Spec
	git    git
	limits limits
	// top is the top of the working tree, or the recipe's directory where there is no
	// repository; root is open there, and dir is the recipe's directory below it.
	top  string
	root *os.Root
	dir  string
	// tracked is set in a repository.
	tracked bool
	state   State
	// files and bytes were read so far.
	files  int
	bytes  int64
	faults recipes.Faults
}

func (r *reader) read(ctx context.Context) (*Workspace, error) {
	if r.tracked {
		commit, err := r.git.head(ctx, r.top)
		if err != nil {
			return nil, fmt.Errorf("reading the application: %w", err)
		}
		r.state.Commit = commit
	}
	r.state.Dirty = r.state.Commit == ""
	w := &Workspace{}
	if r.tracked {
		origin, err := r.git.origin(ctx, r.top)
		if err != nil {
			return nil, fmt.Errorf("reading the application: %w", err)
		}
		w.Origin = origin
	}
	for _, source := range r.spec.Sources {
		p, err := r.project(ctx, source)
		if err != nil {
			return nil, fmt.Errorf("reading the application: %s: %w", source.Dir, err)
		}
		w.Projects = append(w.Projects, p)
	}
	if err := r.faults.Err(); err != nil {
		return nil, err
	}
	if err := r.beside(ctx); err != nil {
		return nil, fmt.Errorf("reading the application: %w", err)
	}
	for i, source := range r.spec.Sources {
		if !source.Tagged {
			continue
		}
		version, err := r.version(ctx, source)
		if err != nil {
			return nil, err
		}
		w.Projects[i].Version = version
	}
	w.State = r.state
	return w, nil
}

// project reads the files of one source.
func (r *reader) project(ctx context.Context, source Source) (Project, error) {
	p := Project{Dir: source.Dir}
	at := path.Join(r.dir, source.Dir)
	if at == ".." || strings.HasPrefix(at, "../") {
		return p, recipes.Faults{fault(r.spec.At, fmt.Sprintf("%s is outside of %s", source.Dir, r.top), "an application's code is in one working tree, beside its recipe")}
	}
	listed, err := r.list(ctx, at)
	if err != nil {
		return p, err
	}
	listed = slices.DeleteFunc(listed, func(f file) bool { return slices.Contains(r.spec.Except, r.fromRecipe(path.Join(at, f.path))) })
	var entries []tree.Entry
	for _, f := range listed {
		e, there, err := r.entry(ctx, at, f)
		if err != nil {
			return p, err
		}
		if there {
			entries = append(entries, e)
		}
	}
	if len(r.faults) > 0 {
		return p, nil
	}
	if p.Tree, err = tree.New(entries); err != nil {
		return p, err
	}
	r.faults = append(r.faults, r.strayLinks(at, p.Tree)...)
	return p, r.buildable(source, at, p.Tree)
}

// fromRecipe gives a path below the top as it is seen from the recipe's directory: ../NAME
// for one above that.
func (r *reader) fromRecipe(p string) string {
	seen, err := filepath.Rel(filepath.FromSlash(r.dir), filepath.FromSlash(p))
	if err != nil {
		// Both are relative and clean.
		panic("workspace: " + err.Error())
	}
	return filepath.ToSlash(seen)
}

// buildable refuses a tree that no build backend would take, though the directory may have what
// it lacks.
func (r *reader) buildable(source Source, at string, t *tree.Tree) error {
	for _, name := range []string{"pyproject.toml", "setup.py"} {
		if _, ok := t.Lookup(name); ok || len(r.faults) > 0 {
			return nil
		}
	}
	what, hint := "git tracks neither pyproject.toml nor setup.py there", "add the files to git: `git add "+path.Join(source.Dir, "pyproject.toml")+"`"
	if len(r.spec.Files) > 0 {
		what, hint = "app.files matches neither pyproject.toml nor setup.py there", "add it to app.files"
	}
	return recipes.Faults{fault(r.spec.At, at+": "+what, hint)}
}

// strayLinks tells of symbolic links that lead out of a source, or through another link: what
// they are in the build is not what they are here.
func (r *reader) strayLinks(at string, t *tree.Tree) recipes.Faults {
	var faults recipes.Faults
	for _, e := range t.Entries() {
		if e.Kind != tree.Symlink {
			continue
		}
		if why := stray(e, t); why != "" {
			faults = append(faults, recipes.Fault{
				File: r.shown(path.Join(at, e.Path)), What: fmt.Sprintf("it is a link to %s, which %s", e.Link, why),
				Hint: "put the file itself there, or leave the link out with app.files",
			})
		}
	}
	return faults
}

// stray says what is wrong with where a link leads; nothing where it stays in its source.
func stray(e tree.Entry, t *tree.Tree) string {
	target := path.Join(path.Dir(e.Path), e.Link)
	if path.IsAbs(e.Link) || target == ".." || strings.HasPrefix(target, "../") {
		return "is outside of the source"
	}
	for dir := path.Dir(target); dir != "."; dir = path.Dir(dir) {
		if through, ok := t.Lookup(dir); ok && through.Kind == tree.Symlink {
			return "leads through the link " + dir
		}
	}
	return ""
}

// shown is a path below the top as people see it: from the recipe's directory, as they gave
// that.
func (r *reader) shown(p string) string {
	rel, err := filepath.Rel(filepath.FromSlash(r.dir), filepath.FromSlash(p))
	if err != nil {
		return p
	}
	return filepath.Join(r.spec.Dir, rel)
}
