package channel

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/internal/registrytest"
	"ampoule/registry/trust/evidence"
)

// empty is a registry without artifacts.
func (s *scene) empty(h http.Handler) *host {
	s.t.Helper()
	web := httptest.NewServer(h)
	s.t.Cleanup(web.Close)
	return &host{s, strings.TrimPrefix(web.URL, "http://") + "/team", h}
}

// bring copies between the scene's registry and others.
func (s *scene) bring(ctx context.Context, from, to string) error {
	if _, err := registry.Copy(ctx, s.reg, from, s.reg, to); err != nil {
		return err
	}
	_, err := s.reg.CheckWhole(ctx, to)
	return err
}

// across writes prod of a host by a key, whose artifacts come from the scene's own registry.
func (s *scene) across(at *host, key string) *Writer {
	s.t.Helper()
	repo, err := at.registry().Repository("web")
	s.must(err)
	c := s.at(repo, "prod")
	c.Among(true, func(name string) (Repository, error) {
		if name == "prod" {
			return repo, nil
		}
		return s.repository("web"), nil
	})
	w, err := NewWriter(c, s.reg, s.judge, s.key(key))
	s.must(err)
	w.Bring(s.bring)
	return w
}

// A digest goes from a channel in one registry to one in another: the log there is verified, the
// artifact and its evidence are copied, and then the entry is written.
func TestAcrossRegistries(t *testing.T) {
	t.Parallel()
	for name, h := range writable(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			ctx := t.Context()
			at := s.empty(h)
			r := s.rulesOf(people + "- {name: prod, from: staging, approvals: {count: 1}}\n")
			w := s.across(at, "promote-1")
			w.Obey(r, nil)
			_, err := w.Promote(ctx, Promotion{From: "staging"})
			if faults.Of(err) != faults.NotFound {
				t.Errorf("from an empty channel: %v", err)
			}
			_, err = s.writer("staging", "promote-1").Promote(ctx, Promotion{Digest: s.a})
			s.must(err)
			_, err = w.Promote(ctx, Promotion{From: "staging"})
			refused(t, err, "wants 1 approvals")
			_, err = w.Promote(ctx, Promotion{Digest: s.b})
			refused(t, err, "channel web:staging names "+s.a)
			if at.named(artifact.ChannelHoldTag("prod", s.a)) != "" || at.there(s.a) {
				t.Error("what is refused was copied")
			}
			// Who approves does so where the artifact is now.
			ref, err := w.channel.Beside(ctx, r, s.reg, s.a)
			s.must(err)
			if ref != "web@"+s.a {
				t.Errorf("approvals belong to %s", ref)
			}
			approval, err := w.channel.Approve(ctx, r, s.key("approve-2"), evidence.Legacy, s.a, "")
			s.must(err)
			s.must(s.reg.AddEvidence(ctx, ref, approval))
			l, err := w.Promote(ctx, Promotion{From: "staging"})
			s.must(err)
			if e := l.Entries[0]; e.From != "staging" || e.Digest != s.a || len(e.Approvals) != 1 || len(e.Evidence) == 0 {
				t.Errorf("%+v", e)
			}
			found, err := at.registry().Evidence(ctx, "web@"+s.a)
			s.must(err)
			if len(found) != 1 || hashOf(found[0].Data) != l.Entries[0].Approvals[0].Hash {
				t.Errorf("the approval is not there: %+v", found)
			}
			checked, err := at.machine("prod", "promote-1", &memory{}).channel.CheckTargets(ctx, at.registry(), s.judge, 5)
			s.must(err)
			if len(checked) != 1 || len(checked[0].Problems) > 0 {
				t.Errorf("%+v", checked)
			}
			// What is in the other registry alone is promoted there, and what comes back is found there.
			if ref, err := w.channel.Beside(ctx, r, s.reg, s.c); err != nil || ref != "web@"+s.c {
				t.Errorf("%s, %v", ref, err)
			}
		})
	}
}

