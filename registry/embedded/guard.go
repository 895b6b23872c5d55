package embedded

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxManifest bounds a manifest, in bytes.
	maxManifest = 8 << 20
	// fullBelow is how many bytes must be free for a fault not to be a full disk.
	fullBelow = 1 << 20
	// keyPrefix begins the tags whose first publication stands.
	keyPrefix = "key-"
)

// guard stands before the registry and gives it what it lacks: only those who know
// the secret get in; manifests are written one after the other (the registry's
// lists of referrers lose one of two simultaneous additions); a key keeps the
// digest that it got first; what is tagged is on disk before anyone is told so.
type guard struct {
	root   string
	secret string
	inner  http.Handler
	// writing is held while a manifest is written.
	writing sync.Mutex
	// open is held for reading by every request, and for good by shut.
	open sync.RWMutex
}

func newGuard(root, secret string, inner http.Handler) *guard {
	return &guard{root: root, secret: secret, inner: inner}
}

// shut waits for the requests that are under way and refuses every other.
func (g *guard) shut() { g.open.Lock() }

// manifestPath matches the path of a manifest (OCI distribution-spec, end-7).
var manifestPath = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	w = &diskWriter{ResponseWriter: w, root: g.root}
	if m := manifestPath.FindStringSubmatch(r.URL.Path); m != nil && r.Method == http.MethodPut {
		g.put(w, r, m[1], m[2])
		return
	}
	g.inner.ServeHTTP(w, r)
}

// put writes a manifest.
func (g *guard) put(w http.ResponseWriter, r *http.Request, repo, ref string) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil || len(raw) > maxManifest {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", fmt.Sprintf("manifest is not read whole or larger than %d bytes", maxManifest))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	g.writing.Lock()
	defer g.writing.Unlock()
	m := parseManifest(raw)
	if err := g.checkBlobs(repo, m); err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", err.Error())
		return
	}
	tagged := !strings.Contains(ref, ":")
	if taken := g.taken(r, repo, ref); taken != "" && taken != hashOf(raw) {
		refuse(w, http.StatusConflict, "DENIED", fmt.Sprintf("%s already names %s", ref, taken))
		return
	}
	if err := g.syncIf(tagged); err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	answer := recorder{header: w.Header()}
	g.inner.ServeHTTP(&answer, r)
	if err := g.syncIf(tagged || m.Subject != nil); err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	answer.send(w)
}

// manifest is what the guard reads of a manifest.
type manifest struct {
	Config  *descriptor  `json:"config"`
	Layers  []descriptor `json:"layers"`
	Subject *descriptor  `json:"subject"`
}

type descriptor struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// parseManifest reads a manifest; what it cannot read, the registry refuses.
func parseManifest(raw []byte) manifest {
	var m manifest
	if json.Unmarshal(raw, &m) != nil {
		return manifest{}
	}
	return m
}

// checkBlobs refuses a manifest whose blobs are there with another size, and
// removes them, so that they are sent again: a machine that lost its power while
// they were written leaves such.
func (g *guard) checkBlobs(repo string, m manifest) error {
	blobs := m.Layers
	if m.Config != nil {
		blobs = append(blobs, *m.Config)
	}
	for _, b := range blobs {
		sum, ok := strings.CutPrefix(b.Digest, "sha256:")
		name := filepath.Join(g.root, filepath.FromSlash(repo), "blobs", "sha256", sum)
		if !ok || !filepath.IsLocal(sum) || !filepath.IsLocal(filepath.FromSlash(repo)) {
			continue
		}
		info, err := os.Stat(name)
		if err != nil || info.Size() == b.Size {
			continue
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("removing damaged blob: %w", err)
		}
		return fmt.Errorf("blob %s has %d bytes, not %d: it is removed", b.Digest, info.Size(), b.Size)
	}
	return nil
}

// taken returns the digest that a key's tag names already, or nothing.
func (g *guard) taken(r *http.Request, repo, tag string) string {
	if !strings.HasPrefix(tag, keyPrefix) {
		return ""
	}
	head, err := http.NewRequestWithContext(r.Context(), http.MethodHead, "/v2/"+repo+"/manifests/"+tag, nil)
	if err != nil {
		return ""
	}
	answer := recorder{header: http.Header{}}
	g.inner.ServeHTTP(&answer, head)
	if answer.status != 0 && answer.status != http.StatusOK {
		return ""
	}
	return answer.header.Get("Docker-Content-Digest")
}

// syncIf puts on disk what is written in the registry's file system.
func (g *guard) syncIf(needed bool) error {
	if !needed {
		return nil
	}
	if err := os.MkdirAll(g.root, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(g.root)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("syncing %s: %w", g.root, err)
	}
	return nil
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
	var fs unix.Statfs_t
	if status == http.StatusInternalServerError && unix.Statfs(d.root, &fs) == nil && fs.Bavail*uint64(fs.Bsize) < fullBelow {
		status = http.StatusInsufficientStorage
	}
	d.ResponseWriter.WriteHeader(status)
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
