package channel

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/registry/channel/rules"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/roots"
)

const people = `apiVersion: ampoule/v1
trust: acme
version: 2
people:
  ann: {keys: [promote-1, approve-1]}
  ben: {keys: [approve-2]}
  cat: {keys: [approve-3, promote-2]}
channels:
- name: staging
`

// rulesOf are rules of a text.
func (s *scene) rulesOf(text string) *rules.Rules {
	s.t.Helper()
	r, err := rules.Parse("channels.yaml", []byte(text))
	s.must(err)
	return r
}

// obeying writes a channel by a key, under rules.
func (s *scene) obeying(channel, key string, r *rules.Rules) *Writer {
	s.t.Helper()
	w := s.writer(channel, key)
	w.Obey(r, func(context.Context, string) (Judge, error) { return nil, errors.New("no policy is known") })
	return w
}

// approve attaches an approval of a digest for a channel of the repository web.
func (s *scene) approve(r *rules.Rules, channel, key, digest string) {
	s.t.Helper()
	approval, err := s.channel(channel).Approve(s.t.Context(), r, s.key(key), evidence.Legacy, digest, "")
	s.must(err)
	s.must(s.reg.AddEvidence(s.t.Context(), "web@"+digest, approval))
}

// A digest must have been in the other channel for some time, without a break.
func TestSoak(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	r := s.rulesOf(people + "- {name: prod, from: staging, soak: 12h}\n")
	staging, prod := s.obeying("staging", "promote-1", r), s.obeying("prod", "promote-1", r)
	try := func(want string) {
		t.Helper()
		_, err := prod.Promote(ctx, Promotion{Digest: s.a})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	try("channel web:staging: nothing was promoted yet")
	_, err := staging.Promote(ctx, Promotion{Digest: s.a})
	s.must(err)
	try("for 0s, and must for 12h")
	s.now = s.now.Add(11 * time.Hour)
	try("for 11h0m0s, and must for 12h")
	_, err = staging.Promote(ctx, Promotion{Digest: s.b})
	s.must(err)
	try("channel web:staging names " + s.b)
	_, err = staging.Rollback(ctx, "", "")
	s.must(err)
	s.now = s.now.Add(2 * time.Hour)
	try("for 2h0m0s, and must for 12h")
	s.now = s.now.Add(10 * time.Hour)
	try("")
	l, err := s.channel("prod").Read(ctx)
	s.must(err)
	if e := l.Entries[0]; e.From != "staging" || e.Rule == nil || e.Rule.Version != 2 || e.Rule.Hash != r.Hash() || l.Rule == nil {
		t.Errorf("%+v", e)
	}
	if _, err := s.obeying("eu-prod", "promote-1", r).Promote(ctx, Promotion{Digest: s.a}); faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), "no rule of channels.yaml is for it") {
		t.Errorf("%v", err)
	}
}

