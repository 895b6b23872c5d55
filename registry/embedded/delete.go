package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/registry/internal/protocol"
)

// deleteManifest takes a tag, or a digest with all its tags, out of a repository's list. What
// is held or what an index needs stays. Content goes with a collection.
func (g *guard) deleteManifest(w http.ResponseWriter, repo repository, ref string) {
	unlock, ok := g.lockToDelete(w)
	if !ok {
		return
	}
	defer unlock()
	list, err := repo.index()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	if artifact.IsHoldTag(ref) {
		protocol.Refuse(w, http.StatusConflict, "DENIED", ref+" holds an artifact: ampoule registry unhold lets it go")
		return
	}
	for _, d := range list.Manifests {
		tag := d.Annotations[artifact.AnnotationRefName]
		if channel, ok := channelOf(tag); ok && (tag == ref || d.Digest == ref) {
			protocol.Refuse(w, http.StatusConflict, "DENIED", fmt.Sprintf("%s belongs to channel %s", ref, channel))
			return
		}
	}
	if strings.Contains(ref, ":") {
		if why := repo.keeps(list, ref); why != "" {
			protocol.Refuse(w, http.StatusConflict, "DENIED", why)
			return
		}
		for _, d := range list.Manifests {
			if d.Digest == ref {
				g.freshen(repo, d)
			}
		}
	}
	answer := recorder{header: w.Header()}
	if err := g.change(repo, func() error {
		g.serve(&answer, g.request(http.MethodDelete, repo, ref))
		return nil
	}); err != nil {
		protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	answer.send(w)
}

// deleteBlob removes content that no manifest needs.
func (g *guard) deleteBlob(w http.ResponseWriter, repo repository, digest string) {
	unlock, ok := g.lockToDelete(w)
	if !ok {
		return
	}
	defer unlock()
	if !repo.has(digest) {
		protocol.Refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "there is no such blob")
		return
	}
	list, err := repo.index()
	if err != nil {
		protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", fmt.Sprintf("repository %s is damaged: %v", repo.name, err))
		return
	}
	if slices.ContainsFunc(repo.roots(list), func(d descriptor) bool { return d.Digest == digest }) {
		protocol.Refuse(w, http.StatusConflict, "DENIED", digest+" is a manifest: delete it as one")
		return
	}
	if why := repo.neededBy(list, digest, func(string) bool { return true }); why != "" {
		protocol.Refuse(w, http.StatusConflict, "DENIED", why)
		return
	}
	g.sound.forget(repo.blob(digest))
	if err := os.Remove(repo.blob(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// lockToDelete keeps out who writes, verifies or collects. Verifying takes long: nobody waits
// for its end.
func (g *guard) lockToDelete(w http.ResponseWriter) (unlock func(), ok bool) {
	if !g.upkeep.TryLock() {
		w.Header().Set("Retry-After", "10")
		protocol.Refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "the registry is being verified or collected")
		return nil, false
	}
	g.writing.Lock()
	return func() {
		g.writing.Unlock()
		g.upkeep.Unlock()
	}, true
}

// keeps says why a manifest cannot go: it is held, or an index needs it; empty if nothing
// keeps it.
func (r repository) keeps(list manifest, digest string) string {
	for _, d := range list.Manifests {
		if d.Digest == digest && artifact.IsHoldTag(d.Annotations[artifact.AnnotationRefName]) {
			return fmt.Sprintf("%s@%s is held: ampoule registry unhold lets it go", r.name, digest)
		}
	}
	return r.neededBy(list, digest, isIndex)
}

// neededBy says which manifest of a list, of the types that are looked at, leads to content;
// empty if none does. Who refers to something else needs its own parts alone.
func (r repository) neededBy(list manifest, digest string, looked func(mediaType string) bool) string {
	for _, d := range r.roots(list) {
		if d.Digest != digest && looked(d.MediaType) && r.leadsTo(d, digest, map[string]bool{}) {
			return fmt.Sprintf("%s@%s needs %s", r.name, d.Digest, digest)
		}
	}
	return ""
}

// roots are the manifests of a list, with those of its lists of referrers in the place of these.
func (r repository) roots(list manifest) []descriptor {
	var all []descriptor
	for _, d := range list.Manifests {
		if d.Annotations[subjectAnnotation] == "" {
			all = append(all, d)
			continue
		}
		// What a damaged list had is found again when it is mended, and deleted then.
		if referrers, _, err := r.document(d.Digest); err == nil {
			all = append(all, referrers.Manifests...)
		}
	}
	return all
}

// eachManifest notes the digests of a manifest and of those that it leads to.
func (r repository) eachManifest(d descriptor, seen map[string]bool) {
	if seen[d.Digest] || !isIndex(d.MediaType) && !isManifest(d.MediaType) {
		return
	}
	seen[d.Digest] = true
	if !isIndex(d.MediaType) {
		return
	}
	if m, _, err := r.document(d.Digest); err == nil {
		for _, part := range m.Manifests {
			r.eachManifest(part, seen)
		}
	}
}

// leadsTo reports whether a manifest, or one that it has, has content of a digest.
func (r repository) leadsTo(d descriptor, digest string, seen map[string]bool) bool {
	if seen[d.Digest] || !isIndex(d.MediaType) && !isManifest(d.MediaType) {
		return false
	}
	seen[d.Digest] = true
	m, _, err := r.document(d.Digest)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(m.parts(), func(part descriptor) bool { return part.Digest == digest || r.leadsTo(part, digest, seen) })
}
