package ocidir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ampoule/artifact"
	"ampoule/system"
)

const (
	blobsDir = "blobs"
	// uploadBegin begins the names of uploads.
	uploadBegin = ".upload-"
)

// writer writes into a layout directory. A file has its name only when it is whole and on
// disk.
type writer struct {
	path string
	mu   sync.Mutex
	// uploads are the begun ones, by their numbers; next is the next number.
	uploads map[string]*os.File
	next    int
}

// writeFile puts a file in place in one step. It is on disk then, with its name.
func writeFile(path string, data []byte) error {
	if err := system.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// upload answers the requests of an upload (distribution specification, "Pushing blobs"):
// one that begins it, one with content, one that ends it.
func (w *writer) upload(req *http.Request, id string) (*http.Response, error) {
	switch req.Method {
	case http.MethodPost:
		return w.begin(req)
	case http.MethodPatch:
		return w.fill(req, id)
	case http.MethodPut:
		return w.end(req, id)
	}
	return refusal(http.StatusMethodNotAllowed, "UNSUPPORTED"), nil
}

func (w *writer) begin(req *http.Request) (*http.Response, error) {
	f, err := w.createUpload()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	id := fmt.Sprint(w.next)
	w.uploads[id] = f
	resp := status(http.StatusAccepted)
	resp.Header.Set("Location", strings.TrimSuffix(req.URL.Path, "/")+"/"+id)
	return resp, nil
}

// createUpload makes the file of an upload, locked for as long as it is written: one that nobody locks
// belongs to a process that is gone.
func (w *writer) createUpload() (f *os.File, err error) {
	unlock, err := w.lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	f, err = os.CreateTemp(filepath.Join(w.path, blobsDir), uploadBegin+"*")
	if err != nil {
		return nil, err
	}
	if err := system.TryLockFile(f, system.Exclusive); err != nil {
		return nil, errors.Join(fmt.Errorf("locking an upload: %w", err), os.Remove(f.Name()), f.Close())
	}
	return f, nil
}

func (w *writer) fill(req *http.Request, id string) (*http.Response, error) {
	w.mu.Lock()
	f := w.uploads[id]
	w.mu.Unlock()
	if f == nil {
		return refusal(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN"), nil
	}
	if _, err := io.Copy(f, req.Body); err != nil {
		return nil, errors.Join(err, w.drop(id))
	}
	resp := status(http.StatusAccepted)
	resp.Header.Set("Location", req.URL.Path)
	return resp, nil
}

// end compares an upload with its digest and puts it in place.
func (w *writer) end(req *http.Request, id string) (*http.Response, error) {
	w.mu.Lock()
	f := w.uploads[id]
	w.mu.Unlock()
	digest := req.URL.Query().Get("digest")
	if f == nil || !artifact.IsDigest(digest) {
		return refusal(http.StatusBadRequest, "DIGEST_INVALID"), nil
	}
	if req.Body != nil {
		if _, err := io.Copy(f, req.Body); err != nil {
			return nil, errors.Join(err, w.drop(id))
		}
	}
	sum := sha256.New()
	_, err := f.Seek(0, io.SeekStart)
	if err == nil {
		_, err = io.Copy(sum, f)
	}
	if err == nil && digestBegin+hex.EncodeToString(sum.Sum(nil)) != digest {
		return refusal(http.StatusBadRequest, "DIGEST_INVALID"), w.drop(id)
	}
	if err == nil {
		err = w.keep(f, filepath.Join(w.path, filepath.FromSlash(blobName(digest))))
	}
	if err != nil {
		return nil, errors.Join(err, w.drop(id))
	}
	w.forget(id)
	resp := status(http.StatusCreated)
	resp.Header.Set("Location", req.URL.Path)
	resp.Header.Set("Docker-Content-Digest", digest)
	return resp, nil
}

// keep gives a written file its name.
func (w *writer) keep(f *os.File, name string) error {
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(filepath.Dir(name)))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (w *writer) forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.uploads, id)
}

// drop ends an upload that came to nothing.
func (w *writer) drop(id string) error {
	w.mu.Lock()
	f := w.uploads[id]
	w.mu.Unlock()
	w.forget(id)
	if f == nil {
		return nil
	}
	return errors.Join(os.Remove(f.Name()), f.Close())
}

// close drops all uploads.
func (w *writer) close() error {
	w.mu.Lock()
	ids := slices.Collect(maps.Keys(w.uploads))
	w.mu.Unlock()
	var err error
	for _, id := range ids {
		err = errors.Join(err, w.drop(id))
	}
	return err
}

