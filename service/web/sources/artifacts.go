// Package sources makes what the pages show of what there is: the queue's builds and logs, the
// registry's artifacts, and the channels' logs.
package sources

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/contents"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
	"ampoule/sbom"
	"ampoule/service/web"
)

// maxVerdict bounds a verdict, in bytes.
const maxVerdict = 16 << 20

// rememberedArtifacts is how many artifacts are kept as they were read: what a digest names never
// changes.
const rememberedArtifacts = 64

// Published is a registry that artifacts are read from; [*registry.Registry] is one.
type Published interface {
	contents.Source
	Evidence(ctx context.Context, ref string) ([]registry.Evidence, error)
}

// Listed is a registry that can be listed; [*embedded.Registry] is one.
type Listed interface {
	Artifacts(ctx context.Context) ([]embedded.Artifact, error)
}

// Artifacts are a registry's.
type Artifacts struct {
	From Published
	// List is nil where the registry cannot be listed. Then Done lists what builds have published.
	List Listed
	Done func(ctx context.Context, name string) ([]web.ArtifactSummary, error)
	// Reference is how an artifact of a name and digest is found in the registry; nil is
	// NAME@DIGEST.
	Reference func(name, digest string) string
	// Platform is the one whose image is looked into, as OS/ARCH.
	Platform string
	// Keys are those whose signatures are told by name, as they are now; may be nil.
	Keys func(ctx context.Context) map[string]keys.Public

	mu    sync.Mutex
	known map[string]web.Artifact
	order []string
}

// Artifacts lists what is published, the newest first.
func (a *Artifacts) Artifacts(ctx context.Context, name string) ([]web.ArtifactSummary, error) {
	if a.List == nil {
		if a.Done == nil {
			return nil, nil
		}
		return a.Done(ctx, name)
	}
	all, err := a.List.Artifacts(ctx)
	if err != nil {
		return nil, err
	}
	var list []web.ArtifactSummary
	for _, one := range all {
		if one.Digest != "" && (name == "" || one.Name == name) && one.Python != "" {
			list = append(list, summary(one))
		}
	}
	slices.SortStableFunc(list, func(a, b web.ArtifactSummary) int {
		return cmp.Or(b.Published.Compare(a.Published), cmp.Compare(a.Ref, b.Ref))
	})
	return list, nil
}

// at is the registry's reference of NAME@DIGEST.
func (a *Artifacts) at(ref string) string {
	name, digest, ok := strings.Cut(ref, "@")
	if a.Reference == nil || !ok {
		return ref
	}
	return a.Reference(name, digest)
}

func summary(a embedded.Artifact) web.ArtifactSummary {
	s := web.ArtifactSummary{Ref: a.Name + "@" + a.Digest, Name: a.Name, Digest: a.Digest, Python: a.Python, Published: a.Published, Bytes: a.Bytes}
	for _, tag := range a.Tags {
		if artifact.IsChannel(tag) {
			s.Channels = append(s.Channels, tag)
		}
	}
	return s
}

// Artifact reads all that is published of an artifact. What cannot be read is told in it, unless
// nothing can.
func (a *Artifacts) Artifact(ctx context.Context, ref string) (web.Artifact, error) {
	whole, err := a.read(ctx, ref)
	if err != nil {
		return whole, err
	}
	list, err := a.Artifacts(ctx, whole.Name)
	if i := slices.IndexFunc(list, func(s web.ArtifactSummary) bool { return s.Ref == ref }); err == nil && i >= 0 {
		whole.Published, whole.Channels = list[i].Published, list[i].Channels
	}
	// What refers to a digest grows.
	whole.Evidence, err = a.evidence(ctx, ref)
	if err != nil {
		whole.Unknown = append(slices.Clone(whole.Unknown), "signatures and statements: "+err.Error())
	}
	return whole, nil
}

