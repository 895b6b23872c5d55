package trust_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/roots"
)

const day = 24 * time.Hour

// attack is something that somebody does to the evidence of an artifact.
type attack struct {
	name string
	do   func(*scene)
	// rule is the rule that does not hold then; empty where the policy is not even asked.
	rule string
	// told is in the rule's answer, in a note or in the error.
	told string
	// kind is the error's, where the policy is not even asked.
	kind faults.Kind
}

// replace has one piece of evidence replaced.
func replace(i int, with func(*scene) registry.Evidence) func(*scene) {
	return func(s *scene) { s.items[i] = with(s) }
}

// drop has one piece of evidence removed.
func drop(i int) func(*scene) {
	return func(s *scene) { s.items = append(s.items[:i:i], s.items[i+1:]...) }
}

// by has one piece signed again, by another key.
func by(i int, key, predicateType string, predicate func(*scene) any) func(*scene) {
	return replace(i, func(s *scene) registry.Evidence { return s.attest(key, predicateType, predicate(s)) })
}

func builtWith(change func(*artifact.Provenance)) func(*scene) {
	return by(provenance, "build-1", evidence.ProvenanceType, func(s *scene) any { return s.provenance(change) })
}

func judgedWith(change func(*audit.Verdict)) func(*scene) {
	return by(verdict, "build-1", evidence.VerdictType, func(s *scene) any { return s.verdict(change) })
}

func testedWith(change func(*evidence.TestResult)) func(*scene) {
	return by(tests, "test-1", evidence.TestType, func(s *scene) any { return s.tests(change) })
}

// bytesOf changes the bytes of one piece.
func bytesOf(i int, change func([]byte) []byte) func(*scene) {
	return func(s *scene) { s.items[i].Data = change(bytes.Clone(s.items[i].Data)) }
}

// statementWith has a statement of another form signed by the build key.
func statementWith(change func(*scene, *evidence.Statement)) func(*scene) {
	return replace(provenance, func(s *scene) registry.Evidence {
		statement, err := evidence.About("web", s.digest, evidence.ProvenanceType, s.provenance())
		s.must(err)
		change(s, &statement)
		e, err := statement.Sign(s.t.Context(), s.keys["build-1"])
		s.must(err)
		return asAttestation(evidence.ProvenanceType, e.Encode())
	})
}

// payloadOf has any payload signed by the build key.
func payloadOf(payload func(*scene) []byte) func(*scene) {
	return replace(provenance, func(s *scene) registry.Evidence {
		e, err := evidence.SignEnvelope(s.t.Context(), s.keys["build-1"], evidence.PayloadType, payload(s))
		s.must(err)
		return asAttestation(evidence.ProvenanceType, e.Encode())
	})
}

// envelopeWith changes the provenance's envelope after it was signed.
func envelopeWith(change func(*scene, *evidence.Envelope)) func(*scene) {
	return func(s *scene) {
		e := s.envelope(provenance)
		change(s, &e)
		s.items[provenance].Data = e.Encode()
	}
}

// rooted has the machine see the root, and then gives it another file.
func rooted(file func(*scene) []byte) func(*scene) {
	return func(s *scene) {
		s.see(s.root)
		s.writeText(file(s))
	}
}

// answering has the registry answer requests for some paths itself.
func answering(part string, answer http.HandlerFunc) func(*scene) {
	return func(s *scene) {
		s.answer = func(w http.ResponseWriter, r *http.Request) bool {
			hit := strings.Contains(r.URL.Path, part)
			if hit {
				answer(w, r)
			}
			return hit
		}
	}
}

