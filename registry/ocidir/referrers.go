package ocidir

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ampoule/artifact"
)

// evidenceTag matches the tags that belong to a digest: of the referrers tag schema
// (distribution specification), and those that cosign makes.
var evidenceTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.[a-z]+)?$`)

func isEvidenceTag(tag string) bool { return evidenceTag.MatchString(tag) }

// schemaTag is the tag of the list of what refers to a digest (distribution specification,
// "Referrers tag schema").
func schemaTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// referrers lists what refers to a digest, each once.
func (l *Layout) referrers(subject string) (*v1.IndexManifest, error) {
	index, err := l.index()
	if err != nil {
		return nil, err
	}
	found := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	seen := map[v1.Hash]bool{}
	add := func(list ...v1.Descriptor) {
		for _, d := range list {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				found.Manifests = append(found.Manifests, d)
			}
		}
	}
	for _, d := range index.Manifests {
		if !isManifest(d) {
			continue
		}
		m, err := l.manifest(d.Digest.String())
		if errors.Is(err, fs.ErrNotExist) {
			continue // a list may be longer than what was kept
		}
		if err != nil {
			return nil, err
		}
		switch {
		case d.Annotations[olaregSubject] == subject, d.Annotations[artifact.AnnotationRefName] == schemaTag(subject):
			add(m.Manifests...)
		case m.Subject != nil && m.Subject.Digest.String() == subject:
			add(m.referrer(d))
		}
	}
	return found, nil
}

// referrer is how a list of referrers has a manifest (distribution specification, "Listing
// referrers").
func (d *described) referrer(at v1.Descriptor) v1.Descriptor {
	r := v1.Descriptor{
		MediaType: types.MediaType(d.mediaType()), Size: int64(len(d.raw)), Digest: at.Digest,
		ArtifactType: d.ArtifactType, Annotations: d.Annotations,
	}
	if r.ArtifactType == "" && d.Config != nil {
		r.ArtifactType = string(d.Config.MediaType)
	}
	return r
}
