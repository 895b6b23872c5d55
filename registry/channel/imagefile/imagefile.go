// Package imagefile has files of others name a digest: those of Kubernetes and compose, and jobs of
// Nomad. Only the digest is changed; every other byte of a file stays.
//
// It is strict, since a file decides what runs: exactly one thing in it must fit.
package imagefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/recipes"
)

// maxFile bounds a file, in bytes.
const maxFile = 4 << 20

// digestMark begins the digest of an image's reference.
const digestMark = "@sha256:"

// Image says which image of a file is meant.
type Image struct {
	// Name is the artifact's. An image fits whose repository is it, or ends with a slash and it.
	Name string
	// Repository is the whole repository, with its host, where more than one fits; may be empty.
	Repository string
}

func (i Image) String() string {
	if i.Repository != "" {
		return i.Repository
	}
	return i.Name
}

// fits reports whether a repository is meant.
func (i Image) fits(repository string) bool {
	if i.Repository != "" {
		return repository == i.Repository
	}
	return repository == i.Name || strings.HasSuffix(repository, "/"+i.Name)
}

// File is a file that names an image by its digest.
type File struct {
	// Path is where people wrote it.
	Path string
	// Repository is the image's, Digest what it is named by.
	Repository, Digest string

	image  Image
	text   []byte
	places []place
}

// place is where a file has the text of an image.
type place struct {
	line, column int
	// from and to are the offsets of the text.
	from, to int
	text     string
}

// repository is what stands before tag and digest.
func (p place) repository() string {
	rest, _, _ := strings.Cut(p.text, "@")
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest = rest[:i]
	}
	return rest
}

// digest is what the image is named by; empty where it is not.
func (p place) digest() string {
	_, digest, _ := strings.Cut(p.text, "@")
	if !artifact.IsDigest(digest) {
		return ""
	}
	return digest
}

// Read reads a file, and finds the image. A file in which nothing fits, or two different things do, is
// an error of kind Input, at its line and column.
func Read(path string, image Image) (*File, error) {
	find, err := finder(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, faults.New(faults.Input, "", "there is no file %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(text) > maxFile {
		return nil, fault(path, place{line: 1, column: 1}, "", "the file has more than %d bytes", maxFile)
	}
	return parse(path, text, image, find)
}

// find finds all images of a text.
type find func(path string, text []byte) ([]place, error)

// finder is what reads a file of its name.
func finder(path string) (find, error) {
	switch filepath.Ext(path) {
	case ".yaml", ".yml", ".json":
		return findYAML, nil
	case ".hcl", ".nomad":
		return findHCL, nil
	}
	return nil, faults.New(faults.Usage, "its name must end with .yaml, .yml, .json, .hcl or .nomad", "%s is no file of Kubernetes, compose or Nomad", path)
}

func parse(path string, text []byte, image Image, find find) (*File, error) {
	all, err := find(path, text)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, image: image, text: text}
	for _, p := range all {
		if image.fits(p.repository()) {
			f.places = append(f.places, p)
		}
	}
	if len(f.places) == 0 {
		return nil, f.nothing(all)
	}
	first := f.places[0]
	for _, p := range f.places {
		switch {
		case p.digest() == "":
			return nil, fault(path, p, fmt.Sprintf("write it once with a digest: image: %s%s%s", p.repository(), digestMark, strings.Repeat("0", 64)),
				"%s is not named by a digest: %s", image, p.text)
		case p.text != first.text:
			return nil, fault(path, p, "name the one that is meant: --image "+p.repository()+"; what is to stay as it is belongs into another file",
				"two different things fit: %s, and at line %d %s", p.text, first.line, first.text)
		}
	}
	f.Repository, f.Digest = first.repository(), first.digest()
	return f, nil
}

