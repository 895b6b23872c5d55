package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/artifact"
)

// Names in a repository's directory (OCI image-spec, image-layout.md).
const (
	indexName  = "index.json"
	layoutName = "oci-layout"
	blobsName  = "blobs"
	hashName   = "sha256"
)

// Annotations of a repository's index.
const (
	// subjectAnnotation is the registry library's: it holds the subject's digest at the
	// list of what refers to it.
	subjectAnnotation = "org.olareg.referrer.subject"
	// convertedAnnotation is the library's, too: lists of referrers are kept that way.
	convertedAnnotation = "org.olareg.referrer.convert"
)

// Media types of Docker's lists and manifests.
const (
	dockerListType = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerType     = "application/vnd.docker.distribution.manifest.v2+json"
)

// descriptor names content. Docs and blobs alike are files named by their digest.
type descriptor struct {
	MediaType    string            `json:"mediaType,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// manifest is what is read of any manifest, an index included.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *descriptor       `json:"config,omitempty"`
	Layers        []descriptor      `json:"layers,omitempty"`
	Manifests     []descriptor      `json:"manifests,omitempty"`
	Subject       *descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// repository is one repository on disk.
type repository struct {
	name, dir string
	sound     *sound
}

// repository returns the repository of a name, which need not exist.
func (g *guard) repository(name string) (repository, bool) {
	return repository{name, filepath.Join(g.root, filepath.FromSlash(name)), g.sound}, artifact.IsRepository(name)
}

// repositories lists what looks like a repository, damaged ones too.
func (g *guard) repositories() ([]repository, error) {
	var found []repository
	err := filepath.WalkDir(g.root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		case d.Name() == blobsName || d.Name() == uploadsName:
			return fs.SkipDir
		}
		name, err := filepath.Rel(g.root, path)
		if err != nil || name == "." {
			return err
		}
		if r, ok := g.repository(filepath.ToSlash(name)); ok && r.exists() {
			found = append(found, r)
		}
		return nil
	})
	return found, err
}

func (r repository) exists() bool {
	return slices.ContainsFunc([]string{indexName, layoutName, blobsName}, func(name string) bool {
		_, err := os.Lstat(filepath.Join(r.dir, name))
		return err == nil
	})
}

// blob is the path of content.
func (r repository) blob(digest string) string {
	return filepath.Join(r.dir, blobsName, hashName, strings.TrimPrefix(digest, "sha256:"))
}

// errNoList says that a repository has lost its list. It wraps no fs.ErrNotExist.
var errNoList = errors.New("it is gone")

// index reads the list of what is found by digest or tag. The error is an fs.ErrNotExist where there
// is no repository; one that has blobs and no list, or a list that cannot be read, is damaged.
func (r repository) index() (manifest, error) {
	m, err := r.list(indexName)
	if errors.Is(err, fs.ErrNotExist) && r.exists() {
		// A new repository gets its list first of all: it was made since then, or is lost.
		m, err = r.list(indexName)
		if errors.Is(err, fs.ErrNotExist) {
			return m, errNoList
		}
	}
	return m, err
}

// list reads a list: the repository's, or the one from before a change.
func (r repository) list(name string) (manifest, error) {
	var m manifest
	raw, err := readAtMost(filepath.Join(r.dir, name), maxIndex)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	for _, d := range m.Manifests {
		if !artifact.IsDigest(d.Digest) {
			return m, fmt.Errorf("%s names %q, which is no digest", name, d.Digest)
		}
	}
	return m, nil
}

// document reads a manifest, compared with its digest.
func (r repository) document(digest string) (manifest, []byte, error) {
	var m manifest
	raw, err := readAtMost(r.blob(digest), maxManifest)
	if err != nil {
		return m, nil, err
	}
	if hashOf(raw) != digest {
		return m, nil, ErrDamaged
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, nil, fmt.Errorf("it is no manifest: %w", err)
	}
	return m, raw, nil
}

// maxIndex bounds a repository's list, in bytes: some hundred thousand entries.
const maxIndex = 64 << 20

func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(f, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b.Bytes(), err
}

// isIndex reports whether a media type is that of an index.
func isIndex(mediaType string) bool {
	return mediaType == artifact.IndexType || mediaType == dockerListType
}

// isManifest reports whether a media type is that of an image manifest.
func isManifest(mediaType string) bool {
	return mediaType == artifact.ManifestType || mediaType == dockerType
}

// visit calls a function for each part that a descriptor leads to, itself first, each with
// what is wrong with it: nil, [ErrDamaged], an [fs.ErrNotExist] or another fault. Parts of
// what cannot be read are not known. It ends early when the function returns false.
func (r repository) visit(root descriptor, f func(d descriptor, err error) bool) bool {
	return r.visitOnce(root, map[string]bool{}, f)
}

func (r repository) visitOnce(d descriptor, seen map[string]bool, f func(descriptor, error) bool) bool {
	if seen[d.Digest] || len(d.URLs) > 0 {
		return true
	}
	seen[d.Digest] = true
	if !isIndex(d.MediaType) && !isManifest(d.MediaType) {
		return f(d, r.check(d))
	}
	m, raw, err := r.document(d.Digest)
	if err == nil && d.Size != 0 && int64(len(raw)) != d.Size {
		err = sizeError(int64(len(raw)), d.Size)
	}
	if !f(d, err) {
		return false
	}
	for _, part := range m.parts() {
		if !r.visitOnce(part, seen, f) {
			return false
		}
	}
	return true
}

// parts are what a manifest refers to, its subject left out.
func (m manifest) parts() []descriptor {
	parts := slices.Concat(m.Manifests, m.Layers)
	if m.Config != nil {
		parts = append(parts, *m.Config)
	}
	return parts
}

// check compares a blob with its descriptor.
func (r repository) check(d descriptor) error {
	if !artifact.IsDigest(d.Digest) {
		return fmt.Errorf("%q is no digest", d.Digest)
	}
	size, err := r.sound.check(r.blob(d.Digest), d.Digest)
	if err == nil && size != d.Size {
		err = sizeError(size, d.Size)
	}
	return err
}

func sizeError(got, want int64) error {
	return fmt.Errorf("it has %d bytes, not the %d that its manifest says", got, want)
}

// whole reports whether all that a descriptor leads to is there and undamaged.
func (r repository) whole(root descriptor) bool {
	return r.visit(root, func(_ descriptor, err error) bool { return err == nil })
}
