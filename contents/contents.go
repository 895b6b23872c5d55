// Package contents says what is in a published artifact: each file with the layer that
// carries it and with what brought it, and how two artifacts differ.
//
// All is read from what is published: layers, the record in the tree, and the bill of
// materials beside it. Nothing of it runs.
package contents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/registry"
	"ampoule/sbom"
	"ampoule/tree"
)

// Bounds of the layers of one artifact together, as installing has them.
const (
	maxEntries = 1_000_000
	maxBytes   = 64 << 30
	// maxRecord bounds the tree's record, and maxBill the bill of materials, in bytes.
	maxRecord = 16 << 20
	maxBill   = 64 << 20
)

// Source is where artifacts come from; [*registry.Registry] is one.
type Source interface {
	Resolve(ctx context.Context, ref string) (registry.Description, error)
	OpenLayer(ctx context.Context, l registry.LayerInfo) (io.ReadCloser, error)
	Referrers(ctx context.Context, ref, artifactType string) ([]registry.ReferrerInfo, error)
	OpenFile(ctx context.Context, f registry.FileInfo) (io.ReadCloser, error)
}

// ErrNoArtifact is wrapped by errors about images that Ampoule did not make.
var ErrNoArtifact = faults.New(faults.Refused, "", "it is no artifact of Ampoule")

// Artifact is an artifact whose files can be read until it is closed.
type Artifact struct {
	// Ref, Name and Digest name it.
	Ref, Name, Digest string
	Image             registry.ImageInfo
	Labels            artifact.Labels
	// Record is what the tree says that it is made of.
	Record audit.ArtifactRecord
	// Tree is relative to its root. Its entries have the owners of [audit.OwnerInterpreter],
	// [audit.OwnerWheel] with a normalised name, "native", "app" and "metadata".
	Tree *tree.Tree
	// Bill is the bill of materials; nil where none is published.
	Bill *sbom.Document

	src Source
	// layerOf is the layer of each file and link of the tree, as an index of the image's.
	layerOf map[string]int
	spooled []*os.File
	base    *base
}

// Open reads an artifact's tree.
func Open(ctx context.Context, src Source, ref, platform string) (_ *Artifact, err error) {
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	a := &Artifact{Ref: d.Ref, Name: d.Name, Digest: d.Digest, src: src, layerOf: map[string]int{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.Image, err = d.Image(platform); err != nil {
		return nil, err
	}
	a.Labels, err = artifact.ParseLabels(a.Image.Config.Labels)
	if err == nil && a.Labels.Prefix == "" {
		err = fmt.Errorf("it has no label %s", artifact.LabelPrefix)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w: %w", d.Ref, ErrNoArtifact, err)
	}
	if err := a.readTree(ctx); err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.Ref, err)
	}
	if err := a.readRecord(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.Ref, err)
	}
	a.Bill, err = readBill(ctx, src, d.Ref)
	return a, err
}

