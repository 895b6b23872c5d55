package embedded

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ampoule/artifact"
)

const (
	// maxManifest bounds a manifest, in bytes.
	maxManifest = 8 << 20
	// fullBelow is how many bytes must be free for a fault not to be a full disk.
	fullBelow = 1 << 20
)

// guard stands before the registry and gives it what it lacks: only those who know
// the secret get in; manifests are written one after the other (the registry's
// lists of referrers lose one of two simultaneous additions); a key keeps the
// digest that it got first; what is tagged is on disk before anyone is told so; and
// what is damaged counts as absent, so that it is sent again.
type guard struct {
	// dir is the registry's directory, root that of its repositories.
	dir, root string
	secret    string
	// fresh makes a registry over root, inner is the one that answers.
	fresh func() http.Handler
	inner atomic.Pointer[http.Handler]
	sound *sound
	spare Spare
	// writing is held while a manifest is written or content is removed.
	writing sync.Mutex
	// upkeep is held while the registry is verified or collected.
	upkeep sync.Mutex
	// asked has, by its path, when content was last asked for. Whoever heard that it is
	// there sends it no more: it must stay.
	asked   map[string]time.Time
	askedMu sync.Mutex
	// open is held for reading by every request, and for good by shut.
	open sync.RWMutex
	// unsynced says that something may have been written since everything was put on disk.
	unsynced atomic.Bool
}

func newGuard(dir, secret string, spare Spare, fresh func() http.Handler) *guard {
	g := &guard{dir: dir, root: filepath.Join(dir, rootName), secret: secret, spare: spare, fresh: fresh, sound: newSound(dir), asked: map[string]time.Time{}}
	g.unsynced.Store(true) // by whoever held the lock before
	g.renew()
	return g
}

// renew has the registry read its lists anew: it looks at them once a second at most. It
// forgets uploads that are under way; their clients begin them again.
func (g *guard) renew() {
	inner := g.fresh()
	g.inner.Store(&inner)
}

// shut waits for the requests that are under way and refuses every other.
func (g *guard) shut() { g.open.Lock() }

