package channel

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/roots"
)

// forgery is what somebody puts in the place of a good log, which has four entries: promotions
// of a, b and c, and a way back to b.
type forgery struct {
	name string
	// make makes the files of it; told is what the machine says.
	make func(s *scene, good []Signed) []artifact.File
	told string
}

// entriesOf is a forgery of entries.
func entriesOf(change func(s *scene, good []Signed) []Signed) func(*scene, []Signed) []artifact.File {
	return func(s *scene, good []Signed) []artifact.File { return pack(change(s, good)) }
}

// signedBy adds a promotion of a by a key.
func signedBy(key string, changes ...func(*Entry)) func(*scene, []Signed) []artifact.File {
	return entriesOf(func(s *scene, good []Signed) []Signed {
		return s.add(good, key, func(e *Entry) {
			for _, change := range changes {
				change(e)
			}
		})
	})
}

// tampered changes the text of one entry's envelope.
func tampered(i int, change func(s *scene, envelope *evidence.Envelope)) func(*scene, []Signed) []artifact.File {
	return entriesOf(func(s *scene, good []Signed) []Signed {
		envelope, err := evidence.ParseEnvelope(good[i].data)
		s.must(err)
		change(s, &envelope)
		good[i].data = envelope.Encode()
		return good
	})
}

// written has the last entry written in another way.
func written(change func([]byte) []byte) func(*scene, []Signed) []artifact.File {
	return entriesOf(func(_ *scene, good []Signed) []Signed {
		good[3].data = change(bytes.Clone(good[3].data))
		return good
	})
}

// resigned has the payload of the last entry changed, and signed again by its key.
func resigned(from, to string) func(*scene, []Signed) []artifact.File {
	return entriesOf(func(s *scene, good []Signed) []Signed {
		payload := bytes.Replace(good[3].envelope.Payload, []byte(from), []byte(to), 1)
		if bytes.Equal(payload, good[3].envelope.Payload) {
			s.t.Fatalf("there is no %s in %s", from, payload)
		}
		e, err := evidence.SignEnvelope(s.t.Context(), s.key("promote-1"), evidence.PayloadType, payload)
		s.must(err)
		good[3].data = e.Encode()
		return good
	})
}