func attacks() []attack {
	const none = "nothing that a key of the role"
	return []attack{
		// Signatures.
		{"no evidence at all", func(s *scene) { s.items = nil }, "signatures.build", none, 0},
		{"no signature, only statements", drop(signed), "signatures.build", none, 0},
		{"signature of a stranger", replace(signed, func(s *scene) registry.Evidence { return s.sign("stranger", s.digest) }), "signatures.build", "signed by no key of trust root", 0},
		{"signature of a test key", replace(signed, func(s *scene) registry.Evidence { return s.sign("test-1", s.digest) }), "signatures.build", "key test-1, whose role is test", 0},
		{"signature of a promotion key", replace(signed, func(s *scene) registry.Evidence { return s.sign("promote-1", s.digest) }), "signatures.build", "whose role is promote", 0},
		{"signature of a root key", replace(signed, func(s *scene) registry.Evidence { return s.sign("ann", s.digest) }), "signatures.build", "whose role is root", 0},
		{"signature of a stolen key that was revoked", replace(signed, func(s *scene) registry.Evidence { return s.sign("build-0", s.digest) }), "signatures.build", "revoked are build-0", 0},
		{"signature of a key that has expired", func(s *scene) {
			r, err := s.root.Next(true, roots.AddKey("build-2", s.keys["build-2"].Public(), roots.RoleBuild, 0, s.now.Add(-2*day).Format(time.DateOnly)))
			s.must(err)
			s.root = s.signRoot(r, "ann", "ben")
			s.items[signed] = s.sign("build-2", s.digest)
		}, "signatures.build", "key build-2, which has expired", 0},
		{"signature replayed from another artifact", replace(signed, func(s *scene) registry.Evidence { return s.sign("build-1", s.other) }), "signatures.build", "about another artifact", 0},
		{"payload exchanged under a signature", replace(signed, func(s *scene) registry.Evidence {
			sig, err := s.keys["build-1"].Sign(s.t.Context(), evidence.NewSimple("web", s.other, s.now).Encode())
			s.must(err)
			return rawSignature(evidence.NewSimple("web", s.digest, s.now).Encode(), sig)
		}), "signatures.build", "signed by no key", 0},
		{"payload truncated", bytesOf(signed, func(b []byte) []byte { return b[:len(b)/2] }), "signatures.build", "its JSON is truncated", 0},
		{"payload of another type", func(s *scene) {
			s.items[signed].Data = bytes.Replace(s.items[signed].Data, []byte("cosign container"), []byte("atomic container"), 1)
		}, "signatures.build", "its type is", 0},
		{"signature left out", func(s *scene) { s.items[signed].Annotations = nil }, "signatures.build", "it has no signature", 0},
		{"signature that is no base64", func(s *scene) { s.items[signed].Annotations = map[string]string{evidence.AnnotationSignature: "%%%"} }, "signatures.build", "it has no signature", 0},
		{"signature of an unknown media type", func(s *scene) { s.items[signed].MediaType = "application/x-signature" }, "signatures.build", "is not known", 0},
		{"signature of tomorrow", replace(signed, func(s *scene) registry.Evidence { return s.signAt("build-1", s.digest, s.now.Add(day)) }), "signatures.build", "clock of this machine or of its maker is wrong", 0},
		{"a bundle of a build key that is no signature", func(s *scene) {
			made, err := evidence.Attest(s.t.Context(), s.keys["build-1"], evidence.Bundles, "web", s.digest, evidence.Claim{Type: evidence.SBOMType, Predicate: []byte(`{"bomFormat":"CycloneDX"}`)})
			s.must(err)
			s.items[signed] = made
		}, "signatures.build", none, 0},
		{"one signature of two", func(s *scene) {
			r, err := s.root.Next(true, roots.AddKey("build-2", s.keys["build-2"].Public(), roots.RoleBuild, 2, ""))
			s.must(err)
			s.root = s.signRoot(r, "ann", "ben")
		}, "signatures.build", "2 keys of the role build must have signed, and build-1 has", 0},
		{"two signatures of one key for two", func(s *scene) {
			r, err := s.root.Next(true, roots.AddKey("build-2", s.keys["build-2"].Public(), roots.RoleBuild, 2, ""))
			s.must(err)
			s.root = s.signRoot(r, "ann", "ben")
			s.items = append(s.items, s.sign("build-1", s.digest))
		}, "signatures.build", "2 keys of the role build must have signed, and build-1 has", 0},

		// Envelopes and statements.
		{"provenance missing", drop(provenance), "provenance", none, 0},
		{"provenance of a stranger", by(provenance, "stranger", evidence.ProvenanceType, func(s *scene) any { return s.provenance() }), "provenance", "signed by no key", 0},
		{"provenance of a test key", by(provenance, "test-1", evidence.ProvenanceType, func(s *scene) any { return s.provenance() }), "provenance", "whose role is test", 0},
		{"provenance of a promotion key", by(provenance, "promote-1", evidence.ProvenanceType, func(s *scene) any { return s.provenance() }), "provenance", "whose role is promote", 0},
		{"provenance replayed from another artifact", replace(provenance, func(s *scene) registry.Evidence {
			return s.attestAbout(s.other, "build-1", evidence.ProvenanceType, s.provenance())
		}), "provenance", "about another artifact", 0},
		{"provenance changed after it was signed", envelopeWith(func(_ *scene, e *evidence.Envelope) {
			e.Payload = bytes.Replace(e.Payload, []byte(`"dirty":false`), []byte(`"dirty": false`), 1)
		}), "provenance", "signed by no key", 0},
		{"the annotation calls another statement provenance", replace(provenance, func(s *scene) registry.Evidence {
			e := s.attest("build-1", evidence.SBOMType, s.sbom())
			e.Annotations[evidence.AnnotationPredicate] = evidence.ProvenanceType
			return e
		}), "provenance", none, 0},
		{"statement of another type", statementWith(func(_ *scene, st *evidence.Statement) { st.Type = "https://in-toto.io/Statement/v0.1" }), "provenance", "its type is", 0},
		{"statement without subject", statementWith(func(_ *scene, st *evidence.Statement) { st.Subject = nil }), "provenance", "it has 0 subjects", 0},
		{"statement without predicate", statementWith(func(_ *scene, st *evidence.Statement) { st.Predicate = json.RawMessage("null") }), "provenance", "it has no predicate", 0},
		{"subject of another hash", statementWith(func(s *scene, st *evidence.Statement) {
			st.Subject[0].Digest = map[string]string{"sha1": strings.TrimPrefix(s.digest, "sha256:")}
		}), "provenance", "about another artifact", 0},
		{"envelope of another payload type", envelopeWith(func(_ *scene, e *evidence.Envelope) { e.PayloadType = "text/plain" }), "provenance", "its payload is of the type", 0},
		{"envelope without signature", envelopeWith(func(_ *scene, e *evidence.Envelope) { e.Signatures = nil }), "provenance", "it has no signature", 0},
		{"envelope with too many signatures", envelopeWith(func(_ *scene, e *evidence.Envelope) {
			for range 16 {
				e.Signatures = append(e.Signatures, e.Signatures[0])
			}
		}), "provenance", "17 signatures", 0},
		{"envelope truncated", bytesOf(provenance, func(b []byte) []byte { return b[:len(b)-10] }), "provenance", "its JSON is truncated", 0},
		{"envelope with something behind it", bytesOf(provenance, func(b []byte) []byte { return append(b, '{', '}') }), "provenance", "something follows its JSON", 0},
		{"envelope with two payloads", bytesOf(provenance, func(b []byte) []byte {
			return append([]byte(`{"payload":"e30=",`), b[1:]...)
		}), "provenance", "the key \"payload\" twice", 0},
		{"statement with two predicates", payloadOf(func(s *scene) []byte {
			payload := s.envelope(provenance).Payload
			return append([]byte(`{"predicate":{},`), payload[1:]...)
		}), "provenance", "the key \"predicate\" twice", 0},
		{"statement that is nested deeply", payloadOf(func(*scene) []byte { return []byte(strings.Repeat("[", 1000)) }), "provenance", "nested too deeply", 0},
		{"evidence of 17 MB", bytesOf(provenance, func([]byte) []byte { return make([]byte, 17<<20) }), "provenance", "more than 16777216", 0},
		{"payload of 9 MB", envelopeWith(func(_ *scene, e *evidence.Envelope) { e.Payload = make([]byte, 9<<20) }), "provenance", "more than 8388608", 0},

		// What statements say.
		{"provenance of another kind of build", builtWith(func(p *artifact.Provenance) { p.BuildDefinition.BuildType = "https://example.com/make" }), "provenance", "its build type is", 0},
		{"built by another builder", builtWith(func(p *artifact.Provenance) { p.RunDetails.Builder.ID = "https://laptop.example" }), "provenance", `builder "https://laptop.example" is none of`, 0},
		{"built with a network", builtWith(func(p *artifact.Provenance) { p.BuildDefinition.InternalParameters.Network.Denied = false }), "provenance", "network was denied", 0},
		{"built of a dirty tree", builtWith(func(p *artifact.Provenance) { p.BuildDefinition.ExternalParameters.Source.Dirty = true }), "provenance", "its source is dirty", 0},
		{"built of no commit", builtWith(func(p *artifact.Provenance) { p.BuildDefinition.ExternalParameters.Source.Commit = "" }), "provenance", "of no commit", 0},
		{"built of no source", builtWith(func(p *artifact.Provenance) { p.BuildDefinition.ExternalParameters.Source = nil }), "provenance", "it names no source", 0},
		{"built of another repository", builtWith(func(p *artifact.Provenance) {
			p.BuildDefinition.ExternalParameters.Source.Repository = "https://git.example/team/web/../../evil"
		}), "provenance", "source repository", 0},
		{"built of another branch", builtWith(func(p *artifact.Provenance) { p.BuildDefinition.ExternalParameters.Source.Ref = "refs/heads/main-2" }), "provenance", "source ref", 0},
		{"built long ago", func(s *scene) {
			builtWith(func(p *artifact.Provenance) {
				p.RunDetails.Metadata.FinishedOn = s.now.AddDate(-1, 0, 0).Format(time.RFC3339)
			})(s)
		}, "provenance.max-age", "may be 90d old", 0},
		{"built at no time", builtWith(func(p *artifact.Provenance) { p.RunDetails.Metadata.FinishedOn = "lately" }), "provenance.max-age", "does not say when", 0},
		{"built tomorrow", func(s *scene) {
			builtWith(func(p *artifact.Provenance) { p.RunDetails.Metadata.FinishedOn = s.now.Add(day).Format(time.RFC3339) })(s)
		}, "provenance", "24h0m0s after now", 0},
		{"two builds of one digest", func(s *scene) {
			s.items = append(s.items, s.attest("build-1", evidence.ProvenanceType, s.provenance(func(p *artifact.Provenance) {
				p.BuildDefinition.ExternalParameters.Source.Commit = strings.Repeat("b", 40)
			})))
		}, "provenance", "it contradicts another statement", 0},
		{"a verdict that refuses", judgedWith(func(v *audit.Verdict) { v.Passed = false }), "verdict", "the gate refused", 0},
		{"a verdict that refuses beside one that passes", func(s *scene) {
			s.items = append(s.items, s.attest("build-1", evidence.VerdictType, s.verdict(func(v *audit.Verdict) { v.Passed = false })))
		}, "verdict", "the gate refused", 0},
		{"a verdict on another tree", judgedWith(func(v *audit.Verdict) { v.Tree = "sha256:" + strings.Repeat("0", 64) }), "verdict", "verdict on the tree", 0},
		{"a verdict with a group", judgedWith(func(v *audit.Verdict) { v.Group = "test" }), "verdict", `verdict on the group "test"`, 0},
		{"a verdict of another schema", judgedWith(func(v *audit.Verdict) { v.Schema = "ampoule.verdict/v0" }), "verdict", "schema", 0},
		{"a verdict that lacks a check", judgedWith(func(v *audit.Verdict) { v.Checks = v.Checks[:1] }), "verdict", "did not check load", 0},
		{"a verdict of another target", judgedWith(func(v *audit.Verdict) { v.Targets[0].Name = "vm" }), "verdict", "did not judge it in container", 0},
		{"results of tests by a build key", by(tests, "build-1", evidence.TestType, func(s *scene) any { return s.tests() }), "tests", "whose role is build", 0},
		{"tests that failed beside tests that passed", func(s *scene) {
			s.items = append(s.items, s.attest("test-1", evidence.TestType, s.tests(func(r *evidence.TestResult) { r.Result = "FAILED" })))
		}, "tests", "tests did not pass", 0},
		{"other tests", testedWith(func(r *evidence.TestResult) { r.PassedTests = []string{"true"} }), "tests.passed", "were not run", 0},
		{"tests without their group", testedWith(func(r *evidence.TestResult) { r.Configuration = nil }), "tests.groups", "nothing was tested with test", 0},
		{"tests of last month", func(s *scene) {
			testedWith(func(r *evidence.TestResult) { r.Time = s.now.Add(-30 * day).Format(time.RFC3339) })(s)
		}, "tests.max-age", "may be 7d old", 0},
		{"a list of contents that is none", by(sbom, "build-1", evidence.SBOMType, func(*scene) any { return map[string]any{"spdxVersion": "SPDX-2.3"} }), "sbom", "no CycloneDX", 0},

		// Trust roots.
		{"root rolled back", func(s *scene) {
			s.see(s.root)
			next := s.next(roots.Renew(s.now.AddDate(2, 0, 0)), "ann", "ben")
			s.see(next)
			s.write(s.root)
		}, "", "is rolled back", faults.Refused},
		{"root forked", rooted(func(s *scene) []byte {
			r, err := s.root.Next(true, roots.AddKey("build-2", s.keys["build-2"].Public(), roots.RoleBuild, 0, ""))
			s.must(err)
			return s.signRoot(r, "ann", "ben").Encode()
		}), "", "is forked", faults.Refused},
		{"root changed after it was signed", rooted(func(s *scene) []byte {
			return bytes.Replace(s.root.Encode(), []byte("threshold: 2"), []byte("threshold: 1"), 1)
		}), "", "needs 1 signatures", faults.Refused},
		{"root of an unknown algorithm", rooted(func(s *scene) []byte {
			return bytes.Replace(s.root.Encode(), []byte("ecdsa-p256-sha256"), []byte("rsa-pkcs1-sha1"), 1)
		}), "", "not an algorithm that this Ampoule verifies", faults.Input},
		{"root that has expired", func(s *scene) {
			r, err := s.root.Next(true, roots.Renew(s.now.Add(-2*day)))
			s.must(err)
			s.write(s.signRoot(r, "ann", "ben"))
		}, "", "has expired", faults.Refused},
		{"root signed by fewer keys than needed, the others being lost", rooted(func(s *scene) []byte {
			return s.next(roots.Renew(s.now.AddDate(2, 0, 0)), "ann").Encode()
		}), "", "needs 2 signatures of the root keys of version 2 (ann, ben, cat), and has those of ann", faults.Refused},
		{"root that only its own new keys have signed", rooted(func(s *scene) []byte {
			change := func(f *roots.File) error {
				if err := roots.Rotate("ann", "dan", s.keys["dan"].Public())(f); err != nil {
					return err
				}
				return roots.Rotate("ben", "eve", s.keys["stranger"].Public())(f)
			}
			return s.next(change, "dan", "stranger").Encode()
		}), "", "signatures of the root keys of version 1", faults.Refused},
		{"root that only the old keys have signed", rooted(func(s *scene) []byte {
			change := func(f *roots.File) error {
				if err := roots.Rotate("ann", "dan", s.keys["dan"].Public())(f); err != nil {
					return err
				}
				return roots.Rotate("ben", "eve", s.keys["stranger"].Public())(f)
			}
			return s.next(change, "ann", "ben").Encode()
		}), "", "needs 2 signatures of the root keys of version 2", faults.Refused},
		{"root that skips a version", rooted(func(s *scene) []byte {
			s.root = s.next(roots.Renew(s.now.AddDate(2, 0, 0)), "ann", "ben")
			return s.next(roots.Renew(s.now.AddDate(3, 0, 0)), "ann", "ben").Encode()
		}), "", "between them one is missing", faults.Input},
		{"root of another name", rooted(func(s *scene) []byte {
			r, err := roots.New("acme2", s.now.AddDate(1, 0, 0), s.public("stranger"), 1)
			s.must(err)
			return s.signRoot(r, "stranger").Encode()
		}), "", "the policy names acme", faults.Refused},
		{"root with a key that has two roles", rooted(func(s *scene) []byte {
			return bytes.Replace(s.root.Encode(), []byte(`- "promote-1"`), []byte(`- "build-1"`), 1)
		}), "", "has the roles build and promote", faults.Input},
		{"root with one key under two names", rooted(func(s *scene) []byte {
			return bytes.Replace(s.root.Encode(), []byte(s.keys["cat"].Public().Text()), []byte(s.keys["ann"].Public().Text()), 1)
		}), "", "are one key", faults.Input},
		{"root that has a revoked key again", rooted(func(s *scene) []byte {
			return bytes.Replace(s.root.Encode(), []byte(s.keys["build-1"].Public().Text()), []byte(s.keys["build-0"].Public().Text()), 1)
		}), "", "key build-1 is revoked as build-0", faults.Input},
		{"root removed", func(s *scene) { s.policy = strings.Replace(strict, "trust.yaml", "gone.yaml", 1) }, "", "there is no trust root", faults.Input},

		// Registries.
		{"registry that hides the signatures", answering(".sig", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }), "signatures.build", none, 0},
		{"registry that gives another image for the signatures", answering(".sig", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			_, _ = w.Write([]byte(`{"schemaVersion":2,"manifests":[]}`))
		}), "signatures.build", "no image's manifest", 0},
		{"registry that gives other bytes", func(s *scene) {
			data := s.items[signed].Data
			answering(fmt.Sprintf("%x", sha256.Sum256(data)), func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(bytes.Repeat([]byte(" "), len(data)))
			})(s)
		}, "signatures.build", "is damaged", 0},
		{"registry that refuses to say", answering(".sig", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }), "", "403", faults.Remote},
		{"an artifact that no rule matches", func(s *scene) { s.policy = strings.Replace(strict, "[web]", "[worker]", 1) }, "rules", "no rule matches web", 0},
	}
}