// Enough people approve, each of them once, and none who promotes.
func TestApprovals(t *testing.T) {
	t.Parallel()
	text := people + "- {name: prod, approvals: {count: 2, max-age: 3d}}\n- {name: eu-prod, approvals: {count: 2}}\n"
	for _, test := range []struct {
		name string
		do   func(s *scene, r *rules.Rules) *rules.Rules
		want string
	}{
		{"nobody", func(_ *scene, r *rules.Rules) *rules.Rules { return r }, "channel web:prod wants 2 approvals of people other than who promotes, and has those of: none"},
		{"two", func(s *scene, r *rules.Rules) *rules.Rules {
			s.approve(r, "prod", "approve-2", s.a)
			s.approve(r, "prod", "approve-3", s.a)
			return r
		}, ""},
		{"one", func(s *scene, r *rules.Rules) *rules.Rules { s.approve(r, "prod", "approve-2", s.a); return r }, "has those of: ben"},
		{"one of them twice", func(s *scene, r *rules.Rules) *rules.Rules {
			s.approve(r, "prod", "approve-2", s.a)
			s.now = s.now.Add(time.Second)
			s.approve(r, "prod", "approve-2", s.a)
			return r
		}, "has those of: ben"},
		{"who promotes, under a second key", func(s *scene, r *rules.Rules) *rules.Rules {
			s.approve(r, "prod", "approve-1", s.a)
			s.approve(r, "prod", "approve-2", s.a)
			return r
		}, "has those of: ben; what does not count: that of key approve-1: ann promotes"},
		{"for another channel", func(s *scene, r *rules.Rules) *rules.Rules {
			s.approve(r, "eu-prod", "approve-2", s.a)
			s.approve(r, "prod", "approve-3", s.a)
			return r
		}, "that of key approve-2: it is for the channel web:eu-prod"},
		{"of another digest", func(s *scene, r *rules.Rules) *rules.Rules {
			s.approve(r, "prod", "approve-2", s.b)
			s.approve(r, "prod", "approve-3", s.a)
			return r
		}, "has those of: cat"},
		{"another's, attached to this one", func(s *scene, r *rules.Rules) *rules.Rules {
			s.approve(r, "prod", "approve-3", s.a)
			other, err := s.channel("prod").Approve(s.t.Context(), r, s.key("approve-2"), evidence.Legacy, s.b, "")
			s.must(err)
			s.must(s.reg.AddEvidence(s.t.Context(), "web@"+s.a, other))
			return r
		}, "has those of: cat"},
		{"too long ago", func(s *scene, r *rules.Rules) *rules.Rules {
			s.approve(r, "prod", "approve-2", s.a)
			s.now = s.now.Add(3 * day)
			s.approve(r, "prod", "approve-3", s.a)
			return r
		}, "that of key approve-2: it has expired"},
		{"before the rules were changed", func(s *scene, r *rules.Rules) *rules.Rules {
			s.approve(r, "prod", "approve-2", s.a)
			changed := s.rulesOf(strings.Replace(text, "version: 2", "version: 3", 1))
			s.approve(changed, "prod", "approve-3", s.a)
			return changed
		}, "that of key approve-2: the rules were changed since it was given"},
		{"by a key that was revoked since", func(s *scene, r *rules.Rules) *rules.Rules {
			s.approve(r, "prod", "approve-2", s.a)
			s.approve(r, "prod", "approve-3", s.a)
			s.change(roots.Revoke("approve-2", "left"))
			return r
		}, "revoked are approve-2"},
		{"by somebody who is not named any more", func(s *scene, r *rules.Rules) *rules.Rules {
			s.approve(r, "prod", "approve-2", s.a)
			s.approve(r, "prod", "approve-3", s.a)
			return s.rulesOf(strings.Replace(text, "ben: {keys: [approve-2]}", "ben: {keys: [approve-9]}", 1))
		}, "has those of: none"},
		{"when the one who promotes is named nowhere", func(s *scene, r *rules.Rules) *rules.Rules {
			return s.rulesOf(strings.Replace(text, "promote-1, ", "", 1))
		}, "key promote-1 is held by nobody whom channels.yaml names"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			r := test.do(s, s.rulesOf(text))
			l, err := s.obeying("prod", "promote-1", r).Promote(t.Context(), Promotion{Digest: s.a})
			if test.want != "" {
				refused(t, err, test.want)
				return
			}
			s.must(err)
			var by []string
			for _, a := range l.Entries[0].Approvals {
				by = append(by, a.Person+" "+a.Key)
			}
			if !slices.Equal(by, []string{"ben approve-2", "cat approve-3"}) {
				t.Errorf("approved by %q", by)
			}
		})
	}
}

// Who cannot approve is told so.
func TestApproveRefuses(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.rulesOf(strings.Replace(people, ", promote-2", "", 1) + "- {name: prod, approvals: {count: 1}}\n")
	for want, by := range map[string][2]string{
		"is no approver's key of the trust root": {"promote-1", "prod"},
		"channel web:staging wants no approvals": {"approve-2", "staging"},
		"channel web:other wants no approvals":   {"approve-2", "other"},
	} {
		_, err := s.channel(by[1]).Approve(t.Context(), r, s.key(by[0]), evidence.Legacy, s.a, "")
		refused(t, err, want)
	}
	r = s.rulesOf(strings.Replace(people, "approve-2", "approve-9", 1) + "- {name: prod, approvals: {count: 1}}\n")
	_, err := s.channel("prod").Approve(t.Context(), r, s.key("approve-2"), evidence.Legacy, s.a, "")
	refused(t, err, "key approve-2 is held by nobody whom channels.yaml names")
}

