package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
	"ampoule/faults"
)

const (
	// maxCopied bounds the manifests of one copy, those of referrers among them.
	maxCopied = 10_000
	// maxNested bounds how deep indexes, and what refers to what refers to something, stand
	// in one another.
	maxNested = 8
	// copyTries is how often a blob is begun whose transfer breaks.
	copyTries = 3
)

// signatureSuffixes end the tags under which cosign keeps what belongs to a digest.
var signatureSuffixes = []string{".sig", ".att", ".sbom"}

// Copied is what a copy did.
type Copied struct {
	// Ref names the artifact where it was copied to; Digest is the same everywhere.
	Ref    string
	Digest string
	// Tags are those that name it there.
	Tags []string
	// Sent and Present count the blobs that were sent, and those that were there; Bytes is
	// the size of what was sent.
	Sent, Present int
	Bytes         int64
	// Manifests counts all that were put; Referrers are the artifact types of those that
	// refer to the artifact, to its images or to one another, sorted, each as often as it is
	// there.
	Manifests int
	Referrers []string
	// Missing are the types of what belongs to each artifact of Ampoule and was not there.
	Missing []string
	// KeyTaken is the digest that the artifact's key names there already, if it is another
	// one: the first that is published for a key stands.
	KeyTaken string
}

// Copy copies an artifact with everything that refers to it, directly or not, and with the
// signatures that cosign has under tags, to a repository: NAME, NAME:TAG or NAME@DIGEST, with
// a host or without one, in to. From says where the reference leads.
//
// Blobs that are there are not sent. What refers to the artifact is put before the artifact,
// and compared with what the registry then lists; tags come last. A copy that is cut off
// leaves nothing that can be found, and is continued by the next one.
//
// The key's tag is put, too, unless it names another artifact there, and further tags. A
// destination with a digest is an error of kind Refused where the artifact has another one.
func Copy(ctx context.Context, from *Registry, ref string, to *Registry, target string, tags ...string) (Copied, error) {
	src, err := from.parse(ref)
	if err != nil {
		return Copied{}, err
	}
	dst, err := to.parseTarget(target)
	if err != nil {
		return Copied{}, err
	}
	pusher, err := remote.NewPusher(dst.options...)
	if err != nil {
		return Copied{}, fmt.Errorf("copying %s: %w", ref, err)
	}
	if dst.tag != "" {
		tags = append([]string{dst.tag}, tags...)
	}
	c := &copying{src: src, dst: dst, tags: tags, pusher: pusher, blobs: map[v1.Hash]v1.Descriptor{}, seen: map[v1.Hash]bool{}}
	root, err := c.read(ctx)
	if err != nil {
		return Copied{}, src.convert("copying "+ref, ref, err)
	}
	if dst.digest != "" && dst.digest != root.digest() {
		return Copied{}, faults.New(faults.Refused, "name the digest that is meant, or none", "copying %s: it is %s, not %s", ref, root.digest(), dst.digest)
	}
	if err := c.write(ctx, root); err != nil {
		return Copied{}, err
	}
	c.done.Ref, c.done.Digest = dst.at(root.digest()), root.digest()
	slices.Sort(c.done.Referrers)
	return c.done, nil
}

// parseTarget reads where a copy goes: a reference, or a repository alone.
func (r *Registry) parseTarget(target string) (location, error) {
	if strings.Contains(target, "@") || strings.LastIndexByte(target, ':') > strings.LastIndexByte(target, '/') {
		return r.parse(target)
	}
	return r.locate(target, target)
}

// copying is one copy on its way.
type copying struct {
	src, dst location
	// tags are those that the root gets, beside its key's.
	tags   []string
	pusher *remote.Pusher
	// blobs are all that the manifests name. parts are the manifests below the root, evidence
	// what refers to something: in an order in which each comes behind what it names, and
	// behind what refers to it.
	blobs    map[v1.Hash]v1.Descriptor
	parts    []document
	evidence []evidence
	seen     map[v1.Hash]bool
	key      string
	done     Copied
	sent     atomic.Int64
	bytes    atomic.Int64
}

