package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/registry/internal/protocol"
)

// put writes a manifest. All that it leads to is on disk before its tags are, and they are
// before anyone is told so.
func (g *guard) put(w http.ResponseWriter, r *http.Request, repo repository, ref string) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil || len(raw) > maxManifest {
		protocol.Refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", fmt.Sprintf("manifest is not read whole or larger than %d bytes", maxManifest))
		return
	}
	if strings.Contains(ref, ":") && ref != hashOf(raw) {
		protocol.Refuse(w, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("the manifest's digest is %s, not %s", hashOf(raw), ref))
		return
	}
	m := parseManifest(raw)
	if err := g.checkParts(repo, m); err != nil {
		protocol.Refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", err.Error())
		return
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.prepare(repo, raw, m); err != nil {
		protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	tags := tagsWritten(r, ref)
	if repo.isFull() {
		protocol.Refuse(w, http.StatusInsufficientStorage, "DENIED", fmt.Sprintf("the list of repository %s is nearly as large as it may be, %d bytes: use another repository, or delete tags and manifests", repo.name, maxIndex))
		return
	}
	if !g.permit(w, r, repo, ref, tags, hashOf(raw)) {
		return
	}
	answer := recorder{header: w.Header()}
	err = g.change(repo, func() error {
		g.write(&answer, r, repo, raw, m.Subject)
		return nil
	})
	if err != nil {
		protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	if len(tags) > 0 {
		g.use(repo, hashOf(raw))
		g.sound.saveLater()
	}
	answer.send(w)
}

// isFull reports whether a repository's list has no room for more: a larger one is not read.
func (r repository) isFull() bool {
	info, err := os.Stat(filepath.Join(r.dir, indexName))
	return err == nil && info.Size() > maxIndex-maxEntry
}

// prepare mends what a manifest is going to be added to. Whoever calls it holds the lock for
// writing.
func (g *guard) prepare(repo repository, raw []byte, m manifest) error {
	if err := errors.Join(g.mendListLocked(repo), g.drop(repo, hashOf(raw))); err != nil {
		return err
	}
	if m.Subject == nil {
		return nil
	}
	// What is added to a list that is lost would be all that it has.
	return g.mendReferrersLocked(repo, m.Subject.Digest)
}

// tagsWritten are the tags that a write of a manifest moves: that of its path, or those beside
// its digest.
func tagsWritten(r *http.Request, ref string) []string {
	if strings.Contains(ref, ":") {
		return r.URL.Query()["tag"]
	}
	return []string{ref}
}

// permit reports whether a manifest may be written where it is sent to, and answers where not.
func (g *guard) permit(w http.ResponseWriter, r *http.Request, repo repository, ref string, tags []string, digest string) bool {
	once := r.Header.Get(protocol.OnceHeader) != ""
	for _, tag := range tags {
		// Behind a digest, a condition is about the digest.
		status, message := http.StatusPreconditionRequired, "the log of a channel is written by its tag"
		if tag == ref {
			status, message = logCondition(r.Header)
		}
		if artifact.IsChannelTag(tag) && status != 0 {
			protocol.Refuse(w, status, "DENIED", message)
			return false
		}
		if taken := g.taken(repo, tag, once); taken != "" && taken != digest {
			protocol.Refuse(w, http.StatusConflict, "DENIED", fmt.Sprintf("tag %s already names %s: it cannot be moved", tag, taken))
			return false
		}
	}
	names := repo.named(ref)
	if !holds(r, names) {
		is := "nothing"
		if names != "" {
			is = names
		}
		protocol.Refuse(w, http.StatusPreconditionFailed, "PRECONDITION_FAILED", fmt.Sprintf("%s names %s", ref, is))
		return false
	}
	return true
}

// named is the digest that a tag names, or a digest that the list has; empty for others.
func (r repository) named(ref string) string {
	list, err := r.index()
	if err != nil {
		return ""
	}
	for _, d := range list.Manifests {
		if d.Annotations[artifact.AnnotationRefName] == ref || d.Digest == ref {
			return d.Digest
		}
	}
	return ""
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
		if !artifact.IsDigest(d.Digest) || d.isForeign() {
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

// taken returns the digest that a tag names already and keeps: that of a key always, another
// one when it is to be kept; else nothing. What is damaged takes no tag: its bits are lost, and other
// ones may be all that can be had.
func (g *guard) taken(repo repository, tag string, keep bool) string {
	if !keep && !artifact.IsKeyTag(tag) {
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