// there reports whether an artifact is in the host's registry.
func (h *host) there(digest string) bool {
	h.t.Helper()
	_, err := h.registry().Resolve(h.t.Context(), "web@"+digest)
	var missing *registry.NotFoundError
	if err != nil && !errors.As(err, &missing) {
		h.t.Fatal(err)
	}
	return err == nil
}

// breaking refuses to take something after so many writes.
type breaking struct {
	*counted
	after int
}

// ServeHTTP implements [http.Handler].
func (b breaking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.writes() >= b.after && (r.Method == http.MethodPut || r.Method == http.MethodPost) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	b.counted.ServeHTTP(w, r)
}

// Wherever a promotion between registries ends, the channel never names what is not whole, and it
// can be called again.
func TestCopyIsCutOff(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, err := s.writer("staging", "promote-1").Promote(t.Context(), Promotion{Digest: s.a})
	s.must(err)
	inner := served(t)
	ended := false
	for after := range 40 {
		at := s.empty(breaking{&counted{next: inner}, after})
		_, err := s.across(at, "promote-1").Promote(t.Context(), Promotion{From: "staging"})
		l, errRead := at.machine("prod", "promote-1", &memory{}).channel.Read(t.Context())
		s.must(errRead)
		if l.Digest == "" && err == nil {
			t.Fatal("a promotion left no entry")
		}
		if l.Digest != "" {
			if _, err := at.registry().CheckWhole(t.Context(), "web@"+l.Digest); err != nil {
				t.Errorf("after %d writes the channel names what is not whole: %v", after, err)
			}
			_, err = s.across(s.empty(inner), "promote-1").Refresh(t.Context())
			s.must(err)
			if at.named("prod") != s.a {
				t.Error("the tag is not mended")
			}
			ended = after > 5
			break
		}
	}
	if !ended {
		t.Error("it never ends")
	}
}

// A channel has a copy in a registry of any kind. It is read as the original, never written, and
// continued where it was cut off.
func TestMirror(t *testing.T) {
	t.Parallel()
	kinds := writable(t)
	kinds["tags that move"] = movable()
	for name, h := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			ctx := t.Context()
			at := s.empty(h)
			repo, err := at.registry().Repository("web")
			s.must(err)
			if _, err := s.channel("prod").Mirror(ctx, repo, s.bring, 2); faults.Of(err) != faults.NotFound {
				t.Errorf("an empty channel: %v", err)
			}
			mirror := func(before int, want ...string) {
				t.Helper()
				done, err := s.channel("prod").Mirror(ctx, repo, s.bring, 2)
				s.must(err)
				l, err := s.channel("prod").Read(ctx)
				s.must(err)
				if done.Before != before || !slices.Equal(done.Artifacts, want) || done.Digest != l.Digest || done.Entries != len(l.Entries) || done.Tag != (done.Way != registry.CreateOnly) {
					t.Errorf("%+v", done)
				}
				c := at.machine("prod", "promote-1", &memory{}).channel
				read, err := c.Read(ctx)
				s.must(err)
				if read.Digest != l.Digest || len(read.Entries) != len(l.Entries) {
					t.Errorf("the copy has %d entries and names %s", len(read.Entries), read.Digest)
				}
				if done.Tag && at.named("prod") != l.Digest {
					t.Errorf("the tag names %s", at.named("prod"))
				}
				checked, err := c.CheckTargets(ctx, at.registry(), s.judge, 2)
				s.must(err)
				for _, target := range checked {
					if len(target.Problems) > 0 {
						t.Errorf("%+v", target)
					}
				}
			}
			s.prod(s.a)
			mirror(0, s.a)
			mirror(1, s.a)
			s.prod(s.b)
			s.prod(s.c)
			mirror(1, s.b, s.c)
			_, err = s.writer("prod", "promote-1").Rollback(ctx, "", "")
			s.must(err)
			mirror(3, s.c, s.b)

			w := at.machine("prod", "promote-1", &memory{})
			_, err = w.Freeze(ctx, "x")
			if done, errWay := w.channel.Way(ctx, false); errWay != nil || done != registry.Unguarded {
				refused(t, err, "its log is a copy, of channel web:prod")
			} else {
				refused(t, err, "its log is a copy")
			}
			if _, err := s.channel("prod").Mirror(ctx, s.repository("web"), s.bring, 1); faults.Of(err) != faults.Usage {
				t.Errorf("a copy of itself: %v", err)
			}
			if at.there(s.a) != true {
				t.Error("what the copy had is gone")
			}
		})
	}
}