// Close gives temporary files back.
func (a *Artifact) Close() error {
	var errs []error
	for _, f := range a.spooled {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// readTree lays the layers of the tree over one another, and finds out what each file is of.
func (a *Artifact) readTree(ctx context.Context) error {
	prefix := strings.TrimPrefix(a.Labels.Prefix, "/")
	var trees []*tree.Tree
	for i, l := range a.Image.Layers {
		if l.Base {
			continue
		}
		t, err := a.layer(ctx, l)
		if err != nil {
			return err
		}
		part := t.Sub(prefix)
		for _, e := range part.Entries() {
			if e.Kind != tree.Dir {
				a.layerOf[e.Path] = i
			}
		}
		trees = append(trees, part)
	}
	all, err := tree.Overlay(trees...)
	if err != nil {
		return err
	}
	a.Tree, err = a.owned(all)
	return err
}

// layer reads one layer into a file that has no name.
func (a *Artifact) layer(ctx context.Context, l registry.LayerInfo) (_ *tree.Tree, err error) {
	f, err := os.CreateTemp("", "ampoule-layer-*")
	if err != nil {
		return nil, err
	}
	a.spooled = append(a.spooled, f)
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	r, err := a.src.OpenLayer(ctx, l)
	if err != nil {
		return nil, err
	}
	size, err := io.Copy(f, io.LimitReader(tree.ReaderWhile(ctx, r), maxBytes+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	t, err := tree.FromTar(tree.ReaderAtWhile(ctx, f), size, tree.Limits{Entries: maxEntries, Bytes: maxBytes})
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.Digest, err)
	}
	return t, nil
}

// ownerApp and the others own what neither interpreter nor wheels brought.
const (
	ownerApp      = "app"
	ownerNative   = "native"
	ownerMetadata = "metadata"
)

// owned gives each file its owner: the distribution whose RECORD lists it, or else what its
// layer holds.
func (a *Artifact) owned(t *tree.Tree) (*tree.Tree, error) {
	recorded := map[string]string{}
	for _, e := range t.Entries() {
		info := path.Dir(e.Path)
		name, _, ok := packaging.ParseInfoDir(path.Base(info))
		if path.Base(e.Path) != "RECORD" || !ok || path.Base(path.Dir(info)) != "site-packages" || e.Size > packaging.MaxRecord {
			continue
		}
		data, err := e.ReadAll()
		if err != nil {
			return nil, err
		}
		rows, err := packaging.ParseRecord(data)
		if err != nil {
			continue // the gate refuses such a tree; whose files they are is then not known
		}
		for _, row := range rows {
			recorded[path.Join(path.Dir(info), row.Path)] = audit.OwnerWheel + packaging.NormalName(name)
		}
	}
	return t.Map(func(e tree.Entry) tree.Entry {
		if e.Kind == tree.Dir {
			return e
		}
		layer := a.Image.Layers[a.layerOf[e.Path]].Name
		e.Owner = layer
		owner, ok := recorded[e.Path]
		if !ok {
			owner, ok = recorded[compiledFrom(e.Path)]
		}
		switch {
		case ok:
			e.Owner = owner
		case strings.HasPrefix(layer, "tail-"):
			e.Owner = ownerMetadata
		}
		return e
	}), nil
}

// compiledFrom is the source of a file of bytecode (PEP 3147), and empty for any other file.
func compiledFrom(p string) string {
	stem, _, compiled := strings.Cut(path.Base(p), ".cpython-")
	if !compiled || path.Base(path.Dir(p)) != "__pycache__" {
		return ""
	}
	return path.Join(path.Dir(path.Dir(p)), stem+".py")
}

func (a *Artifact) readRecord() error {
	e, ok := a.Tree.Lookup(artifact.RecordFile)
	if !ok || e.Kind != tree.File || e.Size > maxRecord {
		return fmt.Errorf("%w: it has no %s", ErrNoArtifact, artifact.RecordFile)
	}
	data, err := e.ReadAll()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &a.Record); err != nil {
		return fmt.Errorf("reading %s: %w", artifact.RecordFile, err)
	}
	return nil
}

// Bill returns the bytes of an artifact's bill of materials, of the one with the lowest
// digest where there are several. One that is not there is an error of kind NotFound.
func Bill(ctx context.Context, src Source, ref string) ([]byte, error) {
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	return existing(ctx, src, d.Ref, "artifacts have one since Ampoule writes them: `ampoule build` of a new key publishes it")
}

// GroupBill reads the bill of materials of a dependency group.
func GroupBill(ctx context.Context, src Source, g registry.Group) ([]byte, error) {
	return existing(ctx, src, g.Ref, "groups have one since Ampoule writes them: `ampoule build --group "+g.Record.Name+"` of a new key publishes it")
}

// existing reads a bill that must be there; hint says what to do where it is not.
func existing(ctx context.Context, src Source, ref, hint string) ([]byte, error) {
	data, err := bill(ctx, src, ref)
	if err == nil && data == nil {
		err = faults.New(faults.NotFound, hint, "a bill of materials of %s: not found", ref)
	}
	return data, err
}

// bill is nil where none is published.
func bill(ctx context.Context, src Source, ref string) ([]byte, error) {
	found, err := src.Referrers(ctx, ref, artifact.SBOMType)
	if err != nil {
		return nil, err
	}
	var file *registry.FileInfo
	lowest := ""
	for _, r := range found {
		for _, f := range r.Files {
			if f.Name == artifact.SBOMFile && (lowest == "" || r.Digest < lowest) {
				file, lowest = &f, r.Digest
			}
		}
	}
	if file == nil {
		return nil, nil
	}
	if file.Size > maxBill {
		return nil, fmt.Errorf("reading %s: %w: %d bytes", file.Name, sbom.ErrDocument, file.Size)
	}
	r, err := src.OpenFile(ctx, *file)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxBill))
	return data, errors.Join(err, r.Close())
}

func readBill(ctx context.Context, src Source, ref string) (*sbom.Document, error) {
	data, err := bill(ctx, src, ref)
	if err != nil || data == nil {
		return nil, err
	}
	d, err := sbom.Read(data)
	if err != nil {
		return nil, fmt.Errorf("reading the bill of materials of %s: %w", ref, err)
	}
	return d, nil
}
