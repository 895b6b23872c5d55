package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/contents"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/problem"
	"ampoule/service/wire"
)

const artifactsTag = "artifacts"

func (s *Server) addArtifacts() {
	add(s, needs(tokens.Read), get("list-artifacts", "/v1/artifacts", "Lists what the registry has", artifactsTag), s.listArtifacts)
	add(s, needs(tokens.Read), get("get-artifact", "/v1/artifacts/{digest}", "Describes an artifact", artifactsTag), s.getArtifact)
	add(s, needs(tokens.Read), get("get-verdict", "/v1/artifacts/{digest}/verdict", "Gives the gate's verdict about an artifact", artifactsTag), s.getVerdict)
	add(s, needs(tokens.Read), get("get-sbom", "/v1/artifacts/{digest}/sbom", "Gives an artifact's bill of materials (CycloneDX)", artifactsTag), s.getBill)
	add(s, needs(tokens.Read), get("diff", "/v1/diff", "Says how two artifacts differ", artifactsTag), s.diff)
}

// missing says that this server does not have something.
func missing(what string) error {
	return problem.New(http.StatusNotImplemented, faults.Undecided, "", "this server has no %s", what)
}

type artifactsInput struct {
	Name string `query:"name" maxLength:"255" doc:"Only those of this name"`
}

type artifactsOutput struct{ Body wire.Artifacts }

func (s *Server) listArtifacts(ctx context.Context, caller access.Caller, in *artifactsInput) (*artifactsOutput, error) {
	if s.Artifacts == nil {
		return nil, missing("registry that can be listed")
	}
	all, err := s.Artifacts.Artifacts(ctx)
	if err != nil {
		return nil, err
	}
	out := &artifactsOutput{wire.Artifacts{Artifacts: []wire.Artifact{}}}
	for _, a := range all {
		if a.Digest == "" || in.Name != "" && a.Name != in.Name || !caller.May(tokens.Read, a.Name, "") {
			continue
		}
		out.Body.Artifacts = append(out.Body.Artifacts, wire.Artifact{
			Name: a.Name, Digest: a.Digest, Ref: s.shown(a.Name, a.Digest), Key: a.Key, Python: a.Python, Tags: a.Tags, Groups: a.Groups,
			Published: a.Published, Bytes: a.Bytes, Whole: a.Whole,
		})
	}
	slices.SortStableFunc(out.Body.Artifacts, func(a, b wire.Artifact) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), b.Published.Compare(a.Published), cmp.Compare(a.Digest, b.Digest))
	})
	return out, nil
}

type artifactInput struct {
	Digest string `path:"digest" pattern:"^sha256:[0-9a-f]{64}$" doc:"The artifact's digest"`
	Name   string `query:"name" required:"true" maxLength:"255" doc:"The artifact's name"`
}

// isName reports whether a text names a repository of this server. One that begins with a host would
// be asked for there.
func isName(text string) bool {
	first, _, below := strings.Cut(text, "/")
	return artifact.IsRepository(text) && !(below && (strings.Contains(first, ".") || first == "localhost"))
}

// resolve finds an artifact of the server's own registry: a name has no host in it.
func (s *Server) resolve(ctx context.Context, caller access.Caller, name, digest string) (registry.Description, error) {
	if !isName(name) {
		return registry.Description{}, wrongParameter("name", name, "a repository's names, such as team/web")
	}
	if err := caller.Require(tokens.Read, name, ""); err != nil {
		return registry.Description{}, err
	}
	if s.Source == nil {
		return registry.Description{}, missing("registry")
	}
	return s.Source.Resolve(ctx, s.Reference(name, digest))
}

type descriptionOutput struct{ Body wire.Description }

func (s *Server) getArtifact(ctx context.Context, caller access.Caller, in *artifactInput) (*descriptionOutput, error) {
	d, err := s.resolve(ctx, caller, in.Name, in.Digest)
	if err != nil {
		return nil, err
	}
	referrers, err := s.Source.Referrers(ctx, d.Ref, "")
	if err != nil {
		return nil, err
	}
	return &descriptionOutput{described(in.Name, d, referrers)}, nil
}