func forgeries() []forgery {
	return []forgery{
		{"an entry tampered with", tampered(1, func(s *scene, e *evidence.Envelope) {
			e.Payload = bytes.ReplaceAll(e.Payload, []byte(s.b), []byte(s.c))
		}), "reading entry: "},
		{"the last digest exchanged under its signature", tampered(3, func(s *scene, e *evidence.Envelope) {
			e.Payload = bytes.ReplaceAll(e.Payload, []byte(strings.TrimPrefix(s.b, "sha256:")), []byte(strings.TrimPrefix(s.a, "sha256:")))
		}), "signed by no key of trust root acme"},
		{"an earlier digest exchanged under its signature", tampered(1, func(s *scene, e *evidence.Envelope) {
			e.Payload = bytes.ReplaceAll(e.Payload, []byte(strings.TrimPrefix(s.b, "sha256:")), []byte(strings.TrimPrefix(s.a, "sha256:")))
		}), "entry 3: it follows "},
		{"a signature added to an earlier entry", tampered(1, func(_ *scene, e *evidence.Envelope) {
			e.Signatures = append(e.Signatures, evidence.Signature{Sig: []byte("x")})
		}), "entry 3: it follows "},
		{"an entry of a stranger", signedBy("stranger"), "signed by no key of trust root acme"},
		{"an entry of a build key", signedBy("build-1"), "whose role is build"},
		{"an entry of an approver", signedBy("approve-1"), "whose role is approve"},
		{"an entry of a root key", signedBy("ann"), "whose role is root"},
		{"an entry of a revoked key", func(s *scene, good []Signed) []artifact.File {
			s.change(roots.Revoke("promote-0", "stolen"))
			return signedBy("promote-0")(s, good)
		}, "revoked are promote-0"},
		{"an entry of a key that has expired", func(s *scene, good []Signed) []artifact.File {
			s.now = s.now.Add(3 * day)
			return signedBy("promote-3")(s, good)
		}, "has expired"},
		{"an entry of a key that has expired, dated back", func(s *scene, good []Signed) []artifact.File {
			files := signedBy("promote-3")(s, good)
			s.now = s.now.Add(3 * day)
			return files
		}, "has expired"},
		{"an entry that says that it is by somebody else", signedBy("promote-1", func(e *Entry) { e.Who = "promote-2" }), "says that it is by promote-2, and is signed by promote-1"},
		{"entries reordered", entriesOf(func(_ *scene, good []Signed) []Signed {
			good[1], good[2] = good[2], good[1]
			return good
		}), "entry 2: its number is 3"},
		{"an entry left out", entriesOf(func(_ *scene, good []Signed) []Signed { return slices.Delete(good, 1, 2) }), "entry 2: its number is 3"},
		{"the beginning left out", entriesOf(func(_ *scene, good []Signed) []Signed { return good[1:] }), "entry 1: its number is 2"},
		{"an entry twice", entriesOf(func(_ *scene, good []Signed) []Signed { return append(good, good[3]) }), "entry 5: its number is 4"},
		{"the end cut off", entriesOf(func(_ *scene, good []Signed) []Signed { return good[:3] }), "rolled back or cut off: it has 3 entries, and 4 were seen here"},
		{"another fork", entriesOf(func(s *scene, good []Signed) []Signed {
			return s.add(s.add(good[:3], "promote-2", func(e *Entry) { e.Reason = "another way" }), "promote-2", func(e *Entry) { e.Digest = s.c })
		}), "entry 4: the log is forked"},
		{"a log that follows nothing", signedBy("promote-1", func(e *Entry) { e.Previous = "sha256:" + strings.Repeat("0", 64) }), "entry 5: it follows sha256:000"},
		{"the log of another channel", entriesOf(func(s *scene, _ []Signed) []Signed {
			return s.add(nil, "promote-1", func(e *Entry) { e.Channel = "staging" })
		}), "entry 1: it belongs to the channel web:staging"},
		{"the log of another repository", entriesOf(func(s *scene, _ []Signed) []Signed {
			return s.add(nil, "promote-1", func(e *Entry) { e.Repository = "api" })
		}), "entry 1: it belongs to the channel api:prod"},
		{"an entry before the one before", signedBy("promote-1", func(e *Entry) { e.Time = "1999-01-01T00:00:00Z" }), "entry 5: its time 1999-01-01T00:00:00Z is before"},
		{"an entry of tomorrow", func(s *scene, good []Signed) []artifact.File {
			s.now = s.now.Add(day)
			files := signedBy("promote-1")(s, good)
			s.now = s.now.Add(-day)
			return files
		}, "it says that it was written 24h0m0s after now"},
		{"a freeze of what is not there", signedBy("promote-1", func(e *Entry) { e.Action, e.Reason = Freeze, "x" }), "freeze is about"},
		{"a way to where it never was", entriesOf(func(s *scene, good []Signed) []Signed {
			return s.add(good, "promote-1", func(e *Entry) { e.Action, e.Digest = Rollback, "sha256:"+strings.Repeat("1", 64) })
		}), "which is none of the digests that the channel has named before"},
		{"a restart by a stranger", signedBy("stranger", func(e *Entry) { e.Action, e.Reason = Restart, "mine" }), "signed by no key of trust root acme"},

		{"a field that nobody knows", resigned(`"who"`, `"whom":"x","who"`), "not written as Ampoule writes it"},
		{"a field in capitals beside it", resigned(`"action"`, `"Action":"revoke","action"`), "not written as Ampoule writes it"},
		{"an action that nobody knows", resigned(`"rollback"`, `"rollforth"`), `its action "rollforth" is none of`},
		{"a reason in two lines", resigned(`"who"`, `"reason":"a\nb","who"`), "its reason is not one line"},
		{"a subject too many", resigned(`"subject":[`, `"subject":[{"name":"x","digest":{"sha256":"x"}},`), "not written as Ampoule writes it"},
		{"a statement of another type", resigned(PredicateType, evidence.VerdictType), "its type is"},
		{"a space in the envelope", written(func(data []byte) []byte { return append(data, ' ') }), "not written as Ampoule writes it"},
		{"something behind the envelope", written(func(data []byte) []byte { return append(data, "{}"...) }), "something follows its JSON"},
		{"an envelope truncated", written(func(data []byte) []byte { return data[:len(data)/2] }), "truncated"},
		{"an entry that is too large", written(func([]byte) []byte { return bytes.Repeat([]byte(" "), maxEntry+1) }), "more than 65536"},
		{"an entry of a signature's form", written(func([]byte) []byte { return []byte(`{"critical":{}}`) }), "reading envelope"},

		{"a file that does not belong there", func(_ *scene, good []Signed) []artifact.File {
			return append(pack(good), artifact.BytesFile("x", "text/plain", []byte("x")))
		}, "does not belong there"},
		{"a segment behind entries", func(_ *scene, good []Signed) []artifact.File {
			return append(pack(good), artifact.BytesFile("x", artifact.ChannelSegmentType, []byte("x")))
		}, "does not belong there"},
		{"a segment of a few lines", func(_ *scene, good []Signed) []artifact.File {
			return []artifact.File{artifact.BytesFile("x", artifact.ChannelSegmentType, append(good[0].data, '\n'))}
		}, "has not 1000 lines"},
		{"a log of nothing", func(*scene, []Signed) []artifact.File { return nil }, "it has 0 segments and 0 other entries"},
	}
}

