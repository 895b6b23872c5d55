package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"ampoule/recipes"
)

// file is a file of a source that is to be read.
type file struct {
	// path is relative to the source.
	path string
	// committed is what the commit has there; nil where it has nothing.
	committed *blob
	// generated is set for what the recipe names and the commit does not have.
	generated bool
}

// list says which files a source has; at is its directory below the top.
func (r *reader) list(ctx context.Context, at string) ([]file, error) {
	info, err := r.root.Stat(at)
	if err != nil || !info.IsDir() {
		return nil, recipes.Faults{fault(r.spec.At, r.shown(at)+" is no directory of the working tree", "app.source and app.members name directories, relative to the recipe's")}
	}
	var listed []file
	if len(r.spec.Files) > 0 {
		listed, err = r.matching(ctx, at)
	} else {
		listed, err = r.trackedIn(ctx, at, r.state.Commit, "")
		err = errors.Join(err, r.noteUntracked(ctx, at))
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(listed, func(a, b file) int { return strings.Compare(a.path, b.path) })
	for _, f := range listed {
		if !utf8.ValidString(f.path) {
			r.refuse(path.Join(at, f.path), fmt.Sprintf("the name %+q is not UTF-8", f.path), "rename the file, or leave it out with app.files")
		}
	}
	return listed, nil
}

// noteUntracked notes what is in a source and no part of the code.
func (r *reader) noteUntracked(ctx context.Context, at string) error {
	names, err := r.git.untracked(ctx, filepath.Join(r.top, filepath.FromSlash(at)))
	for _, name := range names {
		p := path.Join(at, name)
		if len(r.state.Untracked) < maxChanged && !slices.Contains(r.spec.Except, r.fromRecipe(p)) && !slices.Contains(r.state.Untracked, p) {
			r.state.Untracked = append(r.state.Untracked, p)
		}
	}
	return err
}

// refuse notes what is wrong with a file; p is its path below the top.
func (r *reader) refuse(p, what, hint string) {
	r.faults = append(r.faults, recipes.Fault{File: strings.ToValidUTF8(r.shown(p), "�"), What: what, Hint: hint})
}

// trackedIn lists what git tracks below a directory at a path below the top. Files of
// submodules are below prefix, as seen from the source. What the commit has and the index has
// not is noted as changed.
func (r *reader) trackedIn(ctx context.Context, at, commit, prefix string) ([]file, error) {
	dir := filepath.Join(r.top, filepath.FromSlash(at))
	staged, unmerged, err := r.git.staged(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range unmerged {
		r.refuse(path.Join(at, name), "a merge has left it undecided", "resolve the conflict and `git add` the file")
	}
	committed, err := r.git.committed(ctx, dir, commit)
	if err != nil {
		return nil, err
	}
	var listed []file
	for _, name := range slices.Sorted(maps.Keys(staged)) {
		was, known := committed[name]
		delete(committed, name)
		if staged[name].mode != modeSubmodule {
			f := file{path: path.Join(prefix, name)}
			if known {
				f.committed = &was
			}
			listed = append(listed, f)
			continue
		}
		below, err := r.submodule(ctx, path.Join(at, name), was, path.Join(prefix, name))
		if err != nil {
			return nil, err
		}
		listed = append(listed, below...)
	}
	for _, name := range slices.Sorted(maps.Keys(committed)) {
		if !slices.Contains(r.spec.Except, r.fromRecipe(path.Join(at, name))) {
			r.changed(path.Join(at, name))
		}
	}
	return listed, nil
}

// submodule lists what a submodule tracks; was is the commit of it that is committed.
func (r *reader) submodule(ctx context.Context, at string, was blob, prefix string) ([]file, error) {
	_, err := r.root.Lstat(path.Join(at, ".git"))
	if errors.Is(err, fs.ErrNotExist) {
		r.refuse(at, "the submodule is not there", "`git submodule update --init --recursive` brings it")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(r.top, filepath.FromSlash(at))
	commit, err := r.git.head(ctx, dir)
	if err != nil {
		return nil, err
	}
	if commit != was.id || was.mode != modeSubmodule {
		r.changed(at)
	}
	return r.trackedIn(ctx, at, commit, prefix)
}

// matching lists what the recipe's patterns match below a directory.
func (r *reader) matching(ctx context.Context, at string) ([]file, error) {
	committed := map[string]blob{}
	if r.tracked {
		var err error
		if committed, err = r.git.committed(ctx, filepath.Join(r.top, filepath.FromSlash(at)), r.state.Commit); err != nil {
			return nil, err
		}
	}
	found, err := r.matches(ctx)
	if err != nil {
		return nil, err
	}
	var listed []file
	for _, p := range found {
		name := p
		if at != "." {
			rest, below := strings.CutPrefix(p, at+"/")
			if !below {
				continue
			}
			name = rest
		}
		f := file{path: name, generated: true}
		if was, known := committed[name]; known {
			f.committed, f.generated = &was, false
		}
		listed = append(listed, f)
	}
	return listed, nil
}

// matches lists the files that the patterns match, below the top and sorted. A pattern that
// matches nothing is a fault: whoever wrote it means something.
func (r *reader) matches(ctx context.Context) ([]string, error) {
	found := map[string]bool{}
	for _, pattern := range r.spec.Files {
		matched, err := fs.Glob(r.root.FS(), path.Join(quoted(r.dir), pattern))
		if err != nil {
			return nil, fmt.Errorf("app.files: %q: %w", pattern, err)
		}
		if len(matched) == 0 {
			return nil, recipes.Faults{fault(r.spec.At, fmt.Sprintf("app.files: %q matches nothing", pattern), "paths are relative to the recipe's directory; what is generated is generated before the build")}
		}
		for _, p := range matched {
			if err := r.below(ctx, p, found); err != nil {
				return nil, err
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// quoted is a directory as a pattern that matches it alone.
func quoted(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

// below adds a file, or all files below a directory but those of git itself.
func (r *reader) below(ctx context.Context, p string, found map[string]bool) error {
	return fs.WalkDir(r.root.FS(), p, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" && d.IsDir():
			return fs.SkipDir
		case d.Name() == ".git" || d.IsDir():
			return nil
		}
		found[name] = true
		if len(found) > r.limits.files {
			return r.tooMany()
		}
		return nil
	})
}

func (r *reader) tooMany() error {
	return recipes.Faults{fault(r.spec.At, fmt.Sprintf("the application has more than %d files", r.limits.files), "app.files names those that belong to it")}
}

// changed notes a file that is not as the commit has it; p is below the top.
func (r *reader) changed(p string) {
	r.state.Dirty = true
	if len(r.state.Changed) < maxChanged && !slices.Contains(r.state.Changed, p) {
		r.state.Changed = append(r.state.Changed, p)
	}
}
