package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/faults"
)

// Artifact is what a registry has under one digest.
type Artifact struct {
	Name string `json:"name"`
	// Digest is empty where a repository's list is lost: then what is in it is not known.
	Digest string   `json:"digest"`
	Tags   []string `json:"tags"`
	// Key is the key that its images carry; empty for what is no artifact of a recipe.
	Key string `json:"key,omitempty"`
	// Python is the version of CPython in it; empty for what is no artifact of a recipe.
	Python string `json:"python,omitempty"`
	// Published is when the registry got it first.
	Published time.Time `json:"published"`
	// Groups are the dependency groups that were published for it, sorted.
	Groups []string `json:"groups,omitempty"`
	// Held says that no collection removes it: it has a tag that is no key's.
	Held bool `json:"held"`
	// Used is when it was published, found by a build or pulled last, to the hour.
	Used time.Time `json:"used"`
	// Bytes is what it takes, with what refers to it. Artifacts may share content.
	Bytes int64 `json:"bytes"`
	// Whole says that nothing of it is missing or damaged, as far as that is known without
	// reading it.
	Whole bool `json:"whole"`
}

// Target names an artifact of a registry by its digest, or one of its tags.
type Target struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"`
	Tag    string `json:"tag,omitempty"`
}

func (t Target) String() string {
	if t.Digest != "" {
		return t.Name + "@" + t.Digest
	}
	return t.Name + ":" + t.Tag
}

// ErrNoArtifact is wrapped by errors about names that lead to nothing.
var ErrNoArtifact = faults.New(faults.NotFound, "", "the store's registry has no such artifact")

// HeldError says that an artifact is held and was not removed.
type HeldError struct{ Ref string }

func (e *HeldError) Error() string { return e.Ref + " is held" }

