package channel

import (
	"context"
	"strings"
	"testing"

	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/channel/rules"
	"ampoule/registry/trust/evidence"
)

const servedRules = `apiVersion: ampoule/v1
trust: acme
version: 1
people:
  ann: {keys: [approve-1], callers: [ann]}
  ben: {callers: [ben, "ben@acme.example"]}
  cat: {keys: [approve-3]}
services: [promote-1, approve-2]
channels:
- {name: prod, approvals: {count: 2}}
`

// approveFor attaches an approval that a key signs for a caller.
func (s *scene) approveFor(r *rules.Rules, key, caller string) {
	s.t.Helper()
	approval, err := s.channel("prod").Approve(s.t.Context(), r, s.key(key), evidence.Legacy, s.a, caller)
	s.must(err)
	s.must(s.reg.AddEvidence(s.t.Context(), "web@"+s.a, approval))
}

// An approval that a service signs counts for the person whose caller it names, once, and not for who has the service promote.
func TestServiceApprovals(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.rulesOf(servedRules)
	w := s.obeying("prod", "promote-1", r)
	promote := func(caller, want string) {
		t.Helper()
		w.For(caller)
		_, err := w.Do(context.WithoutCancel(t.Context()), Move{Action: Promote, Digest: s.a})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("for %s: want %q: %v", caller, want, err)
		}
	}
	for _, c := range []struct{ key, caller, want string }{
		{"approve-2", "", "key approve-2 is a service's, and no caller is named"},
		{"approve-2", "dan", "caller dan of the service with key approve-2 is nobody whom channels.yaml names"},
		{"approve-3", "ben", "key approve-3 is held by cat, and speaks for caller ben"},
	} {
		_, err := s.channel("prod").Approve(t.Context(), r, s.key(c.key), evidence.Legacy, s.a, c.caller)
		if faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	promote("", "is a service's, and no caller is named")
	promote("dan", "is nobody whom")
	s.approveFor(r, "approve-2", "ben")
	s.approveFor(r, "approve-2", "ben@acme.example")
	s.approveFor(r, "approve-2", "ann")
	promote("ann", "has those of: ben; what does not count: that of key approve-2: ann promotes")
	s.approveFor(r, "approve-1", "")
	promote("ann", "that of key approve-1: ann promotes")
	people, _ := s.channel("prod").Approvals(r, s.a, s.evidence(s.a))
	if strings.Join(people, " ") != "ann ben" && strings.Join(people, " ") != "ben ann" {
		t.Errorf("have approved: %v", people)
	}
	s.approveFor(r, "approve-3", "")
	promote("ann", "")
	log, err := s.channel("prod").Read(t.Context())
	s.must(err)
	if a := log.Entries[0].Approvals; len(a) != 2 {
		t.Errorf("%+v", a)
	}
}

func (s *scene) evidence(digest string) []registry.Evidence {
	s.t.Helper()
	found, err := s.reg.Evidence(s.t.Context(), "web@"+digest)
	s.must(err)
	return found
}
