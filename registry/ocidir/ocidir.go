// Package ocidir makes a registry of an OCI layout (OCI image specification,
// image-layout.md): a directory, which can be written, or one tar of it, which cannot. It
// answers a registry client's requests inside this process (OCI distribution
// specification), and has one repository, whatever its name.
//
// Everything in a layout is foreign. What describes it is bounded and compared with its
// digest here; of a blob the client compares what it has read.
//
// The list of what refers to something is made from the manifests that index.json names,
// from the tags of the referrers tag schema, and from the lists that olareg keeps. What
// is written stands in index.json by itself, where oras and others look for it.
package ocidir

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"ampoule/artifact"
	"ampoule/faults"
)

const (
	// maxManifest bounds a manifest, in bytes. Registries may refuse larger ones
	// (distribution specification, "Pushing manifests").
	maxManifest = 4 << 20
	// maxIndex bounds index.json, in bytes: it grows with each manifest.
	maxIndex = 32 << 20
	// maxListed bounds the entries of index.json.
	maxListed = 100_000
)

const (
	layoutFile  = "oci-layout"
	indexFile   = "index.json"
	layoutMark  = `{"imageLayoutVersion":"1.0.0"}`
	digestBegin = "sha256:"
	// olaregSubject is where olareg writes what a list of referrers is of.
	olaregSubject = "org.olareg.referrer.subject"
)

// ErrLayout is wrapped by errors about what is no sound OCI layout.
var ErrLayout = faults.New(faults.Refused, "export or copy it again; nothing of it was used", "not a sound OCI layout")

// files are the files of a layout, by slash-separated names below it.
type files interface {
	// open opens a regular file. One that is not there is an [fs.ErrNotExist].
	open(name string) (io.ReadCloser, int64, error)
	io.Closer
}

// Layout is an open layout. Its methods may be called from several goroutines.
type Layout struct {
	files files
	// writer is nil where nothing can be written.
	writer *writer
}

// Close gives open files back. Uploads that did not end come to nothing.
func (l *Layout) Close() error {
	err := l.files.Close()
	if l.writer != nil {
		err = errors.Join(err, l.writer.close())
	}
	return err
}

// Root is a manifest that a layout has for its own sake, and not for another one's.
type Root struct {
	Digest string
	// Tags are its names, sorted.
	Tags []string
}

// Roots lists what a layout is there for: the manifests of index.json that refer to
// nothing, and that none of the others names.
func (l *Layout) Roots(ctx context.Context) ([]Root, error) {
	index, err := l.index()
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	inner := map[string]bool{}
	var roots []Root
	for _, d := range index.Manifests {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		tag := d.Annotations[artifact.AnnotationRefName]
		if d.Annotations[olaregSubject] != "" || isEvidenceTag(tag) || !isManifest(d) {
			continue
		}
		m, err := l.manifest(d.Digest.String())
		if err != nil {
			return nil, err
		}
		if m.Subject != nil {
			continue
		}
		for _, child := range m.Manifests {
			inner[child.Digest.String()] = true
		}
		i, ok := at[d.Digest.String()]
		if !ok {
			i = len(roots)
			at[d.Digest.String()] = i
			roots = append(roots, Root{Digest: d.Digest.String()})
		}
		if tag != "" {
			roots[i].Tags = append(roots[i].Tags, tag)
			slices.Sort(roots[i].Tags)
		}
	}
	return slices.DeleteFunc(roots, func(r Root) bool { return inner[r.Digest] && len(r.Tags) == 0 }), nil
}

// described is what is read of a manifest or an index to find others.
type described struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Annotations  map[string]string `json:"annotations"`
	Subject      *v1.Descriptor    `json:"subject"`
	Config       *v1.Descriptor    `json:"config"`
	Manifests    []v1.Descriptor   `json:"manifests"`
	raw          []byte
}

// mediaType is a manifest's own, or what its form says.
func (d *described) mediaType() string {
	switch {
	case d.MediaType != "":
		return d.MediaType
	case d.Manifests != nil:
		return artifact.IndexType
	}
	return artifact.ManifestType
}

// isManifest reports whether a descriptor leads to a manifest or an index.
func isManifest(d v1.Descriptor) bool { return d.MediaType.IsIndex() || d.MediaType.IsImage() }

// manifest reads a manifest, and compares it with its digest.
func (l *Layout) manifest(digest string) (*described, error) {
	if !artifact.IsDigest(digest) {
		return nil, fmt.Errorf("%w: %q is no digest", ErrLayout, digest)
	}
	data, err := l.read(blobName(digest), maxManifest)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); digestBegin+hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("%w: the manifest %s is sha256:%x", ErrLayout, digest, sum)
	}
	d := described{raw: data}
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("%w: reading manifest %s: %w", ErrLayout, digest, err)
	}
	return &d, nil
}

// read reads a file of at most limit bytes.
func (l *Layout) read(name string, limit int64) (_ []byte, err error) {
	r, size, err := l.files.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, more than %d", ErrLayout, name, size, limit)
	}
	return io.ReadAll(io.LimitReader(r, limit))
}

// index reads index.json. Descriptors with another hash than sha256 are left out.
func (l *Layout) index() (*v1.IndexManifest, error) {
	data, err := l.read(indexFile, maxIndex)
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%w: reading %s: %w", ErrLayout, indexFile, err)
	}
	if n := len(index.Manifests); n > maxListed {
		return nil, fmt.Errorf("%w: %s lists %d manifests, more than %d", ErrLayout, indexFile, n, maxListed)
	}
	return &index, nil
}

// check reads the marker of a layout.
func (l *Layout) check() error {
	data, err := l.read(layoutFile, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it has no file %s", ErrLayout, layoutFile)
	}
	if err != nil {
		return err
	}
	var mark struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(data, &mark); err != nil || mark.Version != "1.0.0" {
		return fmt.Errorf("%w: the version in %s is %.20q, not 1.0.0", ErrLayout, layoutFile, mark.Version)
	}
	_, err = l.index()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it has no file %s", ErrLayout, indexFile)
	}
	return err
}

// blobName is where a layout has a blob.
func blobName(digest string) string { return "blobs/sha256/" + digest[len(digestBegin):] }