// apiPath matches the paths of manifests, blobs and referrers (OCI distribution-spec,
// "Endpoints").
var apiPath = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|referrers)/([^/]+)$`)

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isLoopbackName(hostOf(r.Host)) {
		misdirected(w, r.Host)
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(admissionHeader)), []byte(g.secret)) != 1 {
		refuse(w, http.StatusForbidden, "DENIED", "this address serves the store's own processes")
		return
	}
	if !g.open.TryRLock() {
		refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "this process is ending")
		return
	}
	defer g.open.RUnlock()
	w.Header().Set(holderHeader, holderName(g.secret))
	if verb, ok := strings.CutPrefix(r.URL.Path, adminPath); ok {
		g.administer(w, r, verb)
		return
	}
	w = &diskWriter{ResponseWriter: w, root: g.root}
	if r.Method == http.MethodDelete {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "content is removed by ampoule registry rm and ampoule store gc")
		return
	}
	m := apiPath.FindStringSubmatch(path.Clean("/" + r.URL.Path)) // as the registry reads it
	if m == nil {
		g.serve(w, r)
		return
	}
	repo, ok := g.repository(m[1])
	if !ok {
		refuse(w, http.StatusBadRequest, "NAME_INVALID", "repository name is not allowed")
		return
	}
	g.route(w, r, repo, m[2], m[3])
}

// route answers a request for a manifest, a blob or a list of referrers.
func (g *guard) route(w http.ResponseWriter, r *http.Request, repo repository, kind, ref string) {
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case kind == "manifests" && r.Method == http.MethodPut:
		g.put(w, r, repo, ref)
	case kind == "manifests" && reading:
		g.getManifest(w, r, repo, ref)
	case kind == "blobs" && reading:
		g.getBlob(w, r, repo, ref)
	case kind == "blobs" && r.Method == http.MethodPost:
		g.startUpload(w, r, repo)
	case kind == "referrers" && reading:
		if err := g.mendReferrers(repo, ref); err != nil {
			refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
			return
		}
		g.serve(w, r)
	default:
		g.serve(w, r)
	}
}

func (g *guard) serve(w http.ResponseWriter, r *http.Request) {
	(*g.inner.Load()).ServeHTTP(w, r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		g.unsynced.Store(true)
	}
}

// getManifest gives a manifest that is what its digest says. One that is not, or that the
// repository's list names and that is gone, is answered as the protocol has it for content
// that a manifest names in vain.
func (g *guard) getManifest(w http.ResponseWriter, r *http.Request, repo repository, ref string) {
	list, err := repo.index()
	if errors.Is(err, fs.ErrNotExist) {
		g.serve(w, r)
		return
	}
	if err != nil {
		refuse(w, http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("repository %s is damaged: %s: %v", repo.name, indexName, err))
		return
	}
	digest := ref
	for _, d := range list.Manifests {
		if d.Annotations[artifact.AnnotationRefName] == ref || d.Digest == ref {
			digest = d.Digest
			g.use(repo, digest)
		}
	}
	if !artifact.IsDigest(digest) {
		g.serve(w, r)
		return
	}
	listed := digest != ref || slices.ContainsFunc(list.Manifests, func(d descriptor) bool { return d.Digest == digest })
	switch _, err := g.sound.check(repo.blob(digest), digest); {
	case errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) && listed:
		refuse(w, http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("%s@%s is damaged or gone", repo.name, digest))
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("%s@%s is not there", repo.name, digest))
	default:
		g.serve(w, r)
	}
}

// getBlob gives a blob as it is, since whoever reads it compares it. A HEAD request is answered
// with success if the blob is there whole. Cache-Control: no-cache has it read for that whatever is remembered.
func (g *guard) getBlob(w http.ResponseWriter, r *http.Request, repo repository, digest string) {
	file := repo.blob(digest)
	if !artifact.IsDigest(digest) {
		g.serve(w, r)
		return
	}
	g.ask(file)
	if r.Header.Get("Cache-Control") == "no-cache" {
		g.sound.forget(file)
	}
	if r.Method == http.MethodHead {
		if _, err := g.sound.check(file, digest); errors.Is(err, ErrDamaged) {
			refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", digest+" is damaged")
			return
		}
	}
	g.serve(w, r)
}

// ask notes that content is asked for. It comes before looking whether it is there.
func (g *guard) ask(path string) {
	g.askedMu.Lock()
	defer g.askedMu.Unlock()
	g.asked[path] = time.Now()
}

// startUpload removes damaged content that is going to be sent: the registry takes what is
// there for what is meant.
func (g *guard) startUpload(w http.ResponseWriter, r *http.Request, repo repository) {
	if err := errors.Join(g.begin(repo), g.mendList(repo)); err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	for _, digest := range append(r.URL.Query()["mount"], r.URL.Query()["digest"]...) {
		if artifact.IsDigest(digest) {
			g.ask(repo.blob(digest))
			if err := g.drop(repo, digest); err != nil {
				refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
				return
			}
		}
	}
	g.serve(w, r)
}

// drop removes content if it is damaged.
func (g *guard) drop(repo repository, digest string) error {
	file := repo.blob(digest)
	if _, err := g.sound.check(file, digest); !errors.Is(err, ErrDamaged) {
		return nil
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing damaged content: %w", err)
	}
	return nil
}

// put writes a manifest.
func (g *guard) put(w http.ResponseWriter, r *http.Request, repo repository, ref string) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil || len(raw) > maxManifest {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", fmt.Sprintf("manifest is not read whole or larger than %d bytes", maxManifest))
		return
	}
	m := parseManifest(raw)
	if err := g.checkParts(repo, m); err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", err.Error())
		return
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := errors.Join(g.mendListLocked(repo), g.drop(repo, hashOf(raw))); err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	if m.Subject != nil {
		// What is added to a list that is lost would be all that it has.
		if err := g.mendReferrersLocked(repo, m.Subject.Digest); err != nil {
			refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
			return
		}
	}
	tagged := !strings.Contains(ref, ":")
	if taken := g.taken(repo, ref); taken != "" && taken != hashOf(raw) {
		refuse(w, http.StatusConflict, "DENIED", fmt.Sprintf("%s already names %s", ref, taken))
		return
	}
	answer := recorder{header: w.Header()}
	err = g.commit(repo, func() error {
		g.write(&answer, r, repo, raw, m.Subject)
		return nil
	})
	if err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	if tagged {
		g.use(repo, hashOf(raw))
		g.sound.save()
	}
	answer.send(w)
}

// write has the registry write a manifest and, for one with a subject, the list of what
// refers to that. It writes no list that is there under its digest, damaged or not: such a file
// goes, and all that refers to the subject is put into a list again.
func (g *guard) write(w *recorder, r *http.Request, repo repository, raw []byte, subject *descriptor) {
	if subject != nil && g.dropReferrersList(repo, subject.Digest) != nil {
		w.status = http.StatusInternalServerError
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	g.serve(w, r)
	if subject == nil || w.status >= http.StatusBadRequest || repo.hasReferrersList(subject.Digest) {
		return
	}
	if err := g.relist(repo, subject.Digest); err != nil {
		w.status = http.StatusInternalServerError
	}
}

// referrers is where a repository keeps the list of what refers to a subject.
func (r repository) referrers(subject string) (descriptor, bool) {
	list, err := r.index()
	if err != nil {
		return descriptor{}, false
	}
	i := slices.IndexFunc(list.Manifests, func(d descriptor) bool { return d.Annotations[subjectAnnotation] == subject })
	if i < 0 {
		return descriptor{}, false
	}
	return list.Manifests[i], true
}

// parseManifest reads a manifest; what it cannot read, the registry refuses.
func parseManifest(raw []byte) manifest {
	var m manifest
	if json.Unmarshal(raw, &m) != nil {
		return manifest{}
	}
	return m
}

// checkParts refuses a manifest whose parts are there and are not what it says, and
// removes them, so that they are sent again: a disk that rots leaves such, and a machine
// that lost its power while they were written.
func (g *guard) checkParts(repo repository, m manifest) error {
	for _, d := range m.parts() {
		if !artifact.IsDigest(d.Digest) || len(d.URLs) > 0 {
			continue
		}
		err := repo.check(d)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.Remove(repo.blob(d.Digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing damaged blob: %w", err)
		}
		return fmt.Errorf("blob %s is removed: %w", d.Digest, err)
	}
	return nil
}

// taken returns the digest that a key's tag names already, or nothing. A publication that
// is damaged takes no key: its bits are lost, and other ones may be all that can be had.
func (g *guard) taken(repo repository, tag string) string {
	if !artifact.IsKeyTag(tag) {
		return ""
	}
	list, err := repo.index()
	if err != nil {
		return ""
	}
	for _, d := range list.Manifests {
		if d.Annotations[artifact.AnnotationRefName] == tag && repo.whole(d) {
			return d.Digest
		}
	}
	return ""
}

// sync puts on disk what is written in the registry's file system.
func (g *guard) sync() error {
	if !g.unsynced.Swap(false) {
		return nil
	}
	err := os.MkdirAll(g.root, 0o755)
	if err == nil {
		err = syncAll(g.root)
	}
	if err != nil {
		g.unsynced.Store(true)
		return fmt.Errorf("syncing %s: %w", g.root, err)
	}
	return nil
}

// syncAll puts on disk what is written in the file system of a directory.
func syncAll(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}

// recorder keeps an answer until it may be given.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *recorder) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *recorder) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *recorder) Write(p []byte) (int, error) { return a.body.Write(p) }

// send gives the answer to w, whose header it already wrote to.
func (a *recorder) send(w http.ResponseWriter) {
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = a.body.WriteTo(w)
}

// diskWriter tells a full disk from a fault of the registry, which answers both
// with 500 and no reason.
type diskWriter struct {
	http.ResponseWriter
	root string
}

// WriteHeader answers 507 where the disk is full.
func (d *diskWriter) WriteHeader(status int) {
	if status == http.StatusInternalServerError && isFull(d.root) {
		status = http.StatusInsufficientStorage
	}
	d.ResponseWriter.WriteHeader(status)
}

// isFull reports whether the disk of a directory is full.
func isFull(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Bavail*uint64(fs.Bsize) < fullBelow
}

// refusal is the error of an answer of the registry to this process.
func (g *guard) refusal(status int) error {
	if status == http.StatusInternalServerError && isFull(g.root) {
		return unix.ENOSPC
	}
	return fmt.Errorf("the registry answers %d", status)
}

// refuse answers with an error in the protocol's form (OCI distribution-spec, "Error Codes").
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}