// described is what the registry says of an artifact, as it goes over the wire.
func described(name string, d registry.Description, referrers []registry.ReferrerInfo) wire.Description {
	out := wire.Description{Name: name, Digest: d.Digest, Ref: d.Ref, Images: []wire.Image{}, Referrers: []wire.Referrer{}}
	for _, i := range d.Images {
		image := wire.Image{
			Platform: i.Platform, Digest: i.Digest, Created: i.Created, Entrypoint: i.Config.Entrypoint, Command: i.Config.Cmd, Env: i.Config.Env,
			Labels: i.Config.Labels, Layers: []wire.Layer{},
		}
		for _, l := range i.Layers {
			image.Layers = append(image.Layers, wire.Layer{Name: l.Name, Base: l.Base, Digest: l.Digest, DiffID: l.DiffID, Size: l.Size})
		}
		out.Images = append(out.Images, image)
	}
	for _, r := range referrers {
		one := wire.Referrer{Type: r.ArtifactType, Digest: r.Digest, Group: r.Annotations[artifact.AnnotationGroup]}
		for _, f := range r.Files {
			one.Files = append(one.Files, wire.File{Name: f.Name, Digest: f.Digest, Size: f.Size})
		}
		out.Referrers = append(out.Referrers, one)
	}
	return out
}

const jsonType = "application/json"

// maxVerdict bounds a verdict, in bytes.
const maxVerdict = 64 << 20

func (s *Server) getVerdict(ctx context.Context, caller access.Caller, in *artifactInput) (*fileOutput, error) {
	d, err := s.resolve(ctx, caller, in.Name, in.Digest)
	if err != nil {
		return nil, err
	}
	referrers, err := s.Source.Referrers(ctx, d.Ref, artifact.VerdictType)
	if err != nil {
		return nil, err
	}
	for _, r := range referrers {
		if r.Annotations[artifact.AnnotationGroup] != "" {
			continue
		}
		for _, f := range r.Files {
			if f.Name == artifact.VerdictFile {
				data, err := s.readFile(ctx, f)
				return &fileOutput{jsonType, data}, err
			}
		}
	}
	return nil, faults.New(faults.NotFound, "", "%s has no verdict", d.Ref)
}

func (s *Server) readFile(ctx context.Context, f registry.FileInfo) (_ []byte, err error) {
	r, err := s.Source.OpenFile(ctx, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(io.LimitReader(r, maxVerdict))
}

func (s *Server) getBill(ctx context.Context, caller access.Caller, in *artifactInput) (*fileOutput, error) {
	d, err := s.resolve(ctx, caller, in.Name, in.Digest)
	if err != nil {
		return nil, err
	}
	data, err := contents.Bill(ctx, s.Source, d.Ref)
	return &fileOutput{jsonType, data}, err
}

type diffInput struct {
	Name   string `query:"name" required:"true" maxLength:"255" doc:"The name of the first artifact"`
	From   string `query:"from" required:"true" pattern:"^sha256:[0-9a-f]{64}$" doc:"Its digest"`
	ToName string `query:"to-name" maxLength:"255" doc:"The name of the second one; default: the same"`
	To     string `query:"to" required:"true" pattern:"^sha256:[0-9a-f]{64}$" doc:"Its digest"`
}

// diffs is a place for each comparison at a time: it unpacks both artifacts.
var diffs = make(chan struct{}, 2)

func (s *Server) diff(ctx context.Context, caller access.Caller, in *diffInput) (_ *fileOutput, err error) {
	select {
	case diffs <- struct{}{}:
		defer func() { <-diffs }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	a, err := s.opened(ctx, caller, in.Name, in.From)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	b, err := s.opened(ctx, caller, cmp.Or(in.ToName, in.Name), in.To)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	d, err := contents.Compare(a, b)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("writing a difference: %w", err)
	}
	return &fileOutput{jsonType, data}, nil
}

// opened reads an artifact, for its first platform.
func (s *Server) opened(ctx context.Context, caller access.Caller, name, digest string) (*contents.Artifact, error) {
	d, err := s.resolve(ctx, caller, name, digest)
	if err != nil {
		return nil, err
	}
	if len(d.Images) == 0 {
		return nil, faults.New(faults.NotFound, "", "%s has no image", d.Ref)
	}
	return contents.Open(ctx, s.Source, d.Ref, d.Images[0].Platform)
}