// A copy that has gone its own way stays as it is, and is told.
func TestMirrorIsForked(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	at := s.host(movable())
	repo, err := at.registry().Repository("web")
	s.must(err)
	l := s.prod(s.a)
	other := s.add(nil, "promote-2", func(e *Entry) { e.Digest = s.c })
	longer := s.add(l.Entries, "promote-2", func(e *Entry) { e.Digest = s.c })
	for _, entries := range [][]Signed{other, longer} {
		at.put("channel-prod", entries)
		_, err = s.channel("prod").Mirror(ctx, repo, s.bring, 5)
		refused(t, err, "it is not in the log of channel web:prod")
		read, err := at.machine("prod", "promote-1", &memory{}).channel.Read(ctx)
		s.must(err)
		if read.Digest != s.c {
			t.Error("it is overwritten")
		}
	}
}

// A copy is cut off at any write: it never names what is not there, and the next one continues it.
func TestMirrorIsCutOff(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.prod(s.a)
	s.prod(s.b)
	for name, inner := range map[string]http.Handler{"conditions": served(t), "tags that stay": &registrytest.Immutable{Next: movable(), Status: http.StatusConflict}, "tags that move": movable()} {
		for after := 0; ; after++ {
			at := s.empty(breaking{&counted{next: inner}, after})
			repo, err := at.registry().Repository("web")
			s.must(err)
			_, err = s.channel("prod").Mirror(t.Context(), repo, s.bring, 5)
			l, errRead := at.machine("prod", "promote-1", &memory{}).channel.Read(t.Context())
			s.must(errRead)
			for _, digest := range l.Accepted {
				if _, err := at.registry().CheckWhole(t.Context(), "web@"+digest); err != nil {
					t.Errorf("%s: after %d writes the copy names what is not whole: %v", name, after, err)
				}
			}
			if err == nil {
				break
			}
			if after > 60 {
				t.Fatalf("%s: it never ends: %v", name, err)
			}
		}
	}
}

// A log that is lost comes back from its copy, and is written again.
func TestBackFromMirror(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	at := s.empty(movable())
	repo, err := at.registry().Repository("web")
	s.must(err)
	s.prod(s.a)
	_, err = s.channel("prod").Mirror(ctx, repo, s.bring, 5)
	s.must(err)
	lost := newScene(t)
	lost.root, lost.now = s.root, s.now
	for _, ref := range []string{"web@" + s.a, "web:channel-prod"} {
		_, err := registry.Copy(ctx, at.registry(), ref, lost.reg, ref)
		s.must(err)
	}
	l, err := lost.writer("prod", "promote-1").Refresh(ctx)
	s.must(err)
	if l.Digest != s.a || len(l.Entries) != 2 || lost.named("prod") != s.a {
		t.Errorf("%+v", l.State)
	}
}

// A log whose last entry is too old is told from one that is not.
func TestCheckFresh(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	l := s.prod(s.a)
	later := s.now.Add(2 * time.Hour)
	for most, want := range map[time.Duration]bool{0: true, time.Hour: false, 2 * time.Hour: true, 3 * time.Hour: true} {
		err := l.CheckFresh(later, most)
		var stale *StaleError
		if errors.As(err, &stale) == want || err != nil && (faults.Of(err) != faults.Refused || stale.Age != 2*time.Hour || stale.Hint() == "") {
			t.Errorf("at most %s: %v", most, err)
		}
	}
	s.now = later
	l, err := s.writer("prod", "promote-1").Refresh(t.Context())
	s.must(err)
	if err := l.CheckFresh(later, time.Minute); err != nil {
		t.Errorf("it was refreshed: %v", err)
	}
}