// evidence is a manifest that refers to another one, or that a tag of cosign's names.
type evidence struct {
	document
	// subject is empty for what has a tag.
	subject, tag string
	// artifactType is empty for what has a tag.
	artifactType string
}

// manifestForm is what a copy reads of a manifest or an index.
type manifestForm struct {
	Config    *v1.Descriptor  `json:"config"`
	Layers    []v1.Descriptor `json:"layers"`
	Blobs     []v1.Descriptor `json:"blobs"`
	Manifests []v1.Descriptor `json:"manifests"`
}

// read finds everything that there is to copy, and returns the root.
func (c *copying) read(ctx context.Context) (document, error) {
	d, err := c.src.get(ctx, c.src.reference())
	if err != nil {
		return document{}, err
	}
	root := document{d.Manifest, d.MediaType}
	subjects, err := c.walk(ctx, root, 0)
	if err != nil {
		return document{}, err
	}
	for _, subject := range append([]string{root.digest()}, subjects...) {
		if err := c.readEvidence(ctx, subject, 0); err != nil {
			return document{}, err
		}
	}
	if c.key, err = c.keyOf(ctx, d); err != nil {
		return document{}, err
	}
	if c.key != "" {
		for _, t := range artifact.PublishedBeside().Always {
			if !slices.ContainsFunc(c.evidence, func(e evidence) bool { return e.subject == root.digest() && e.artifactType == t }) {
				c.done.Missing = append(c.done.Missing, t)
			}
		}
	}
	return root, nil
}

// walk notes the blobs of a manifest, and the manifests of an index, whose digests it returns.
func (c *copying) walk(ctx context.Context, d document, depth int) (below []string, err error) {
	var m manifestForm
	if err := json.Unmarshal(d.raw, &m); err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", d.digest(), err)
	}
	blobs := append(m.Layers, m.Blobs...)
	if m.Config != nil {
		blobs = append(blobs, *m.Config)
	}
	for _, b := range blobs {
		// What lies elsewhere stays there.
		if len(b.URLs) == 0 {
			c.blobs[b.Digest] = b
		}
	}
	for _, child := range m.Manifests {
		if c.seen[child.Digest] {
			continue
		}
		c.seen[child.Digest] = true
		if depth == maxNested || len(c.seen) > maxCopied {
			return nil, fmt.Errorf("%w: it has more than %d manifests, or they stand more than %d deep in one another", errTooMany, maxCopied, maxNested)
		}
		inner, err := c.fetch(ctx, child.Digest.String(), d.digest())
		if err != nil {
			return nil, err
		}
		deeper, err := c.walk(ctx, inner, depth+1)
		if err != nil {
			return nil, err
		}
		c.parts = append(c.parts, inner)
		below = append(append(below, child.Digest.String()), deeper...)
	}
	return below, nil
}

// errTooMany says that an artifact has more than any has.
var errTooMany = faults.New(faults.Refused, "", "the artifact is not one that is copied")

// fetch reads a manifest that another one, of, names.
func (c *copying) fetch(ctx context.Context, digest, of string) (document, error) {
	d, err := c.src.get(ctx, c.src.repo.Digest(digest))
	if err := c.src.asDamage(c.src.at(of), "manifest "+digest, err); err != nil {
		return document{}, err
	}
	return document{d.Manifest, d.MediaType}, nil
}

// readEvidence finds what refers to a digest, what refers to that, and what cosign keeps
// under tags.
func (c *copying) readEvidence(ctx context.Context, subject string, depth int) error {
	list, err := c.src.listReferrers(ctx, subject, "")
	if err != nil {
		return err
	}
	// Equal evidence is copied in one order, wherever it comes from.
	slices.SortFunc(list, func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.Hex, b.Digest.Hex) })
	for _, d := range list {
		if c.seen[d.Digest] {
			continue
		}
		c.seen[d.Digest] = true
		if depth == maxNested || len(c.seen) > maxCopied {
			return fmt.Errorf("%w: more than %d manifests refer to it, or they do so more than %d deep", errTooMany, maxCopied, maxNested)
		}
		m, err := c.fetch(ctx, d.Digest.String(), subject)
		if err != nil {
			return err
		}
		if _, err := c.walk(ctx, m, depth); err != nil {
			return err
		}
		// What is signed of it comes before it, too.
		if err := c.readEvidence(ctx, d.Digest.String(), depth+1); err != nil {
			return err
		}
		e := evidence{document: m, subject: subject, artifactType: typeOf(m, d)}
		c.evidence = append(c.evidence, e)
		c.done.Referrers = append(c.done.Referrers, e.artifactType)
	}
	return c.readTagged(ctx, subject)
}