// putManifest writes a manifest under its digest, and into index.json.
func (l *Layout) putManifest(req *http.Request, ref string) (*http.Response, error) {
	data, err := io.ReadAll(io.LimitReader(req.Body, maxManifest+1))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	digest := digestBegin + hex.EncodeToString(sum[:])
	var m described
	switch {
	case len(data) > maxManifest:
		return refusal(http.StatusRequestEntityTooLarge, "SIZE_INVALID"), nil
	case json.Unmarshal(data, &m) != nil:
		return refusal(http.StatusBadRequest, "MANIFEST_INVALID"), nil
	case artifact.IsDigest(ref) && ref != digest:
		return refusal(http.StatusBadRequest, "DIGEST_INVALID"), nil
	}
	m.raw = data
	hash, err := v1.NewHash(digest)
	if err != nil {
		return nil, err
	}
	d := v1.Descriptor{MediaType: types.MediaType(m.mediaType()), Digest: hash, Size: int64(len(data))}
	if m.Subject != nil {
		d = m.referrer(d)
		d.Annotations = nil
	}
	if !artifact.IsDigest(ref) {
		d.Annotations = map[string]string{artifact.AnnotationRefName: ref}
	}
	if err := l.writeManifest(d, &m); err != nil {
		return nil, err
	}
	resp := status(http.StatusCreated)
	resp.Header.Set("Docker-Content-Digest", digest)
	resp.Header.Set("Location", req.URL.Path)
	if m.Subject != nil {
		resp.Header.Set("Oci-Subject", m.Subject.Digest.String())
	}
	return resp, nil
}

// writeManifest writes a manifest, and then its place in index.json.
func (l *Layout) writeManifest(d v1.Descriptor, m *described) (err error) {
	unlock, err := l.writer.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := writeFile(filepath.Join(l.writer.path, filepath.FromSlash(blobName(d.Digest.String()))), m.raw); err != nil {
		return err
	}
	return l.list(d, m.Manifests)
}

// list puts a manifest into index.json, under its tag or without one. What it names itself
// needs no place of its own there. The layout is locked.
func (l *Layout) list(d v1.Descriptor, children []v1.Descriptor) error {
	index, err := l.index()
	if err != nil {
		return err
	}
	before := slices.Clone(index.Manifests)
	tag := d.Annotations[artifact.AnnotationRefName]
	index.Manifests = slices.DeleteFunc(index.Manifests, func(old v1.Descriptor) bool {
		name := old.Annotations[artifact.AnnotationRefName]
		child := slices.ContainsFunc(children, func(c v1.Descriptor) bool { return c.Digest == old.Digest })
		return name == tag && (tag != "" || old.Digest == d.Digest) || name == "" && (child || old.Digest == d.Digest)
	})
	named := slices.ContainsFunc(index.Manifests, func(old v1.Descriptor) bool { return old.Digest == d.Digest })
	if tag != "" || !named {
		index.Manifests = append(index.Manifests, d)
	}
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if old, err := json.Marshal(v1.IndexManifest{SchemaVersion: index.SchemaVersion, MediaType: index.MediaType, Manifests: before, Annotations: index.Annotations, Subject: index.Subject}); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return writeFile(filepath.Join(l.writer.path, indexFile), data)
}

// lock keeps other writers of the layout out, those of other processes, too.
func (w *writer) lock() (unlock func() error, err error) {
	return lockFile(filepath.Join(w.path, layoutFile))
}

// lockFile locks a file or a directory, as flock(2) does, until the returned function is called.
func lockFile(path string) (unlock func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := system.LockFile(f, system.Exclusive); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return f.Close, nil
}

// isUnfinished reports whether a file has a name of those that are not in place yet.
func isUnfinished(name string) bool {
	return strings.HasPrefix(name, "."+indexFile) || strings.HasPrefix(name, "."+layoutFile)
}

// sweep removes what is not in place and belongs to no process any more. Files of the layout itself are
// written under its lock; an upload is locked by who writes it.
func sweep(path string) (err error) {
	unlock, err := lockFile(filepath.Join(path, layoutFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	for _, dir := range []string{".", blobsDir, filepath.Join(blobsDir, "sha256")} {
		entries, err := os.ReadDir(filepath.Join(path, dir))
		if err != nil {
			return err
		}
		for _, e := range entries {
			file := filepath.Join(path, dir, e.Name())
			switch {
			case dir == blobsDir && strings.HasPrefix(e.Name(), uploadBegin):
				err = removeUnlocked(file)
			case dir == "." && isUnfinished(e.Name()), dir != "." && dir != blobsDir && strings.HasPrefix(e.Name(), "."):
				err = os.Remove(file)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
