package remote

import (
	"context"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/service/client"
	"ampoule/service/wire"
)

// Artifacts are those of a server's registry.
type Artifacts struct{ Client *client.Client }

// Find gives the name and the digest that a reference stands for: NAME@sha256:…, NAME:CHANNEL,
// NAME:TAG, or NAME alone, which is the newest one of that name.
func (a Artifacts) Find(ctx context.Context, ref string) (name, digest string, err error) {
	if name, digest, pinned := strings.Cut(ref, "@"); pinned {
		return name, digest, nil
	}
	name, tag, tagged := strings.Cut(ref, ":")
	if tagged {
		digest, err := a.followed(ctx, name, tag)
		if digest != "" || err != nil {
			return name, digest, err
		}
	}
	all, err := a.Client.Artifacts(ctx, name)
	if err != nil {
		return "", "", err
	}
	for _, one := range all.Artifacts {
		if !tagged || slices.Contains(one.Tags, tag) {
			return name, one.Digest, nil
		}
	}
	return "", "", faults.New(faults.NotFound, "list what is there with `ampoule list`", "%s: the registry of %s has no such artifact", ref, a.Client)
}

// followed is what a channel names; empty where there is no such channel.
func (a Artifacts) followed(ctx context.Context, name, channel string) (string, error) {
	of, err := a.Client.Channel(ctx, name, channel)
	switch kind := faults.Of(err); {
	case err == nil && of.Digest == "" && len(of.Entries) > 0:
		return "", faults.New(faults.Refused, "", "channel %s of %s names nothing: what it named is revoked", channel, name)
	case err == nil:
		return of.Digest, nil
	case kind == faults.NotFound || kind == faults.Undecided || kind == faults.Input:
		return "", nil // a server without channels, or a tag that could be none
	}
	return "", err
}

// Described is what a server said of one artifact. It answers as a registry would that has this one
// alone.
type Described struct{ said wire.Description }

// Describe asks for an artifact.
func (a Artifacts) Describe(ctx context.Context, name, digest string) (Described, error) {
	d, err := a.Client.Artifact(ctx, name, digest)
	return Described{d}, err
}

// Resolve gives the artifact's description, without the bytes that the registry has of it.
func (d Described) Resolve(context.Context, string) (registry.Description, error) {
	out := registry.Description{Ref: d.said.Ref, Name: d.said.Name, Digest: d.said.Digest}
	for _, i := range d.said.Images {
		image := registry.ImageInfo{
			Platform: i.Platform, Digest: i.Digest, Created: i.Created,
			Config: artifact.Config{Entrypoint: i.Entrypoint, Cmd: i.Command, Env: i.Env, Labels: i.Labels},
		}
		for _, l := range i.Layers {
			image.Layers = append(image.Layers, registry.LayerInfo{Name: l.Name, Base: l.Base, DiffID: l.DiffID, Digest: l.Digest, Size: l.Size})
		}
		out.Images = append(out.Images, image)
	}
	return out, nil
}

// Referrers lists what refers to the artifact; an empty type is every one.
func (d Described) Referrers(_ context.Context, _, artifactType string) ([]registry.ReferrerInfo, error) {
	var out []registry.ReferrerInfo
	for _, r := range d.said.Referrers {
		if artifactType != "" && r.Type != artifactType {
			continue
		}
		one := registry.ReferrerInfo{Digest: r.Digest, ArtifactType: r.Type, Annotations: map[string]string{}}
		if r.Group != "" {
			one.Annotations[artifact.AnnotationGroup] = r.Group
		}
		for _, f := range r.Files {
			one.Files = append(one.Files, registry.FileInfo{Name: f.Name, Digest: f.Digest, Size: f.Size})
		}
		out = append(out, one)
	}
	return out, nil
}