// typeOf is the artifact type of a referrer: its own, since some registries list another one.
func typeOf(m document, listed v1.Descriptor) string {
	var form struct {
		ArtifactType string `json:"artifactType"`
	}
	if err := json.Unmarshal(m.raw, &form); err == nil && form.ArtifactType != "" {
		return form.ArtifactType
	}
	return listed.ArtifactType
}

// readTagged finds what cosign keeps for a digest.
func (c *copying) readTagged(ctx context.Context, subject string) error {
	for _, suffix := range signatureSuffixes {
		tag := strings.Replace(subject, ":", "-", 1) + suffix
		d, err := c.src.get(ctx, c.src.repo.Tag(tag))
		if statusOf(err) == http.StatusNotFound {
			continue
		}
		if err != nil {
			return err
		}
		m := document{d.Manifest, d.MediaType}
		if _, err := c.walk(ctx, m, 0); err != nil {
			return err
		}
		c.evidence = append(c.evidence, evidence{document: m, tag: tag})
	}
	return nil
}

// keyOf is the key of an artifact of Ampoule; empty for anything else. One image of an artifact is
// none: its key names the index.
func (c *copying) keyOf(ctx context.Context, root *remote.Descriptor) (string, error) {
	if !root.MediaType.IsIndex() {
		return "", nil
	}
	images, err := c.src.images(ctx, root)
	if err != nil {
		return "", err
	}
	for _, m := range images {
		var form manifestForm
		if err := json.Unmarshal(m.Manifest, &form); err != nil {
			return "", fmt.Errorf("reading manifest %s: %w", m.Digest, err)
		}
		if form.Config == nil || form.Config.MediaType != types.OCIConfigJSON {
			continue // it is no image
		}
		_, config, err := c.src.config(ctx, *form.Config)
		if err := c.src.asDamage(c.src.at(m.Digest.String()), "its configuration", err); err != nil {
			return "", err
		}
		labels, err := artifact.ParseLabels(config.Config.Labels)
		if err == nil && labels.Key != "" {
			return labels.Key, nil
		}
	}
	return "", nil
}

// write sends all of it, the root and its tags last.
func (c *copying) write(ctx context.Context, root document) error {
	op := "copying to " + c.dst.base
	if err := c.sendBlobs(ctx); err != nil {
		return err
	}
	for _, m := range c.parts {
		if err := c.put(ctx, m.digest(), m); err != nil {
			return c.dst.convert(op, c.dst.base, err)
		}
	}
	for _, e := range c.evidence {
		at := e.tag
		if at == "" {
			at = e.digest()
		}
		if err := c.put(ctx, at, e.document); err != nil {
			return c.dst.convert(op, c.dst.base, err)
		}
	}
	if err := c.checkEvidence(ctx); err != nil {
		return err
	}
	if err := c.put(ctx, root.digest(), root); err != nil {
		return c.dst.convert(op, c.dst.base, err)
	}
	if err := c.tag(ctx, root); err != nil {
		return c.dst.convert(op, c.dst.base, err)
	}
	return nil
}

// put puts a manifest under a tag or its digest.
func (c *copying) put(ctx context.Context, at string, m document) error {
	c.done.Manifests++
	if artifact.IsDigest(at) {
		return c.pusher.Put(ctx, c.dst.repo.Digest(at), m)
	}
	return c.pusher.Put(ctx, c.dst.repo.Tag(at), m)
}

