// Package project reads what a repository says about itself to other tools: which
// Python it wants, what it requires, which Debian packages its images install. It reads
// text alone. Nothing of a repository runs, and no network is asked.
//
// The files are foreign. One that cannot be read is told, see [Repository.Told], and
// never stands in the way of the others.
package project

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"ampoule/recipes"
)

// Limits on what is read of a repository.
const (
	// maxFile bounds files that people write, maxLock lock files, both in bytes.
	maxFile = 1 << 20
	maxLock = 16 << 20
	// maxAbove is how many directories above the recipe's are looked at.
	maxAbove = 32
	// maxEntries bounds how many files of one directory are read.
	maxEntries = 100
)

// Repository is what stands in a directory and above it, up to the root of the
// repository: the nearest directory with a .git. Where there is none, it is the
// directory alone. Links that lead out of it are not followed.
type Repository struct {
	root *os.Root
	// dir is the directory as it was given, and base its path below the root.
	dir, base string
	told      recipes.Faults
}

// Open opens the repository around a directory.
func Open(dir string) (*Repository, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding the repository of %s: %w", dir, err)
	}
	// A directory that is a link belongs to the repository that it leads to.
	if real, err := filepath.EvalSymlinks(absolute); err == nil {
		absolute = real
	}
	top := rootOf(absolute)
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, fmt.Errorf("opening the repository of %s: %w", dir, err)
	}
	base, err := filepath.Rel(top, absolute)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("finding the repository of %s: %w", dir, err), root.Close())
	}
	return &Repository{root: root, dir: dir, base: filepath.ToSlash(base)}, nil
}

// rootOf is the nearest directory above, or the directory itself, that has a .git, which
// is a file in a worktree.
func rootOf(dir string) string {
	at := dir
	for range maxAbove {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			return at
		}
		above := filepath.Dir(at)
		if above == at {
			break
		}
		at = above
	}
	return dir
}

// Close closes the repository.
func (r *Repository) Close() error { return r.root.Close() }

// Told lists what could not be read, with its place: what it says is not known.
func (r *Repository) Told() recipes.Faults { return r.told }

// above lists the ways from the directory up to the root, the nearest first: "", "..",
// "../..".
func (r *Repository) above() []string {
	ways := []string{""}
	if r.base == "." {
		return ways
	}
	for range strings.Count(r.base, "/") + 1 {
		ways = append(ways, path.Join("..", ways[len(ways)-1]))
	}
	return ways
}

// text is a file of the repository.
type text struct {
	// name is the path from the recipe's directory, with slashes. shown is as people
	// may open it from where they are.
	name, shown string
	body        string
}

// at is a place in the file.
func (t text) at(line, column int) recipes.Position {
	return recipes.Position{File: t.shown, Line: line, Column: column}
}

// read gives a file by its path from the directory. ok is false where there is none, and
// where there is one that is no text, which is told.
func (r *Repository) read(name string, limit int64) (t text, ok bool) {
	t = text{name: path.Clean(name), shown: filepath.Join(r.dir, filepath.FromSlash(name))}
	body, err := r.content(t.name, limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, false
	case err != nil:
		r.tell(t.at(0, 0), "it cannot be read: "+err.Error(), "")
		return t, false
	case !utf8.Valid(body):
		r.tell(t.at(0, 0), "it is not UTF-8 text", "")
		return t, false
	}
	t.body = strings.TrimPrefix(string(body), "\ufeff")
	return t, true
}

// content reads a regular file. Anything else, such as a pipe, is not opened.
func (r *Repository) content(name string, limit int64) ([]byte, error) {
	within := path.Join(r.base, name)
	info, err := r.root.Stat(within)
	switch {
	case err != nil:
		return nil, reason(err)
	case info.IsDir():
		return nil, fs.ErrNotExist
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	}
	f, err := r.root.Open(within)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, reason(err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return body, nil
}

// reason leaves out the path, which is told beside it.
func reason(err error) error {
	var wrong *fs.PathError
	if errors.As(err, &wrong) {
		return wrong.Err
	}
	return err
}

// list gives the names in a directory, sorted, at most maxEntries.
func (r *Repository) list(name string) []string {
	f, err := r.root.Open(path.Join(r.base, name))
	if err != nil {
		return nil
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return first(sorted(names), maxEntries)
}

// has reports whether a file is there.
func (r *Repository) has(name string) bool {
	info, err := r.root.Stat(path.Join(r.base, name))
	return err == nil && info.Mode().IsRegular()
}

func (r *Repository) tell(at recipes.Position, what, hint string) {
	r.told = append(r.told, recipes.Fault{File: at.File, Line: at.Line, Column: at.Column, What: what, Hint: hint})
}

// recipeMark begins a line of each recipe.
const recipeMark = "\napiVersion: " + recipes.APIVersion

// Recipes lists the recipes in the directory by name.
func (r *Repository) Recipes() []string {
	var found []string
	for _, name := range r.list("") {
		if ext := path.Ext(name); ext != ".yaml" && ext != ".yml" {
			continue
		}
		if body, err := r.content(name, maxFile); err == nil && strings.Contains("\n"+string(body), recipeMark) {
			found = append(found, name)
		}
	}
	return found
}