// nothing says that nothing fits, and what is there.
func (f *File) nothing(all []place) error {
	at, has := place{line: 1, column: 1}, "it names no image"
	if len(all) > 0 {
		at = all[0]
		var names []string
		for _, p := range all {
			names = append(names, p.repository())
		}
		slices.Sort(names)
		has = "it names " + strings.Join(slices.Compact(names), ", ")
	}
	return fault(f.Path, at, fmt.Sprintf("write it once: image: HOST/%s%s%s", f.image.Name, digestMark, strings.Repeat("0", 64)), "nothing in it is the image %s: %s", f.image, has)
}

func fault(path string, at place, hint, format string, args ...any) error {
	return recipes.Faults{{File: path, Line: at.line, Column: at.column, What: fmt.Sprintf(format, args...), Hint: hint}}
}

// pinned is the text of the file with another digest. It is read again, and must say that and
// nothing else.
func (f *File) pinned(digest string) ([]byte, error) {
	var out bytes.Buffer
	last := 0
	for _, p := range f.places {
		out.Write(f.text[last:p.from])
		rest, _, _ := strings.Cut(p.text, "@")
		out.WriteString(rest + "@" + digest)
		last = p.to
	}
	out.Write(f.text[last:])
	find, err := finder(f.Path)
	if err != nil {
		return nil, err
	}
	before, err := find(f.Path, f.text)
	if err != nil {
		return nil, err
	}
	after, err := find(f.Path, out.Bytes())
	if err != nil {
		return nil, err
	}
	for i, p := range before {
		want := p.text
		if f.image.fits(p.repository()) {
			rest, _, _ := strings.Cut(p.text, "@")
			want = rest + "@" + digest
		}
		if len(after) != len(before) || after[i].text != want {
			return nil, fault(f.Path, p, "edit it by hand, to "+f.Repository+"@"+digest, "this cannot be edited in the form that it is written in")
		}
	}
	return out.Bytes(), nil
}

// Write has files name a digest. All of them are on disk before one is in its place, and each takes
// its place in one step. It returns the paths of those that were changed.
func Write(files []*File, digest string) (changed []string, err error) {
	var ready []*written
	defer func() {
		for _, w := range ready {
			err = errors.Join(err, w.forget())
		}
	}()
	for _, f := range files {
		if f.Digest == digest {
			continue
		}
		w, err := f.prepare(digest)
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", f.Path, err)
		}
		ready = append(ready, w)
	}
	for _, w := range ready {
		if err := w.replace(); err != nil {
			return changed, fmt.Errorf("writing %s: %w", w.path, err)
		}
		changed = append(changed, w.path)
	}
	return changed, nil
}

// written is a file that is on disk, and has not its name.
type written struct {
	// path is for people, to its place, where links have led, and temp where it is.
	path, to, temp string
}

// prepare writes a file beside the one whose place it takes.
func (f *File) prepare(digest string) (*written, error) {
	text, err := f.pinned(digest)
	if err != nil {
		return nil, err
	}
	to, err := filepath.EvalSymlinks(f.Path)
	if err != nil {
		return nil, err
	}
	now, err := os.ReadFile(to)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(now, f.text) {
		return nil, faults.New(faults.Input, "call `ampoule channel resolve --write` when nobody edits it", "somebody has changed it meanwhile")
	}
	info, err := os.Stat(to)
	if err != nil {
		return nil, err
	}
	temp, err := os.CreateTemp(filepath.Dir(to), ".ampoule-*")
	if err != nil {
		return nil, err
	}
	_, err = temp.Write(text)
	err = errors.Join(err, temp.Chmod(info.Mode().Perm()), temp.Sync(), temp.Close())
	return &written{f.Path, to, temp.Name()}, err
}

// replace gives the file its name.
func (w *written) replace() error {
	if err := os.Rename(w.temp, w.to); err != nil {
		return err
	}
	w.temp = ""
	dir, err := os.Open(filepath.Dir(w.to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// forget removes what has not taken its place.
func (w *written) forget() error {
	if w.temp == "" {
		return nil
	}
	return os.Remove(w.temp)
}