// tag gives the root the tags that were asked for, and its key's.
func (c *copying) tag(ctx context.Context, root document) error {
	for _, tag := range c.tags {
		if err := c.putTag(ctx, tag, root); err != nil {
			return err
		}
		c.done.Tags = append(c.done.Tags, tag)
	}
	if c.key == "" {
		return nil
	}
	tag, err := artifact.KeyTag(c.key)
	if err != nil || slices.Contains(c.tags, tag) {
		return err
	}
	there, err := c.dst.get(ctx, c.dst.repo.Tag(tag))
	switch {
	case err == nil && there.Digest.String() != root.digest():
		c.done.KeyTaken = there.Digest.String()
		return nil
	case err != nil && statusOf(err) != http.StatusNotFound:
		return err
	}
	if err != nil {
		if err := c.put(ctx, tag, root); err != nil {
			return err
		}
	}
	c.done.Tags = append(c.done.Tags, tag)
	return nil
}

// putTag gives the root a tag. The log of a channel goes where there is
// none, in registries that can tell: a log that was lost comes back from a copy so.
func (c *copying) putTag(ctx context.Context, tag string, root document) error {
	isLog := artifact.IsChannelTag(tag)
	if !isLog || !c.dst.local {
		err := c.put(ctx, tag, root)
		if !isLog || statusOf(err) != http.StatusPreconditionRequired {
			return err
		}
	}
	c.done.Manifests++
	err := (&Repository{at: c.dst, way: Conditional}).putIf(ctx, tag, "", root)
	var there *MovedError
	if errors.As(err, &there) {
		return faults.New(faults.Refused, "`ampoule channel` writes it; copies of it go to other registries", "%s:%s is the log of a channel, and is there", c.dst.base, tag)
	}
	return err
}

// checkEvidence wants the destination to list what refers to something.
func (c *copying) checkEvidence(ctx context.Context) error {
	var sent []referring
	for _, e := range c.evidence {
		if e.tag == "" {
			sent = append(sent, referring{e.subject, e.digest(), e.artifactType})
		}
	}
	return c.dst.checkListed(ctx, "copying to "+c.dst.base, sent)
}

// sendBlobs sends what is not there, several at a time.
func (c *copying) sendBlobs(ctx context.Context) error {
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	for _, d := range c.blobs {
		group.Go(func() error { return c.sendBlob(sending, d) })
	}
	err := group.Wait()
	c.done.Sent, c.done.Bytes = int(c.sent.Load()), c.bytes.Load()
	c.done.Present = len(c.blobs) - c.done.Sent
	return err
}

// sendBlob sends one blob. A transfer that breaks begins again.
func (c *copying) sendBlob(ctx context.Context, d v1.Descriptor) error {
	what := c.src.at(d.Digest.String())
	for try := 1; ; try++ {
		source := &sourceOf{copying: c, digest: d.Digest.String()}
		err := c.dst.upload(ctx, c.pusher, blob{digest: d.Digest.String(), size: d.Size, mediaType: types.OCILayer, open: source.open})
		read := source.err()
		switch {
		case err == nil:
			if source.opened.Load() {
				c.sent.Add(1)
				c.bytes.Add(d.Size)
			}
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("copying blob %s: %w", d.Digest, context.Cause(ctx))
		case try < copyTries && (retryLocal(read) || read == nil && retryLocal(err)):
			continue
		case read != nil:
			return c.src.convert("copying blob "+d.Digest.String(), what, c.src.asDamage(what, "blob "+d.Digest.String(), read))
		}
		return c.dst.convert("copying blob "+d.Digest.String(), c.dst.at(d.Digest.String()), err)
	}
}

// sourceOf reads a blob for an upload, and remembers what went wrong while it was read: the
// client that sends it may say something else.
type sourceOf struct {
	*copying
	digest string
	opened atomic.Bool
	failed atomic.Pointer[error]
}

func (s *sourceOf) open(ctx context.Context) (io.ReadCloser, error) {
	s.opened.Store(true)
	s.failed.Store(nil)
	r, err := s.src.openBlob(ctx, s.digest)
	if err != nil {
		s.failed.Store(&err)
		return nil, err
	}
	return watchedBlob{r, s}, nil
}

func (s *sourceOf) err() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

type watchedBlob struct {
	io.ReadCloser
	source *sourceOf
}

// Read implements [io.Reader].
func (w watchedBlob) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.source.failed.Store(&err)
	}
	return n, err
}