// A rule may want more of an artifact than the machine's policy does.
func TestPolicyOfAChannel(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := t.TempDir()
	s.must(os.WriteFile(filepath.Join(dir, "p.yaml"), []byte("x"), 0o644))
	r := s.rulesOf(people + "- {name: prod, policy: {file: " + filepath.Join(dir, "p.yaml") + ", sha256: '" + hashOf([]byte("x")) + "'}}\n")
	w := s.writer("prod", "promote-1")
	stricter := &judge{map[string]bool{}, map[string]bool{s.a: true}}
	w.Obey(r, func(_ context.Context, file string) (Judge, error) {
		if file != filepath.Join(dir, "p.yaml") {
			t.Errorf("%s is opened", file)
		}
		return stricter, nil
	})
	_, err := w.Promote(t.Context(), Promotion{Digest: s.a})
	refused(t, err, "refuses web@"+s.a)
	_, err = w.Promote(t.Context(), Promotion{Digest: s.b})
	s.must(err)
	s.must(os.WriteFile(filepath.Join(dir, "p.yaml"), []byte("y"), 0o644))
	_, err = w.Promote(t.Context(), Promotion{Digest: s.c})
	refused(t, err, "p.yaml has the hash "+hashOf([]byte("y")))
}

// What is passed over is recorded, with the reason, and nothing else is passed over.
func TestBreakGlass(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	today := s.now.Format(time.DateOnly)
	r := s.rulesOf(people + "- {name: prod, from: staging, approvals: {count: 1}, freezes: [{from: '" + today + "', until: '" + today + "', why: end of the year}]}\n")
	w := s.obeying("prod", "promote-1", r)
	_, err := w.Promote(ctx, Promotion{Digest: s.a})
	for _, want := range []string{"nothing was promoted yet", "nothing is promoted now: end of the year", "wants 1 approvals of people"} {
		refused(t, err, want)
	}
	if _, err := w.Promote(ctx, Promotion{Digest: s.a, BreakGlass: true}); faults.Of(err) != faults.Usage {
		t.Errorf("the glass is broken for no reason: %v", err)
	}
	l, err := w.Promote(ctx, Promotion{Digest: s.a, BreakGlass: true, Reason: "a hole is closed"})
	s.must(err)
	if e := l.Entries[0]; len(e.PassedOver) != 3 || !e.BreakGlass || e.From != "" || !strings.Contains(e.PassedOver[1], "end of the year") {
		t.Errorf("%+v", e)
	}
	s.judge.refused[s.b] = true
	_, err = w.Promote(ctx, Promotion{Digest: s.b, BreakGlass: true, Reason: "x"})
	refused(t, err, "refuses web@"+s.b)
	if _, err := w.Rollback(ctx, "", ""); faults.Of(err) != faults.NotFound {
		t.Errorf("%v", err)
	}
}

// Once a channel obeys rules it does so for good, and never older ones: whoever reads the log
// refuses an entry that does not.
func TestRulesStay(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	text := people + "- {name: prod}\n"
	r := s.rulesOf(text)
	_, err := s.obeying("prod", "promote-1", r).Promote(ctx, Promotion{Digest: s.a})
	s.must(err)
	_, err = s.writer("prod", "promote-1").Promote(ctx, Promotion{Digest: s.b})
	refused(t, err, "it obeys no channel rules, and an entry before it obeyed version 2")
	_, err = s.obeying("prod", "promote-1", s.rulesOf(strings.Replace(text, "version: 2", "version: 1", 1))).Promote(ctx, Promotion{Digest: s.b})
	refused(t, err, "it obeys version 1 of the channel rules, and an entry before it version 2")
	_, err = s.obeying("prod", "promote-1", s.rulesOf(strings.Replace(text, "{name: prod}", "{name: prod, match: [web]}", 1))).Promote(ctx, Promotion{Digest: s.b})
	refused(t, err, "it obeys another version 2 of the channel rules")
	_, err = s.writer("prod", "promote-1").Restart(ctx, s.b, "a way round", false)
	refused(t, err, "it obeys no channel rules")
	_, err = s.obeying("prod", "promote-1", r).Restart(ctx, s.b, "for good", false)
	s.must(err)
	_, err = s.writer("prod", "promote-1").Promote(ctx, Promotion{Digest: s.a})
	refused(t, err, "it obeys no channel rules")
	if _, err := s.writer("prod", "promote-1").Refresh(ctx); err != nil {
		t.Errorf("only promotions obey rules: %v", err)
	}
}
