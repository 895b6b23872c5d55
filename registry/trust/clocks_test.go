package trust_test

import (
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/roots"
)

// The clock of a machine, or of who makes evidence, is wrong by a day. Evidence of tomorrow is
// refused, and who reads it is told of the clocks; evidence that a fast clock makes a day older holds until
// it is too old by that clock.
func TestClocks(t *testing.T) {
	t.Parallel()
	const clocks = "the clock of this machine or of its maker is wrong"
	behind := func(s *scene) { s.now = s.now.Add(-day) }
	ahead := func(s *scene) { s.now = s.now.Add(day) }
	maker := func(replace func(*scene)) func(*scene) {
		return func(s *scene) {
			now := s.now
			s.now = now.Add(day + time.Hour) // what it says of an hour ago is a day ahead
			replace(s)
			s.now = now
		}
	}
	bound := func(from, to string) func(*scene) {
		return func(s *scene) {
			s.policy = strings.Replace(s.policy, from, to, 1)
			ahead(s)
		}
	}
	for name, c := range map[string]struct {
		do   func(*scene)
		rule string
		told string
	}{
		"the machine is behind":             {behind, "signatures.build", clocks},
		"the machine is behind: provenance": {behind, "provenance", clocks},
		"the machine is behind: tests":      {behind, "tests", clocks},
		"the machine is ahead":              {do: ahead},
		"too old by that clock: provenance": {bound("max-age: 90d", "max-age: 1d"), "provenance.max-age", "may be 1d old"},
		"too old by that clock: tests":      {bound("max-age: 7d", "max-age: 24h"), "tests.max-age", "may be 24h old"},
		"the builder is ahead":              {func(s *scene) { s.items[signed] = s.signAt("build-1", s.digest, s.now.Add(day)) }, "signatures.build", clocks},
		"the builder is ahead: provenance":  {maker(builtWith(func(*artifact.Provenance) {})), "provenance", clocks},
		"the builder is ahead: verdict":     {maker(judgedWith(func(*audit.Verdict) {})), "verdict", clocks},
		"the tester is ahead":               {maker(testedWith(func(*evidence.TestResult) {})), "tests", clocks},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			c.do(s)
			d, err := s.decide()
			if err != nil {
				t.Fatal(err)
			}
			if c.rule == "" {
				if !d.Allowed {
					t.Errorf("refused: %+v, notes %+v", d.Lines, d.Notes)
				}
				return
			}
			refused, told := false, false
			for _, l := range d.Lines {
				refused = refused || l.Rule == c.rule && !l.Holds
				told = told || strings.Contains(l.Text, c.told)
			}
			for _, l := range d.Notes {
				told = told || strings.Contains(l.Text, c.told)
			}
			if d.Allowed || !refused || !told {
				t.Errorf("%+v, notes %+v", d.Lines, d.Notes)
			}
		})
	}
}

// A trust root that ends today has ended by a clock that is a day ahead, and the error says by which.
func TestRootByAWrongClock(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r, err := s.root.Next(true, roots.Renew(s.now))
	s.must(err)
	s.root = s.signRoot(r, "ann", "ben")
	s.write(s.root)
	if d, err := s.decide(); err != nil || !d.Allowed {
		t.Errorf("on its last day: %v, %+v", err, d.Lines)
	}
	s.now, s.items = s.now.Add(day), nil
	if _, err := s.decide(); faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), "has expired") {
		t.Errorf("a day later: %v", err)
	}
}
