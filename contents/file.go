package contents

import (
	"context"
	"fmt"
	"path"
	"strings"

	"ampoule/audit"
	"ampoule/builder/toolchain"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/sbom"
	"ampoule/tree"
)

// What brings files.
const (
	FromInterpreter  = "interpreter"
	FromDistribution = "distribution"
	FromApplication  = "application"
	FromDebian       = "debian"
	FromAmpoule      = "ampoule"
	FromBase         = "base"
	// FromCarried is a file that is carried, and nobody says from which package.
	FromCarried = "carried"
)

// File is one file of an artifact's image.
type File struct {
	// Path is absolute, in the image.
	Path string `json:"path"`
	// Kind is file, link or directory.
	Kind string `json:"kind"`
	// Mode is octal, as chmod(1) has it; Size in bytes.
	Mode string `json:"mode"`
	Size int64  `json:"size"`
	// SHA256 is of a file's content, in hexadecimal.
	SHA256 string `json:"sha256,omitempty"`
	// Link is what a link leads to, as it stands.
	Link string `json:"link,omitempty"`
	// Layer is the name of the layer that carries it, LayerDigest its digest in the registry.
	Layer       string `json:"layer,omitempty"`
	LayerDigest string `json:"layerDigest,omitempty"`
	From        Origin `json:"from"`
}

// Origin is what brought a file.
type Origin struct {
	// Kind is one of those above.
	Kind string `json:"kind"`
	// Name and Version are the interpreter's, the distribution's, or the Debian package's.
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	// Wheel is the file that a distribution was installed from, with its sha256; Sdist the
	// sha256 of what that was built from.
	Wheel  string `json:"wheel,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Sdist  string `json:"sdist,omitempty"`
	// Source and SourceVersion are the Debian source package.
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"sourceVersion,omitempty"`
}

// base are the layers that the tree is laid on.
type base struct {
	tree    *tree.Tree
	layerOf map[string]int
	origins map[string]toolchain.Origin
}

// File describes a file of the image by its absolute path, or one of the tree by a path
// relative to it. One that is not there is an error of kind NotFound.
func (a *Artifact) File(ctx context.Context, name string) (File, error) {
	prefix := a.Labels.Prefix
	clean := path.Clean(name)
	inside, below := strings.CutPrefix(clean, prefix+"/")
	switch {
	case below:
	case path.IsAbs(clean) && clean != prefix:
		return a.baseFile(ctx, strings.TrimPrefix(clean, "/"))
	case !path.IsAbs(clean):
		inside = clean
	}
	e, ok := a.Tree.Lookup(inside)
	if !ok {
		// A directory on the way may be a link, as lib64 is.
		e, ok = through(a.Tree, inside)
	}
	if !ok {
		return File{}, a.missing(name)
	}
	f := describe(e)
	f.Path = path.Join(prefix, e.Path)
	if i, ok := a.layerOf[e.Path]; ok {
		f.Layer, f.LayerDigest = a.Image.Layers[i].Name, a.Image.Layers[i].Digest
		f.From = a.origin(e)
	}
	return f, nil
}

// through finds an entry behind directories that are links.
func through(t *tree.Tree, name string) (tree.Entry, bool) {
	dir, ok := t.Resolve(path.Dir(name))
	if !ok {
		return tree.Entry{}, false
	}
	return t.Lookup(path.Join(dir.Path, path.Base(name)))
}

func (a *Artifact) missing(name string) error {
	return faults.New(faults.NotFound, fmt.Sprintf("the tree stands at %s in the image: paths are relative to it, or absolute", a.Labels.Prefix),
		"file %q in %s: not found", name, a.Ref)
}

func describe(e tree.Entry) File {
	f := File{Mode: fmt.Sprintf("%04o", e.Mode.Perm()), Size: e.Size, SHA256: e.SHA256, Link: e.Link}
	switch e.Kind {
	case tree.Dir:
		f.Kind = "directory"
	case tree.File:
		f.Kind = "file"
	case tree.Symlink:
		f.Kind = "link"
	}
	return f
}

// origin says what brought a file of the tree.
func (a *Artifact) origin(e tree.Entry) Origin {
	name, isDist := strings.CutPrefix(e.Owner, audit.OwnerWheel)
	switch {
	case isDist:
		return a.distribution(name, e)
	case e.Owner == ownerNative:
		return a.carried(e)
	case e.Owner == audit.OwnerInterpreter:
		return Origin{Kind: FromInterpreter, Name: "cpython", Version: a.Record.Python.Version}
	case e.Owner == ownerApp:
		return Origin{Kind: FromApplication}
	}
	return Origin{Kind: FromAmpoule}
}

// distribution says which one a file is of. What the interpreter brought itself, such as pip,
// has no wheel in the record.
func (a *Artifact) distribution(name string, e tree.Entry) Origin {
	o := Origin{Kind: FromDistribution, Name: name}
	if a.Image.Layers[a.layerOf[e.Path]].Name == ownerApp {
		o.Kind = FromApplication
	}
	for _, w := range a.Record.Wheels {
		if packaging.NormalName(w.Name) == name {
			o.Version, o.Wheel, o.SHA256, o.Sdist = w.Version, w.File, w.SHA256, w.Sdist
		}
	}
	return o
}

func (a *Artifact) carried(e tree.Entry) Origin {
	if a.Bill != nil {
		if p, ok := a.Bill.Carried(e.Path); ok {
			return debianOrigin(p)
		}
	}
	return Origin{Kind: FromCarried}
}

func debianOrigin(p sbom.Package) Origin {
	return Origin{Kind: FromDebian, Name: p.Name, Version: p.Version, Source: p.Source, SourceVersion: p.SourceVersion}
}

// baseFile describes a file of the base.
func (a *Artifact) baseFile(ctx context.Context, name string) (File, error) {
	if err := a.openBase(ctx); err != nil {
		return File{}, fmt.Errorf("reading the base of %s: %w", a.Ref, err)
	}
	e, ok := a.base.tree.Lookup(name)
	if !ok {
		e, ok = through(a.base.tree, name)
	}
	if !ok {
		return File{}, a.missing("/" + name)
	}
	f := describe(e)
	f.Path = "/" + e.Path
	if i, ok := a.base.layerOf[e.Path]; ok {
		f.Layer, f.LayerDigest = a.Image.Layers[i].Name, a.Image.Layers[i].Digest
	}
	f.From = Origin{Kind: FromBase}
	if p, ok := a.base.origins[e.Path]; ok {
		f.From = debianOrigin(sbom.Package(p))
	}
	return f, nil
}

// openBase reads the base, once.
func (a *Artifact) openBase(ctx context.Context) error {
	if a.base != nil {
		return nil
	}
	b := &base{layerOf: map[string]int{}}
	var trees []*tree.Tree
	for i, l := range a.Image.Layers {
		if !l.Base {
			continue
		}
		t, err := a.layer(ctx, l)
		if err != nil {
			return err
		}
		for _, e := range t.Entries() {
			b.layerOf[e.Path] = i
		}
		trees = append(trees, t)
	}
	var err error
	if b.tree, err = tree.Overlay(trees...); err != nil {
		return err
	}
	if b.origins, err = toolchain.OriginsOfFiles(b.tree); err != nil {
		return err
	}
	a.base = b
	return nil
}