// TestAttacks has our verifier look at evidence that was tampered with. docs/trust.md has the
// table.
func TestAttacks(t *testing.T) {
	t.Parallel()
	all := attacks()
	if len(all) < 40 {
		t.Errorf("only %d attacks", len(all))
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "trust.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if !strings.Contains(string(page), "\n| "+a.name+" |") {
			t.Errorf("docs/trust.md has no row %q", a.name)
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			a.do(s)
			d, err := s.decide()
			if a.rule == "" {
				if err == nil || faults.Of(err) != a.kind || !strings.Contains(err.Error(), a.told) {
					t.Errorf("%v, of kind %v", err, faults.Of(err))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d.Allowed || faults.Of(d.Err()) != faults.Refused {
				t.Errorf("it is allowed: %+v", d.Lines)
			}
			refused, told := false, false
			for _, l := range d.Lines {
				refused = refused || l.Rule == a.rule && !l.Holds
				told = told || !l.Holds && strings.Contains(l.Text, a.told)
			}
			for _, l := range d.Notes {
				told = told || strings.Contains(l.Text, a.told)
			}
			if !refused || !told {
				t.Errorf("rule %s, %q: %+v, notes %+v", a.rule, a.told, d.Lines, d.Notes)
			}
		})
	}
}

// What is not wrong is allowed, whatever strangers put beside it.
func TestAllowed(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(*scene){
		"as it should be": func(*scene) {},
		"as bundles": func(s *scene) {
			claims := []evidence.Claim{}
			for _, c := range []struct {
				predicateType string
				predicate     any
			}{{evidence.ProvenanceType, s.provenance()}, {evidence.VerdictType, s.verdict()}, {evidence.SBOMType, s.sbom()}} {
				data, err := json.Marshal(c.predicate)
				s.must(err)
				claims = append(claims, evidence.Claim{Type: c.predicateType, Predicate: data})
			}
			made, err := evidence.Sign(s.t.Context(), s.keys["build-1"], evidence.Bundles, "web", s.digest, s.now, claims...)
			s.must(err)
			s.items = append(made, s.items[tests])
		},
		"with garbage of strangers": func(s *scene) {
			s.items = append(s.items, s.sign("stranger", s.digest), s.sign("build-1", s.other), asAttestation("x", []byte("garbage")),
				s.attest("stranger", evidence.VerdictType, s.verdict(func(v *audit.Verdict) { v.Passed = false })))
		},
		"with old results of tests": func(s *scene) {
			s.items = append(s.items, s.attest("test-1", evidence.TestType, s.tests(func(r *evidence.TestResult) { r.Time = s.now.AddDate(-1, 0, 0).Format(time.RFC3339) })))
		},
		"of a clock that is ten minutes ahead": func(s *scene) { s.items[signed] = s.signAt("build-1", s.digest, s.now.Add(10*time.Minute)) },
		"after a rotation of all keys": func(s *scene) {
			s.see(s.root)
			change := func(f *roots.File) error {
				if err := roots.Rotate("ann", "dan", s.keys["dan"].Public())(f); err != nil {
					return err
				}
				return roots.Rotate("build-1", "build-2", s.keys["build-2"].Public())(f)
			}
			s.write(s.next(change, "ann", "ben", "dan"))
			s.items = []registry.Evidence{
				s.sign("build-2", s.digest), s.attest("build-2", evidence.ProvenanceType, s.provenance()), s.attest("build-2", evidence.VerdictType, s.verdict()),
				s.items[tests], s.attest("build-2", evidence.SBOMType, s.sbom()),
			}
		},
		"two versions later": func(s *scene) {
			s.see(s.root)
			second := s.next(roots.Renew(s.now.AddDate(2, 0, 0)), "ann", "cat")
			s.must(os.WriteFile(filepath.Join(s.dir, "trust.2.yaml"), second.Encode(), 0o644))
			s.root = second
			s.write(s.next(roots.Renew(s.now.AddDate(3, 0, 0)), "ben", "cat"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			do(s)
			d, err := s.decide()
			if err != nil || !d.Allowed {
				t.Errorf("%v: %+v, notes %+v", err, d.Lines, d.Notes)
			}
		})
	}
}
