package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
)

// file is a file of a log: entries of one, or a segment of them.
type file struct {
	mediaType string
	content   []byte
}

// entry is a file of one entry.
func entry(i int) file { return file{"application/json", fmt.Appendf(nil, `{"n":%d}`, i)} }

// singles are files of entries, one each.
func singles(from, to int) (all []file) {
	for i := from; i <= to; i++ {
		all = append(all, entry(i))
	}
	return all
}

// segment is a file of a thousand entries.
func segment(from int) file {
	var b bytes.Buffer
	for i := from; i < from+artifact.ChannelSegment; i++ {
		b.Write(entry(i).content)
		b.WriteByte('\n')
	}
	return file{artifact.ChannelSegmentType, b.Bytes()}
}

// log is the manifest of a channel's log, which says what the channel names.
func (s *served) log(secret, names string, files ...file) []byte {
	s.t.Helper()
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	describe := func(f file) descriptor {
		return descriptor{f.mediaType, s.blob(secret, "web", f.content), len(f.content)}
	}
	layers := []descriptor{}
	for _, f := range files {
		layers = append(layers, describe(f))
	}
	says := map[string]string{artifact.AnnotationChannel: "prod"}
	if names != "" {
		says[artifact.AnnotationChannelNames] = names
	}
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": artifact.ManifestType, "artifactType": artifact.ChannelType,
		"config": describe(file{artifact.EmptyType, []byte("{}")}), "layers": layers, "annotations": says,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return raw
}

// over is the condition that a tag names that.
func over(manifest []byte) map[string]string {
	return map[string]string{"If-Match": artifact.EntityTag(digestOf(manifest))}
}

// Whoever may push may add to the log of a channel. Nobody takes anything out of it.
func TestLogsOnlyGrow(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	secret := s.token("all", time.Time{}, "push:*")
	three := s.log(secret, "", singles(1, 3)...)
	if got := s.put(secret, "web", "channel-prod", three, map[string]string{"If-None-Match": "*"}); got.status != http.StatusCreated {
		t.Fatalf("%d %s", got.status, got.body)
	}
	full := append([]file{segment(1)}, singles(1001, 1999)...)
	whole := []file{segment(1), segment(1001)}
	for _, step := range []struct {
		name   string
		before []byte
		after  []file
		want   int
	}{
		{"cut off", three, singles(1, 2), http.StatusConflict},
		{"an entry exchanged", three, append(singles(1, 2), entry(9), entry(4)), http.StatusConflict},
		{"the first entry gone", three, singles(2, 5), http.StatusConflict},
		{"nothing", three, nil, http.StatusConflict},
		{"one more", three, singles(1, 4), http.StatusCreated},
		{"several more, in segments", s.log(secret, "", singles(1, 4)...), full, http.StatusCreated},
		{"another segment", s.log(secret, "", full...), []file{segment(2), segment(1001)}, http.StatusConflict},
		{"a segment without the last ones", s.log(secret, "", full...), append([]file{segment(1)}, segment(1002)), http.StatusConflict},
		{"entries become a segment", s.log(secret, "", full...), whole, http.StatusCreated},
		{"a segment gone", s.log(secret, "", whole...), whole[:1], http.StatusConflict},
	} {
		if got := s.put(secret, "web", "channel-prod", s.log(secret, "", step.after...), over(step.before)); got.status != step.want {
			t.Errorf("%s: %d, want %d: %s", step.name, got.status, step.want, got.body)
		}
	}
	if got := s.put(secret, "web", "channel-prod", s.log(secret, "", singles(1, 9)...), over(three)); got.status != http.StatusPreconditionFailed {
		t.Errorf("a log that is not there any more is followed: %d", got.status)
	}
}

// The tag of a channel's name goes where its log leads, and a hold names what it says. Other tags
// stay.
func TestTagsOfChannels(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Mutable: []string{"prod", "latest"}})
	secret := s.token("all", time.Time{}, "push:*")
	blob := s.blob(secret, "web", []byte("{}"))
	one, two, three := image(blob, 2, "one"), image(blob, 2, "two"), image(blob, 2, "three")
	hold := func(manifest []byte) string { return artifact.ChannelHoldTag("prod", digestOf(manifest)) }
	begin := s.log(secret, digestOf(two), singles(1, 1)...)
	next := s.log(secret, digestOf(three), singles(1, 2)...)
	old := s.log(secret, "", singles(1, 3)...)
	for i, step := range []struct {
		tag      string
		manifest []byte
		header   map[string]string
		want     int
	}{
		{"prod", one, nil, http.StatusCreated}, // no channel yet
		{hold(two), one, nil, http.StatusConflict},
		{hold(two), two, nil, http.StatusCreated},
		{"channel-prod", begin, map[string]string{"If-None-Match": "*"}, http.StatusCreated},
		{"prod", three, nil, http.StatusPreconditionFailed},
		{"prod", two, over(one), http.StatusCreated},
		{digestOf(three) + "?tag=prod", three, nil, http.StatusPreconditionFailed},
		{hold(three), three, nil, http.StatusCreated},
		{"channel-prod", next, over(begin), http.StatusCreated},
		{"prod", two, nil, http.StatusPreconditionFailed}, // a writer that is late
		{"prod", three, over(two), http.StatusCreated},
		{"channel-prod", old, over(next), http.StatusCreated}, // a version that says nothing
		{"prod", one, nil, http.StatusPreconditionFailed},
		{"prod", two, over(three), http.StatusCreated}, // it is held
		{"eu-prod", one, nil, http.StatusCreated},
		{"eu-prod", two, nil, http.StatusConflict},
		{"latest", one, nil, http.StatusCreated},
		{"latest", two, nil, http.StatusCreated},
		{"channel-prod.000001", begin, map[string]string{"If-None-Match": "*"}, http.StatusCreated},
		{"channel-prod.000001", next, over(begin), http.StatusConflict},
	} {
		if got := s.put(secret, "web", step.tag, step.manifest, step.header); got.status != step.want {
			t.Errorf("step %d: %s is answered with %d, want %d: %s", i+1, strings.SplitN(step.tag, "?", 2)[0], got.status, step.want, got.body)
		}
	}
}