// Each forgery is refused, and what the machine had seen before stays what it believes.
func TestForgeries(t *testing.T) {
	t.Parallel()
	for _, f := range forgeries() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			repo := s.repository("web")
			for _, digest := range []string{s.a, s.b, s.c} {
				s.prod(digest)
			}
			good, err := s.writer("prod", "promote-1").Rollback(t.Context(), s.b, "")
			s.must(err)
			entries := slices.Clone(good.Entries)
			_, err = repo.PutIf(t.Context(), artifact.ChannelTag("prod"), good.head, artifact.ChannelType, nil, f.make(s, entries))
			s.must(err)
			c := s.channel("prod")
			var refusedLog *LogError
			if l, err := c.Read(t.Context()); !errors.As(err, &refusedLog) || !strings.Contains(err.Error(), f.told) || faults.Of(err) != faults.Refused || refusedLog.Hint() == "" {
				t.Errorf("want %q: %v, %+v", f.told, err, l)
			}
			if _, err := c.Append(t.Context(), good, Entry{Action: Refresh, Digest: s.b, Who: "promote-1"}, s.key("promote-1")); err == nil {
				t.Error("somebody who did not look has written over it")
			}
			if s.named("prod") != s.b {
				t.Error("the tag has moved")
			}
		})
	}
}

// What has another type is no log, whatever its files are.
func TestNoLog(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, err := s.repository("web").PutIf(t.Context(), artifact.ChannelTag("prod"), "", "application/x", nil, pack(s.chain(1)))
	s.must(err)
	_, err = s.channel("prod").Read(t.Context())
	refused(t, err, `its type is "application/x"`)
}

// A log whose tag is gone after it was seen is no new one.
func TestTagIsGone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	l := s.prod(s.a)
	repo, err := remote(t).Repository("web")
	s.must(err)
	c := s.at(repo, "prod")
	s.must(c.remember(t.Context(), l))
	_, err = c.Read(t.Context())
	refused(t, err, "it has 0 entries, and 1 were seen here")
}

// After a key of the log was stolen and revoked, nothing is believed until another key vouches
// for the log. Then what it had accepted is not, and what was revoked by good keys stays so.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	s.prod(s.a)
	_, err := s.writer("prod", "promote-1").Revoke(ctx, s.b, "poisoned")
	s.must(err)
	thief := s.writer("prod", "promote-0")
	_, err = thief.Promote(ctx, Promotion{Digest: s.c})
	s.must(err)
	s.change(roots.Revoke("promote-0", "stolen"))
	_, err = s.channel("prod").Read(ctx)
	refused(t, err, "entry 3: it is signed by no key of trust root acme; revoked are promote-0")
	if found, err := s.channel("prod").Unverified(ctx); err != nil || len(found) != 3 {
		t.Errorf("%d entries can be looked at: %v", len(found), err)
	}
	w := s.writer("prod", "promote-1")
	_, err = w.Restart(ctx, s.b, "x", false)
	refused(t, err, "which is revoked: poisoned")
	if _, err := w.Restart(ctx, s.a, "", false); faults.Of(err) != faults.Usage {
		t.Errorf("a restart for no reason: %v", err)
	}
	l, err := w.Restart(ctx, s.a, "promote-0 was stolen", false)
	s.must(err)
	if digest, err := l.Current(); err != nil || digest != s.a || !slices.Equal(l.Accepted, []string{s.a}) || s.named("prod") != s.a {
		t.Errorf("%v: %+v", err, l.State)
	}
	_, err = w.Rollback(ctx, s.c, "")
	refused(t, err, "none of the digests")
	_, err = s.channel("prod").Append(ctx, l, Entry{Action: Promote, Digest: s.c, Who: "promote-0"}, s.key("promote-0"))
	refused(t, err, "revoked are promote-0")
}