// read reads what never changes, and remembers it where all of it could be read.
func (a *Artifacts) read(ctx context.Context, ref string) (web.Artifact, error) {
	a.mu.Lock()
	known, ok := a.known[ref]
	a.mu.Unlock()
	if ok {
		return known, nil
	}
	d, err := a.From.Resolve(ctx, a.at(ref))
	if err != nil {
		return web.Artifact{}, err
	}
	w := described(ref, d)
	tell := func(what string, err error) {
		if err != nil {
			w.Unknown = append(w.Unknown, what+": "+err.Error())
		}
	}
	tell("its files", a.weigh(ctx, ref, &w))
	tell("the verdict", a.verdict(ctx, ref, &w))
	tell("the bill of materials", a.bill(ctx, ref, &w))
	if ctx.Err() != nil {
		return web.Artifact{}, context.Cause(ctx)
	}
	if len(w.Unknown) == 0 {
		a.remember(ref, w)
	}
	return w, nil
}

func (a *Artifacts) remember(ref string, w web.Artifact) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = map[string]web.Artifact{}
	}
	if _, ok := a.known[ref]; !ok {
		a.order = append(a.order, ref)
	}
	a.known[ref] = w
	if len(a.order) > rememberedArtifacts {
		delete(a.known, a.order[0])
		a.order = a.order[1:]
	}
}

// described is what the manifests say.
func described(ref string, d registry.Description) web.Artifact {
	name, _, _ := strings.Cut(ref, "@")
	w := web.Artifact{ArtifactSummary: web.ArtifactSummary{Ref: ref, Name: name, Digest: d.Digest}}
	for _, i := range d.Images {
		labels, err := artifact.ParseLabels(i.Config.Labels)
		if err != nil {
			w.Unknown = append(w.Unknown, fmt.Sprintf("the labels of %s: %v", i.Platform, err))
		}
		w.Python, w.Key, w.Fingerprint, w.Tree, w.Prefix = labels.Python, labels.Key, labels.Fingerprint, labels.Tree, labels.Prefix
		if labels.Repeatable != nil {
			w.Repeatable = fmt.Sprint(*labels.Repeatable)
		}
		image := web.Image{Platform: i.Platform, Digest: i.Digest, Command: slices.Concat(i.Config.Entrypoint, i.Config.Cmd)}
		for _, l := range i.Layers {
			image.Layers = append(image.Layers, web.Layer{Name: l.Name, Digest: l.Digest, Base: l.Base, Bytes: l.Size})
			w.Bytes += l.Size
		}
		w.Images = append(w.Images, image)
	}
	return w
}

// weigh says how much of the tree is of what.
func (a *Artifacts) weigh(ctx context.Context, ref string, w *web.Artifact) (err error) {
	open, err := contents.Open(ctx, a.From, a.at(ref), a.Platform)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, open.Close()) }()
	parts := map[string]*web.Part{}
	for _, e := range open.Tree.Entries() {
		part, ok := parts[e.Owner]
		if !ok {
			p := partOf(e.Owner, open)
			part = &p
			parts[e.Owner] = part
		}
		if e.Owner == "" {
			continue // a directory is of all that is in it
		}
		part.Bytes += e.Size
		part.Files++
	}
	delete(parts, "")
	for _, p := range parts {
		w.Parts = append(w.Parts, *p)
		w.TreeBytes += p.Bytes
	}
	slices.SortFunc(w.Parts, func(a, b web.Part) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name))
	})
	if open.Bill != nil {
		w.Bill = &web.Bill{Base: open.Bill.Base(), Inputs: open.Bill.Inputs()}
		for _, e := range open.Tree.Entries() {
			if p, ok := open.Bill.Carried(e.Path); ok {
				w.Bill.Carried = append(w.Bill.Carried, web.CarriedFile{Path: e.Path, Package: p})
			}
		}
	}
	return nil
}

// partOf names what owns files of a tree.
func partOf(owner string, of *contents.Artifact) web.Part {
	if name, ok := strings.CutPrefix(owner, audit.OwnerWheel); ok {
		p := web.Part{Kind: "distribution", Name: name}
		for _, w := range of.Record.Wheels {
			if packaging.NormalName(w.Name) == name {
				p.Version = w.Version
			}
		}
		return p
	}
	switch owner {
	case audit.OwnerInterpreter:
		return web.Part{Kind: "interpreter", Name: "CPython", Version: of.Labels.Python}
	case "native":
		return web.Part{Kind: "carried", Name: "libraries and data"}
	case "app":
		return web.Part{Kind: "application", Name: "the recipe's own code"}
	case "metadata":
		return web.Part{Kind: "metadata", Name: "what tells of the artifact"}
	}
	return web.Part{Kind: "other", Name: owner}
}

