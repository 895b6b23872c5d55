package embedded

import (
	"testing"
	"time"

	"ampoule/artifact"
)

// Signatures are no artifacts of their own: they count as a part of theirs, stay with it, and
// go with it. Those of what refers to the artifact do, too.
func TestSignaturesBelongToTheirArtifact(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("1", noise(100))
	before, err := s.Artifacts(t.Context())
	if err != nil || len(before) != 1 {
		t.Fatalf("%+v, %v", before, err)
	}
	file := s.blob("application/json", []byte("a group"))
	group := s.manifest(manifest{MediaType: artifact.ManifestType, ArtifactType: artifact.GroupType, Config: &file, Layers: []descriptor{file}, Subject: &m.index}, "")
	bill := s.manifest(manifest{MediaType: artifact.ManifestType, ArtifactType: artifact.SBOMType, Config: &file, Layers: []descriptor{file}, Subject: &group}, "")
	with, err := s.Artifacts(t.Context())
	if err != nil || len(with) != 1 || with[0].Bytes < before[0].Bytes+file.Size+group.Size+bill.Size {
		t.Errorf("with a group %+v, without %+v, %v", with, before, err)
	}
	before = with
	parts := []descriptor{file, group, bill}
	for _, tag := range []string{
		artifact.SignatureTag(m.index.Digest), artifact.AttestationTag(m.index.Digest), artifact.SignatureTag(group.Digest), artifact.AttestationTag(group.Digest),
	} {
		payload := s.blob("application/json", []byte(tag))
		parts = append(parts, payload, s.manifest(manifest{MediaType: artifact.ManifestType, Config: &payload, Layers: []descriptor{payload}}, tag))
	}
	after, err := s.Artifacts(t.Context())
	if err != nil || len(after) != 1 || after[0].Digest != m.index.Digest || after[0].Held || after[0].Bytes <= before[0].Bytes {
		t.Errorf("%+v, %v", after, err)
	}
	s.age(3 * youth)
	if _, err := s.Collect(t.Context(), Keep{}); err != nil {
		t.Fatal(err)
	}
	for _, d := range parts {
		if !s.there(d) {
			t.Errorf("%s is collected before its artifact", d.Digest)
		}
	}
	s.age(100 * 24 * time.Hour)
	out, err := s.Collect(t.Context(), Keep{Unused: 24 * time.Hour})
	if err != nil || len(out.Artifacts) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	for _, d := range parts {
		if s.there(d) {
			t.Errorf("%s outlives its artifact", d.Digest)
		}
	}
}
