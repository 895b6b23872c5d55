package embedded

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	"time"

	"ampoule/artifact"
)

// begin gives a new repository its list, before there is content: a repository that has some
// and no list is taken for a damaged one, and mending it ends the uploads of others.
func (g *guard) begin(repo repository) error {
	if repo.exists() {
		return nil
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	if repo.exists() {
		return nil
	}
	if err := repo.saveIndex(emptyList()); err != nil {
		return fmt.Errorf("making the list of %s: %w", repo.name, err)
	}
	return nil
}

// emptyList is a list of which the registry need not find out what refers to what.
func emptyList() manifest {
	return manifest{
		SchemaVersion: 2, MediaType: artifact.IndexType, Manifests: []descriptor{},
		Annotations: map[string]string{convertedAnnotation: "true"},
	}
}

// mendList makes a repository's list anew where it is damaged or gone, so that what is
// written next does not replace it by one that has nothing else.
func (g *guard) mendList(repo repository) error {
	if !repo.lostList() {
		return nil
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	return g.mendListLocked(repo)
}

func (g *guard) mendListLocked(repo repository) error {
	if !repo.lostList() {
		return nil
	}
	_, err := g.rebuild(repo)
	return err
}

// lostList reports whether a repository has content and no list that can be read.
func (r repository) lostList() bool {
	_, err := r.index()
	return err != nil && !errors.Is(err, fs.ErrNotExist)
}

// mendReferrers makes the list of what refers to a subject anew where it is damaged or gone.
func (g *guard) mendReferrers(repo repository, subject string) error {
	if repo.hasReferrersList(subject) {
		return nil
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	return g.mendReferrersLocked(repo, subject)
}

func (g *guard) mendReferrersLocked(repo repository, subject string) error {
	if repo.hasReferrersList(subject) {
		return nil
	}
	return g.change(repo, func() error {
		if err := g.relist(repo, subject); err != nil {
			return err
		}
		if d, ok := repo.referrers(subject); ok && repo.check(d) != nil {
			return g.delete(repo, d.Digest) // nothing refers to it any more
		}
		return nil
	})
}

// maxRelists bounds how often a list of referrers is begun anew: once for each damaged file that has the name of a
// list on the way to the whole one.
const maxRelists = 64

// relist makes the list of what refers to a subject of all manifests that do. The list that is there
// is damaged or gone.
func (g *guard) relist(repo repository, subject string) error {
	found, err := repo.documents()
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(d document) bool { return d.Subject == nil || d.Subject.Digest != subject })
	for range maxRelists {
		if err := g.dropReferrersList(repo, subject); err != nil {
			return err
		}
		if g.refer(repo, subject, found) {
			return nil
		}
	}
	return fmt.Errorf("the list of what refers to %s cannot be made", subject)
}

// refer puts manifests that refer to a subject into its list, one after the other. It ends early,
// with false, when the list is a damaged file.
func (g *guard) refer(repo repository, subject string, found []document) bool {
	for _, doc := range found {
		r := g.request(http.MethodPut, repo, doc.digest)
		r.Header.Set("Content-Type", doc.MediaType)
		r.ContentLength, r.Body = int64(len(doc.raw)), io.NopCloser(bytes.NewReader(doc.raw))
		g.serve(&recorder{header: http.Header{}}, r)
		if !repo.hasReferrersList(subject) {
			return false
		}
	}
	return true
}

// hasReferrersList reports whether the list of what refers to a subject is whole, or is not
// there at all.
func (r repository) hasReferrersList(subject string) bool {
	d, ok := r.referrers(subject)
	return !ok || r.check(d) == nil
}

// dropReferrersList removes the list of what refers to a subject if it is damaged.
func (g *guard) dropReferrersList(repo repository, subject string) error {
	d, ok := repo.referrers(subject)
	if !ok {
		return nil
	}
	return g.drop(repo, d.Digest)
}

// document is a manifest that a repository holds, whatever its list says.
type document struct {
	manifest
	digest string
	raw    []byte
}

// documents finds the whole manifests of a repository.
func (r repository) documents() ([]document, error) {
	dir := filepath.Join(r.dir, blobsName, hashName)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var found []document
	for _, entry := range entries {
		info, err := entry.Info()
		digest := "sha256:" + entry.Name()
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxManifest || !artifact.IsDigest(digest) {
			continue
		}
		m, raw, err := r.document(digest)
		if err != nil || m.SchemaVersion != 2 || m.Config == nil && m.Manifests == nil {
			continue
		}
		if m.MediaType == "" {
			// The OCI image-spec lets a manifest leave it out.
			m.MediaType = artifact.ManifestType
			if m.Config == nil {
				m.MediaType = artifact.IndexType
			}
		}
		found = append(found, document{m, digest, raw})
	}
	return found, nil
}

// rebuild makes a repository's list of the manifests that it holds, and returns how many
// it found. Tags are those of the list before, if there is one; tags of keys are found again by
// the keys that images carry, those of channels' logs by what they say, and other ones are lost.
// Whoever calls it holds the lock for writing.
func (g *guard) rebuild(repo repository) (int, error) {
	found, err := repo.documents()
	if err != nil {
		return 0, err
	}
	if err := repo.saveIndex(repo.previous()); err != nil {
		return 0, fmt.Errorf("making the list of %s anew: %w", repo.name, err)
	}
	g.renew()
	subjects := map[string]bool{}
	for _, doc := range found {
		if doc.Subject != nil {
			subjects[doc.digest] = true
		}
	}
	// What others need comes first. Lists of referrers are made anew.
	images, indexes, referrers := []document{}, []document{}, []document{}
	for _, doc := range found {
		switch {
		case doc.Subject != nil:
			referrers = append(referrers, doc)
		case !isIndex(doc.MediaType):
			images = append(images, doc)
		case !slices.ContainsFunc(doc.Manifests, func(d descriptor) bool { return subjects[d.Digest] }):
			indexes = append(indexes, doc)
		}
	}
	logs := logTags(images)
	for _, doc := range images {
		g.replay(repo, doc, cmp.Or(logs[doc.digest], doc.digest))
	}
	for _, doc := range indexes {
		ref := repo.refOf(doc)
		if repo.named(ref) != "" {
			ref = doc.digest // the list before has that key
		}
		g.replay(repo, doc, ref)
	}
	for _, doc := range referrers {
		g.replay(repo, doc, doc.digest)
	}
	if err := errors.Join(g.sync(), repo.forgetBefore()); err != nil {
		return 0, err
	}
	return len(images) + len(indexes) + len(referrers), nil
}

// logTags finds the tags of channels' logs, by the digest of what they named. Each log has all
// entries of the ones before it, so the longest one of a channel is the last.
func logTags(found []document) map[string]string {
	longest := map[string]document{}
	for _, doc := range found {
		channel := doc.Annotations[artifact.AnnotationChannel]
		if doc.ArtifactType != artifact.ChannelType || !artifact.IsChannel(channel) {
			continue
		}
		if known, ok := longest[channel]; !ok || logLength(known) < logLength(doc) {
			longest[channel] = doc
		}
	}
	tags := map[string]string{}
	for channel, doc := range longest {
		tags[doc.digest] = artifact.ChannelTag(channel)
	}
	return tags
}

// logLength counts the entries of a log.
func logLength(doc document) int {
	n := 0
	for _, l := range doc.Layers {
		if l.MediaType == artifact.ChannelSegmentType {
			n += artifact.ChannelSegment
		} else {
			n++
		}
	}
	return n
}

// previous is the list from before a change that a loss of power has cut off; an empty one if
// there is none. Lists of referrers are made anew.
func (r repository) previous() manifest {
	list := emptyList()
	before, err := r.list(previousName)
	if err != nil {
		return list
	}
	for _, d := range before.Manifests {
		if d.Annotations[subjectAnnotation] == "" {
			list.Manifests = append(list.Manifests, d)
		}
	}
	return list
}

// refOf is the tag that an index had as the artifact of a key, else its digest.
func (r repository) refOf(doc document) string {
	key, err := r.keyOf(doc.manifest)
	if err != nil {
		return doc.digest
	}
	tag, err := artifact.KeyTag(key)
	if err != nil {
		return doc.digest
	}
	return tag
}

// keyOf is the key that all images of an index carry; empty where they carry none, or
// several.
func (r repository) keyOf(index manifest) (string, error) {
	labels, err := r.labelsOf(index)
	return labels.Key, err
}

// labelsOf are the labels of an index's last image, if all images carry the same key; none
// otherwise.
func (r repository) labelsOf(index manifest) (artifact.Labels, error) {
	var found artifact.Labels
	for i, d := range index.Manifests {
		m, _, err := r.document(d.Digest)
		if err != nil {
			return artifact.Labels{}, err
		}
		if m.Config == nil {
			return artifact.Labels{}, nil
		}
		raw, err := readAtMost(r.blob(m.Config.Digest), maxManifest)
		if err != nil {
			return artifact.Labels{}, err
		}
		if hashOf(raw) != m.Config.Digest {
			return artifact.Labels{}, ErrDamaged
		}
		var config struct {
			Config struct{ Labels map[string]string } `json:"config"`
		}
		if err := json.Unmarshal(raw, &config); err != nil {
			return artifact.Labels{}, fmt.Errorf("reading configuration: %w", err)
		}
		labels, err := artifact.ParseLabels(config.Config.Labels)
		if err != nil || i > 0 && labels.Key != found.Key {
			return artifact.Labels{}, nil //nolint:nilerr // an image with other labels is no artifact's
		}
		found = labels
	}
	return found, nil
}

// replay has the registry take a manifest that it holds into its lists. One that it does
// not take, because content of it is lost, stays out.
func (g *guard) replay(repo repository, doc document, ref string) {
	r := g.request(http.MethodPut, repo, ref)
	r.Header.Set("Content-Type", doc.MediaType)
	r.ContentLength = int64(len(doc.raw))
	g.write(&recorder{header: http.Header{}}, r, repo, doc.raw, doc.Subject)
}

// delete has the registry take a digest or a tag out of its lists.
func (g *guard) delete(repo repository, ref string) error {
	answer := recorder{header: http.Header{}}
	g.serve(&answer, g.request(http.MethodDelete, repo, ref))
	if answer.status >= http.StatusBadRequest && answer.status != http.StatusNotFound {
		return fmt.Errorf("removing %s from %s: %w", ref, repo.name, g.refusal(answer.status))
	}
	return nil
}

// request is one that this process makes of its own store: no network is asked.
//
//nolint:contextcheck // nothing waits in it
func (g *guard) request(method string, repo repository, ref string) *http.Request {
	r, err := http.NewRequestWithContext(context.Background(), method, "/v2/"+repo.name+"/manifests/"+ref, http.NoBody)
	if err != nil {
		// Names and references were matched with their grammars.
		panic("embedded: " + err.Error())
	}
	return r
}

// saveIndex writes a repository's list.
func (r repository) saveIndex(m manifest) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	// The list comes first: a repository that has anything else and no list has lost it.
	if err := r.place(indexName, raw); err != nil {
		return err
	}
	return r.place(layoutName, []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

// place writes a file of a repository in one step.
func (r repository) place(name string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(filepath.Join(r.dir, name)), 0o755); err != nil {
		return err
	}
	// The names of what sweeping removes.
	return placeIn(r.dir, name, indexName+".*", raw)
}

// placeIn writes a file below a directory in one step, under a name of a pattern until it is
// whole.
func placeIn(dir, name, pattern string, raw []byte) error {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// restore puts content back from where the same bytes are, and reports whether it did.
func (g *guard) restore(repo repository, d descriptor) (bool, error) {
	if g.spare == nil {
		return false, nil
	}
	f, err := g.spare.Open(strings.TrimPrefix(d.Digest, "sha256:"))
	if err != nil {
		return false, nil //nolint:nilerr // what cannot be had there is not restored
	}
	defer f.Close()
	return repo.copyIn(f, d)
}

// copyIn makes content of a file, and reports whether it is what its digest says.
func (r repository) copyIn(from io.Reader, d descriptor) (bool, error) {
	dir := filepath.Dir(r.blob(d.Digest))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	f, err := os.CreateTemp(r.dir, indexName+".*")
	if err != nil {
		return false, err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, hash), from)
	same := "sha256:"+hex.EncodeToString(hash.Sum(nil)) == d.Digest
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil && same {
		return true, os.Rename(f.Name(), r.blob(d.Digest))
	}
	return false, errors.Join(err, os.Remove(f.Name()))
}

// used is where it is noted when an artifact was used last, by the time of a file.
func (g *guard) used(repo repository, digest string) string {
	return filepath.Join(g.dir, usedName, filepath.FromSlash(repo.name), "@"+strings.TrimPrefix(digest, "sha256:"))
}

// freshUse is how exactly the time of the last use is kept.
const freshUse = time.Hour

// use notes that an artifact is used now. What cannot be noted counts as used when it was
// published.
func (g *guard) use(repo repository, digest string) {
	path, now := g.used(repo, digest), time.Now()
	info, err := os.Stat(path)
	if err == nil && now.Sub(info.ModTime()) < freshUse && !info.ModTime().After(now) {
		return
	}
	if err == nil {
		_ = os.Chtimes(path, now, now)
		return
	}
	if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
		_ = os.WriteFile(path, nil, 0o644) //nolint:gosec // it says no more than its directory does
	}
}

// usedAt is when an artifact was used last.
func (g *guard) usedAt(repo repository, digest string) time.Time {
	for _, path := range []string{g.used(repo, digest), repo.blob(digest)} {
		if info, err := os.Stat(path); err == nil {
			return info.ModTime()
		}
	}
	return time.Time{}
}
