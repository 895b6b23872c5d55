package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/faults"
)

// putIf writes a manifest under a tag with the headers of a condition, and returns the status.
func (s *shelf) putIf(m manifest, tag string, header ...string) int {
	s.t.Helper()
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, "http://"+ownHost+"/v2/web/manifests/"+tag, bytes.NewReader(raw))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", m.MediaType)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	drain(resp)
	if resp.Header.Get(artifact.ConditionsHeader) != artifact.Conditions {
		s.t.Error("the registry does not say which conditions it honours")
	}
	return resp.StatusCode
}

// log makes the manifest of a channel's log with some entries.
func (s *shelf) log(channel string, entries ...string) (manifest, string) {
	s.t.Helper()
	config := s.blob(artifact.EmptyType, []byte("{}"))
	m := manifest{SchemaVersion: 2, MediaType: artifact.ManifestType, ArtifactType: artifact.ChannelType, Config: &config, Annotations: map[string]string{artifact.AnnotationChannel: channel}}
	for _, e := range entries {
		m.Layers = append(m.Layers, s.blob("application/json", []byte(e)))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return m, hashOf(raw)
}

// A tag is written under a condition, and the log of a channel under no other.
func TestConditions(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	first, one := s.log("prod", "1")
	second, two := s.log("prod", "1", "2")
	for _, step := range []struct {
		name   string
		m      manifest
		tag    string
		header []string
		want   int
	}{
		{"a log without a condition", first, "channel-prod", nil, http.StatusPreconditionRequired},
		{"a new tag that should be there", first, "channel-prod", []string{"If-Match", artifact.EntityTag(one)}, http.StatusPreconditionFailed},
		{"a new tag", first, "channel-prod", []string{"If-None-Match", "*"}, http.StatusCreated},
		{"a new tag that is there", second, "channel-prod", []string{"If-None-Match", "*"}, http.StatusPreconditionFailed},
		{"a tag that names something else", second, "channel-prod", []string{"If-Match", artifact.EntityTag(two)}, http.StatusPreconditionFailed},
		{"both conditions", second, "channel-prod", []string{"If-Match", artifact.EntityTag(one), "If-None-Match", "*"}, http.StatusBadRequest},
		{"any tag", second, "channel-prod", []string{"If-Match", "*"}, http.StatusBadRequest},
		{"none of a list", second, "channel-prod", []string{"If-None-Match", artifact.EntityTag(two)}, http.StatusBadRequest},
		{"the tag", second, "channel-prod", []string{"If-Match", artifact.EntityTag(one)}, http.StatusCreated},
		{"the tag again", second, "channel-prod", []string{"If-Match", artifact.EntityTag(one)}, http.StatusPreconditionFailed},
		{"another tag, without a condition", second, "prod", nil, http.StatusCreated},
	} {
		if got := s.putIf(step.m, step.tag, step.header...); got != step.want {
			t.Errorf("%s: %d, want %d", step.name, got, step.want)
		}
	}
}

// Logs are no artifacts, and stay with what their channels hold; nobody removes either by
// accident, through which process ever.
func TestChannelsAreKept(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("1", noise(100))
	index := manifest{MediaType: artifact.IndexType, Manifests: []descriptor{m.image}}
	hold := artifact.ChannelHoldTag("prod", m.index.Digest)
	if status := s.putIf(index, hold); status != http.StatusCreated {
		t.Fatalf("holding: %d", status)
	}
	first, one := s.log("prod", "1")
	second, two := s.log("prod", "1", "2")
	s.putIf(first, "channel-prod", "If-None-Match", "*")
	s.putIf(second, "channel-prod", "If-Match", artifact.EntityTag(one))
	other := Open(s.dir)
	t.Cleanup(func() { _ = other.Close() })
	all, err := other.Artifacts(t.Context())
	if err != nil || len(all) != 1 || all[0].Digest != m.index.Digest || !all[0].Held {
		t.Errorf("%+v, %v", all, err)
	}
	for _, target := range []Target{{Name: "web", Tag: "channel-prod"}, {Name: "web", Tag: hold}, {Name: "web", Digest: m.index.Digest}, {Name: "web", Digest: two}} {
		for _, r := range []*Registry{s.Registry, other} {
			var kept *ChannelError
			if err := r.Remove(t.Context(), target); !errors.As(err, &kept) || kept.Channel != "prod" || kept.Hint() == "" || faults.Of(err) != faults.Refused {
				t.Errorf("%s: %v", target, err)
			}
		}
	}
	s.age(100 * 24 * time.Hour)
	if _, err := s.Collect(t.Context(), Keep{Unused: 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	for digest, want := range map[string]bool{m.index.Digest: true, two: true, one: false} {
		if got := s.there(descriptor{Digest: digest}); got != want {
			t.Errorf("%s is there: %t", digest, got)
		}
	}
	if err := s.Unhold(t.Context(), Target{Name: "web", Tag: hold}); err != nil {
		t.Error(err)
	}
	if err := s.Remove(t.Context(), Target{Name: "web", Digest: m.index.Digest}); err != nil {
		t.Error(err)
	}
}

// A repository whose list is lost finds the logs of its channels again: the longest ones.
func TestLogsAreFoundAgain(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	first, one := s.log("prod", "1")
	second, two := s.log("prod", "1", "2")
	s.putIf(first, "channel-prod", "If-None-Match", "*")
	s.putIf(second, "channel-prod", "If-Match", artifact.EntityTag(one))
	if err := os.Remove(filepath.Join(s.dir, rootName, "web", indexName)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if status := s.putIf(first, "channel-prod", "If-Match", artifact.EntityTag(two)); status != http.StatusCreated {
		t.Errorf("the longest log does not have its tag: %d", status)
	}
}
