package embedded

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
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
	"syscall"
	"time"

	"ampoule/artifact"
	"ampoule/registry/internal/protocol"
	"ampoule/system"
)

const (
	// maxManifest bounds a manifest, in bytes.
	maxManifest = protocol.MaxManifest
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
	// lists are the lists as they were read last.
	lists *lists
	spare Spare
	// place is where the directory is, and what it is without as a copy.
	place place
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
	g := &guard{dir: dir, root: filepath.Join(dir, rootName), secret: secret, spare: spare, fresh: fresh, sound: newSound(dir), lists: newLists(), asked: map[string]time.Time{}}
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
	if !protocol.IsLoopbackName(protocol.HostOf(r.Host)) {
		protocol.Misdirected(w, r.Host)
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(admissionHeader)), []byte(g.secret)) != 1 {
		protocol.Refuse(w, http.StatusForbidden, "DENIED", "this address serves the store's own processes")
		return
	}
	if !g.open.TryRLock() {
		protocol.Refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "this process is ending")
		return
	}
	defer g.open.RUnlock()
	w.Header().Set(holderHeader, holderName(g.secret))
	w.Header().Set(artifact.ConditionsHeader, artifact.Conditions)
	if verb, ok := strings.CutPrefix(r.URL.Path, adminPath); ok {
		g.administer(w, r, verb)
		return
	}
	w = &diskWriter{ResponseWriter: w, root: g.root}
	if usesOtherHash(r) {
		protocol.Refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "this registry knows no other hash than sha256")
		return
	}
	if discovers(r) {
		discover(w, r)
		return
	}
	m := apiPath.FindStringSubmatch(path.Clean("/" + r.URL.Path)) // as the registry reads it
	if m == nil {
		g.serve(w, r)
		return
	}
	repo, ok := g.repository(m[1])
	if !ok {
		protocol.Refuse(w, http.StatusBadRequest, "NAME_INVALID", "repository name is not allowed")
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
	case kind == "manifests" && r.Method == http.MethodDelete:
		g.deleteManifest(w, repo, ref)
	case kind == "blobs" && r.Method == http.MethodDelete:
		g.deleteBlob(w, repo, ref)
	case kind == "manifests" && reading:
		g.getManifest(w, r, repo, ref)
	case kind == "blobs" && reading:
		g.getBlob(w, r, repo, ref)
	case kind == "blobs" && r.Method == http.MethodPost:
		g.startUpload(w, r, repo)
	case kind == "referrers" && reading:
		if err := g.mendReferrers(repo, ref); err != nil {
			protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
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
		protocol.Refuse(w, http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("repository %s is damaged: %s: %v", repo.name, indexName, err))
		return
	}
	digest, mediaType := ref, ""
	for _, d := range list.Manifests {
		if d.Annotations[artifact.AnnotationRefName] == ref || d.Digest == ref {
			digest, mediaType = d.Digest, d.MediaType
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
		w.Header().Set(artifact.DigestHeader, digest) // what is written in its place is compared with it
		protocol.Refuse(w, http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("%s@%s is damaged or gone", repo.name, digest))
	case errors.Is(err, fs.ErrNotExist):
		protocol.Refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("%s@%s is not there", repo.name, digest))
	default:
		g.serve(withETag(w, r, digest, mediaType), r)
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
			protocol.Refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", digest+" is damaged")
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
		protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	for _, digest := range append(r.URL.Query()["mount"], r.URL.Query()["digest"]...) {
		if artifact.IsDigest(digest) {
			g.ask(repo.blob(digest))
			if err := g.drop(repo, digest); err != nil {
				protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
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
	return system.Sync(dir)
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
	if status == http.StatusInternalServerError && isDiskFull(d.root) {
		status = http.StatusInsufficientStorage
	}
	d.ResponseWriter.WriteHeader(status)
}

// isDiskFull reports whether the disk of a directory is full.
func isDiskFull(dir string) bool {
	free, err := system.Free(dir)
	return err == nil && free < fullBelow
}

// refusal is the error of an answer of the registry to this process.
func (g *guard) refusal(status int) error {
	if status == http.StatusInternalServerError && isDiskFull(g.root) {
		return syscall.ENOSPC
	}
	return fmt.Errorf("the registry answers %d", status)
}

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}