// verdict reads the gate's verdict, where one is published.
func (a *Artifacts) verdict(ctx context.Context, ref string, w *web.Artifact) error {
	found, err := a.From.Referrers(ctx, a.at(ref), artifact.VerdictType)
	if err != nil {
		return err
	}
	for _, r := range found {
		for _, f := range r.Files {
			if f.Name != artifact.VerdictFile || f.Size > maxVerdict {
				continue
			}
			data, err := a.readFile(ctx, f)
			if err != nil {
				return err
			}
			var v audit.Verdict
			if err := json.Unmarshal(data, &v); err != nil {
				return fmt.Errorf("reading %s: %w", f.Name, err)
			}
			if v.Group == "" {
				w.Verdict = &v
				return nil
			}
		}
	}
	return nil
}

func (a *Artifacts) readFile(ctx context.Context, f registry.FileInfo) ([]byte, error) {
	r, err := a.From.OpenFile(ctx, f)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxVerdict))
	return data, errors.Join(err, r.Close())
}

// bill reads the bill of materials where the files could not be.
func (a *Artifacts) bill(ctx context.Context, ref string, w *web.Artifact) error {
	if w.Bill != nil || len(w.Unknown) == 0 {
		return nil
	}
	data, err := contents.Bill(ctx, a.From, a.at(ref))
	if faults.Of(err) == faults.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	d, err := sbom.Read(data)
	if err == nil {
		w.Bill = &web.Bill{Base: d.Base(), Inputs: d.Inputs()}
	}
	return err
}

// Bill is the bill of materials as it was published.
func (a *Artifacts) Bill(ctx context.Context, ref string) ([]byte, error) {
	return contents.Bill(ctx, a.From, a.at(ref))
}

// evidence lists signatures and statements, whoever made them.
func (a *Artifacts) evidence(ctx context.Context, ref string) ([]web.Evidence, error) {
	found, err := a.From.Evidence(ctx, a.at(ref))
	if err != nil {
		return nil, err
	}
	var named map[string]keys.Public
	if a.Keys != nil && len(found) > 0 {
		named = a.Keys(ctx)
	}
	list := make([]web.Evidence, 0, len(found))
	for _, raw := range found {
		list = append(list, shownEvidence(raw, named))
	}
	slices.SortStableFunc(list, func(a, b web.Evidence) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), a.Time.Compare(b.Time))
	})
	return list, nil
}

// kinds of statements in a word, by the beginning of their predicate's type.
var statements = []struct{ prefix, word string }{
	{evidence.VerdictType, "verdict"},
	{"https://slsa.dev/provenance/", "provenance"},
	{"https://in-toto.io/attestation/test-result/", "test result"},
	{"https://cyclonedx.org/bom", "bill of materials"},
	{"https://ampoule.dev/approval/", "approval"},
}

// shownEvidence is a signature or a statement, with the names of the keys that have signed it.
func shownEvidence(raw registry.Evidence, named map[string]keys.Public) web.Evidence {
	item, err := evidence.Parse(raw)
	if err = cmp.Or(raw.Err, err); err != nil {
		return web.Evidence{Type: "statement", Wrong: err.Error()}
	}
	e := web.Evidence{Type: "signature", Time: item.Time}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if item.Signed(named[name]) {
			e.By = append(e.By, name)
		}
	}
	if item.PredicateType == evidence.SignatureType {
		return e
	}
	e.Type, e.Predicate = "statement", item.PredicateType
	for _, s := range statements {
		if strings.HasPrefix(e.Predicate, s.prefix) {
			e.Type = s.word
		}
	}
	var b bytes.Buffer
	if json.Indent(&b, item.Statement.Predicate, "", "  ") == nil {
		e.Statement = b.String()
	}
	return e
}

// Diff says how two artifacts differ.
func (a *Artifacts) Diff(ctx context.Context, from, to string) (_ *contents.Diff, err error) {
	one, err := contents.Open(ctx, a.From, a.at(from), a.Platform)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	other, err := contents.Open(ctx, a.From, a.at(to), a.Platform)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, other.Close()) }()
	return contents.Compare(one, other)
}