// Kind says whose fault it is.
func (*HeldError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (e *HeldError) Hint() string { return "let it go first: ampoule registry unhold " + e.Ref }

// ChannelError says that something belongs to a channel and was not removed.
type ChannelError struct {
	// Ref names it, Channel the channel.
	Ref, Channel string
}

func (e *ChannelError) Error() string {
	return fmt.Sprintf("%s belongs to channel %s", e.Ref, e.Channel)
}

// Kind says whose fault it is.
func (*ChannelError) Kind() faults.Kind { return faults.Refused }

// Hint says why.
func (*ChannelError) Hint() string {
	return "a channel keeps what it has accepted, so that it can go back, and its log for good; `ampoule registry unhold NAME:hold-HEX.CHANNEL` lets an artifact go that it will not go back to"
}

// channelOf is the channel that a tag belongs to; other tags have none.
func channelOf(tag string) (channel string, ok bool) {
	if channel, ok := artifact.ChannelOfHold(tag); ok {
		return channel, true
	}
	return strings.TrimPrefix(tag, artifact.ChannelTag("")), artifact.IsChannelTag(tag)
}

// artifacts lists what is published.
func (g *guard) artifacts() ([]Artifact, error) {
	all := []Artifact{}
	repos, err := g.repositories()
	if err != nil {
		return nil, err
	}
	for _, repo := range repos {
		list, err := repo.index()
		if err != nil {
			all = append(all, Artifact{Name: repo.name, Tags: []string{}})
			continue
		}
		tags := tagsOf(list.Manifests)
		seen := repo.partsOf(list, tags)
		for _, d := range list.Manifests {
			if seen[d.Digest] || subjectOf(d) != "" || repo.isLog(d) || len(tags[d.Digest]) == 0 && repo.isSuperseded(d) {
				continue
			}
			seen[d.Digest] = true
			all = append(all, g.artifact(repo, list.Manifests, d, tags[d.Digest]))
		}
	}
	return all, nil
}

// partsOf are the manifests of a list that an index of it has, and that have no tag of their own:
// they are parts of an artifact. Some clients have them listed by sending them again.
func (r repository) partsOf(list manifest, tags map[string][]string) map[string]bool {
	parts := map[string]bool{}
	for _, d := range list.Manifests {
		if !isIndex(d.MediaType) || d.Annotations[subjectAnnotation] != "" {
			continue
		}
		m, _, err := r.document(d.Digest)
		if err != nil {
			continue // what it has is not known
		}
		for _, part := range m.Manifests {
			if len(tags[part.Digest]) == 0 {
				parts[part.Digest] = true
			}
		}
	}
	return parts
}

// isLog reports whether an entry of the list is the log of a channel, or was it before.
func (r repository) isLog(d descriptor) bool {
	if isIndex(d.MediaType) {
		return false
	}
	m, _, err := r.document(d.Digest)
	return err == nil && m.ArtifactType == artifact.ChannelType
}

// signedTypes are the media types of what cosign keeps under tags: signatures and statements.
var signedTypes = []string{"application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dsse.envelope.v1+json"}

// isSuperseded reports whether an entry without a tag had one that is kept beside an artifact: the tag
// went on to a manifest that has what this one has, and more.
func (r repository) isSuperseded(d descriptor) bool {
	if isIndex(d.MediaType) {
		return false
	}
	m, _, err := r.document(d.Digest)
	return err == nil && len(m.Layers) > 0 && !slices.ContainsFunc(m.Layers, func(l descriptor) bool { return !slices.Contains(signedTypes, l.MediaType) })
}

// artifact describes one entry of a repository's list.
func (g *guard) artifact(repo repository, list []descriptor, d descriptor, tags []string) Artifact {
	slices.Sort(tags)
	a := Artifact{Name: repo.name, Digest: d.Digest, Tags: tags, Used: g.usedAt(repo, d.Digest).UTC().Truncate(time.Second), Whole: true}
	a.Held = slices.ContainsFunc(tags, func(tag string) bool { return !artifact.IsKeyTag(tag) })
	if a.Tags == nil {
		a.Tags = []string{}
	}
	if m, _, err := repo.document(d.Digest); err == nil && isIndex(d.MediaType) {
		if labels, err := repo.labelsOf(m); err == nil {
			a.Key, a.Python = labels.Key, labels.Python
		}
	}
	if info, err := os.Stat(repo.blob(d.Digest)); err == nil {
		a.Published = info.ModTime().UTC().Truncate(time.Second)
	}
	seen := map[string]bool{}
	count := func(part descriptor, err error) bool {
		a.Whole = a.Whole && err == nil
		a.Bytes += part.Size
		return true
	}
	repo.visitOnce(d, seen, count)
	for again := true; again; {
		again = false
		for _, of := range list {
			if subject := subjectOf(of); subject != "" && seen[subject] && !seen[of.Digest] {
				repo.visitOnce(of, seen, count)
				again = true // what refers to that belongs to it, too
			}
		}
	}
	if refers, ok := repo.referrers(d.Digest); ok {
		a.Groups = repo.groupsOf(refers)
	}
	return a
}

// groupsOf names the dependency groups in a list of referrers. A list that is damaged has
// none; that it is damaged shows elsewhere.
func (r repository) groupsOf(list descriptor) []string {
	m, _, err := r.document(list.Digest)
	if err != nil {
		return nil
	}
	var groups []string
	for _, d := range m.Manifests {
		if group := strings.TrimSpace(d.Annotations[artifact.AnnotationGroup]); group != "" {
			groups = append(groups, group)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// remove takes an artifact, or one of its tags, out of its repository. Its content stays
// for the first collection an hour later: whoever pulls it now gets it whole.
func (g *guard) remove(t Target) error {
	g.upkeep.Lock()
	defer g.upkeep.Unlock()
	g.writing.Lock()
	defer g.writing.Unlock()
	repo, d, tags, err := g.find(t)
	if err != nil {
		return err
	}
	asked := tags
	if t.Digest == "" {
		asked = []string{t.Tag}
	}
	for _, tag := range asked {
		if channel, ok := channelOf(tag); ok {
			return &ChannelError{t.String(), channel}
		}
	}
	if t.Digest == "" {
		if artifact.IsHoldTag(t.Tag) {
			return &HeldError{repo.name + "@" + d.Digest}
		}
		return g.change(repo, func() error { return g.delete(repo, t.Tag) })
	}
	if slices.ContainsFunc(tags, artifact.IsHoldTag) {
		return &HeldError{t.String()}
	}
	g.freshen(repo, d)
	return g.change(repo, func() error {
		for _, tag := range repo.beside(d.Digest) {
			if err := g.delete(repo, tag); err != nil {
				return err
			}
		}
		return g.delete(repo, d.Digest)
	})
}

// freshen has what leaves a list stay for a while, for who pulls it now.
func (g *guard) freshen(repo repository, d descriptor) {
	repo.visit(d, func(part descriptor, err error) bool {
		if err == nil {
			_ = g.sound.touch(repo.blob(part.Digest)) // what is gone meanwhile needs no grace
		}
		return true
	})
	_ = os.Remove(g.used(repo, d.Digest)) // a time of use without an artifact says nothing
}

// beside lists the tags that are kept beside an artifact.
func (r repository) beside(digest string) []string {
	list, err := r.index()
	if err != nil {
		return nil
	}
	var tags []string
	for _, d := range list.Manifests {
		tag := d.Annotations[artifact.AnnotationRefName]
		if subject, ok := artifact.SubjectOfTag(tag); ok && subject == digest {
			tags = append(tags, tag)
		}
	}
	return tags
}

// find finds an artifact with its tags.
func (g *guard) find(t Target) (repository, descriptor, []string, error) {
	repo, ok := g.repository(t.Name)
	list, err := repo.index()
	if !ok || err != nil {
		return repo, descriptor{}, nil, fmt.Errorf("%s: %w", t, ErrNoArtifact)
	}
	for _, d := range list.Manifests {
		tag := d.Annotations[artifact.AnnotationRefName]
		if d.Annotations[subjectAnnotation] == "" && (t.Digest == d.Digest || t.Digest == "" && tag != "" && tag == t.Tag) {
			return repo, d, tagsOf(list.Manifests)[d.Digest], nil
		}
	}
	return repo, descriptor{}, nil, fmt.Errorf("%s: %w", t, ErrNoArtifact)
}

// hold gives an artifact a tag that holds it.
func (g *guard) hold(t Target) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	repo, d, _, err := g.find(t)
	if err != nil {
		return err
	}
	m, raw, err := repo.document(d.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrDamaged
	}
	if err != nil {
		return fmt.Errorf("holding %s: %w", t, err)
	}
	r := g.request(http.MethodPut, repo, artifact.HoldTag(d.Digest))
	r.Header.Set("Content-Type", d.MediaType)
	r.ContentLength = int64(len(raw))
	answer := recorder{header: http.Header{}}
	if err := g.change(repo, func() error {
		g.write(&answer, r, repo, raw, m.Subject)
		return nil
	}); err != nil {
		return fmt.Errorf("holding %s: %w", t, err)
	}
	if answer.status >= http.StatusBadRequest {
		return fmt.Errorf("holding %s: %w", t, g.refusal(answer.status))
	}
	return nil
}

// unhold takes the tag away again.
func (g *guard) unhold(t Target) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	repo, d, tags, err := g.find(t)
	if err != nil {
		return err
	}
	tag := artifact.HoldTag(d.Digest)
	if _, ok := artifact.ChannelOfHold(t.Tag); ok {
		tag = t.Tag
	}
	if !slices.Contains(tags, tag) {
		return fmt.Errorf("%s is not held: %w", t, ErrNoArtifact)
	}
	return g.change(repo, func() error { return g.delete(repo, tag) })
}