// Keys expire, and what they signed before counts, under an entry of a key that does not.
func TestKeysExpire(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	_, err := s.writer("prod", "promote-3").Promote(ctx, Promotion{Digest: s.a})
	s.must(err)
	s.prod(s.b)
	s.now = s.now.Add(3 * day)
	l, err := s.channel("prod").Read(ctx)
	s.must(err)
	if l.Digest != s.b || l.Entries[0].By[0] != "promote-3" {
		t.Errorf("%+v", l.State)
	}
}

// A role that wants two signatures is not satisfied by one.
func TestThreshold(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.prod(s.a)
	s.change(func(f *roots.File) error {
		role := f.Roles[roots.RolePromote]
		role.Threshold = "2"
		f.Roles[roots.RolePromote] = role
		return nil
	})
	_, err := s.channel("prod").Read(t.Context())
	refused(t, err, "2 promotion keys must have signed it, and promote-1 has")
}

// A clock that is a little behind the last writer's makes no entry that lies before.
func TestClocks(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.prod(s.a)
	s.now = s.now.Add(-skew / 2)
	l := s.prod(s.b)
	if !l.Entries[1].At.Equal(l.Entries[0].At) {
		t.Errorf("%s follows %s", l.Entries[1].Time, l.Entries[0].Time)
	}
	s.now = s.now.Add(-day)
	_, err := s.writer("prod", "promote-1").Promote(t.Context(), Promotion{Digest: s.c})
	refused(t, err, "after now")
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "clock") {
		t.Errorf("%v", err)
	}
}

// A log with a part that is gone is none.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	l := s.prod(s.a)
	s.remove(l.Entries[0].Hash)
	_, err := s.channel("prod").Read(t.Context())
	var gone *LogError
	if !errors.As(err, &gone) || !strings.Contains(err.Error(), l.Entries[0].Hash) {
		t.Errorf("%v", err)
	}
}

// What is read is written again to the byte, and what is wrong with an entry is found before it
// is signed.
func FuzzParse(f *testing.F) {
	e := Entry{Repository: "web", Channel: "prod", Sequence: 1, Time: stamp(time.Unix(1<<30, 0)), Action: Promote, Digest: "sha256:" + strings.Repeat("a", 64), Who: "promote-1"}
	for _, change := range []func(*Entry){
		func(*Entry) {}, func(e *Entry) { e.Reason, e.BreakGlass = "<why> & ü", true }, func(e *Entry) { e.From = "staging" },
		func(e *Entry) { e.Sequence, e.Previous, e.Action, e.Reason = 2, e.Digest, Revoke, "bad" }, func(e *Entry) { e.Evidence = []string{e.Digest} },
		func(e *Entry) {
			e.Rule, e.Approvals = &RuleRef{1, e.Digest}, []Approved{{"ben", "approve-2", e.Digest}}
			e.BreakGlass, e.Reason, e.PassedOver = true, "a hole", []string{"soak"}
		},
	} {
		changed := e
		change(&changed)
		signed, err := changed.sign(f.Context(), madeKeys()["promote-1"])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(signed.data)
	}
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":"","sig":"AA=="}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			return
		}
		payload, err := s.payload()
		if err != nil || s.check() != nil || !json.Valid(data) || bytes.ContainsRune(data, '\n') {
			t.Errorf("%q is read: %v", data, err)
		}
		envelope := s.envelope
		envelope.Payload = payload
		if !bytes.Equal(envelope.Encode(), data) {
			t.Errorf("%q is written as %q", data, envelope.Encode())
		}
	})
}
