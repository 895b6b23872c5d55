package trust_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/internal/basetime"
	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/registry/trust"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/policy"
	"ampoule/registry/trust/roots"
	"ampoule/tree"
)

// memory is a [roots.Memory] in memory.
type memory struct {
	mu    sync.Mutex
	known map[string][]byte
}

func (m *memory) Lock(context.Context, string) (func(), error) {
	m.mu.Lock()
	return m.mu.Unlock, nil
}

func (m *memory) Lookup(kind, key string, v any) (bool, error) {
	data, ok := m.known[kind+key]
	if !ok {
		return false, nil
	}
	return true, json.Unmarshal(data, v)
}

func (m *memory) RecordDurably(kind, key string, v any) error {
	data, err := json.Marshal(v)
	if m.known == nil {
		m.known = map[string][]byte{}
	}
	m.known[kind+key] = data
	return err
}

// The pieces of evidence of a scene, by their place in its list.
const (
	signed = iota
	provenance
	verdict
	tests
	sbom
)

// strict is a policy that asks for everything.
const strict = `
apiVersion: ampoule/v1
trust: {file: trust.yaml, name: acme}
rules:
- match: [web]
  signatures: [build]
  provenance:
    builders: ["https://ci.example/1"]
    max-age: 90d
    network: denied
    source: {repositories: ["https://git.example/team/*"], refs: [refs/heads/main], tree: clean}
  verdict: {checks: [closure, load], targets: [container], max-age: 90d}
  tests: {passed: [python3 -m pytest], groups: [test], max-age: 7d}
  sbom: {}
`

// scene is an artifact in a registry with evidence beside it, and a machine with a policy.
type scene struct {
	t      *testing.T
	reg    *registry.Registry
	ref    string
	digest string
	tree   string
	// other is the digest of another artifact.
	other string
	now   time.Time
	keys  map[string]*keys.Private
	root  *roots.Root
	dir   string
	// policy is the policy's text; memory is the machine's.
	policy string
	memory *memory
	// items are attached when the machine looks.
	items []registry.Evidence
	// answer stands before the registry while a machine looks: it reports whether it has
	// answered.
	answer func(http.ResponseWriter, *http.Request) bool
	// looking is set while the machine looks.
	looking atomic.Bool
}

// sceneKeys are the keys of all scenes: made once, since that is all that takes time.
var sceneKeys = sync.OnceValue(func() map[string]*keys.Private {
	all := map[string]*keys.Private{}
	for _, name := range []string{"ann", "ben", "cat", "dan", "build-0", "build-1", "build-2", "test-1", "promote-1", "stranger"} {
		k, err := keys.Generate()
		if err != nil {
			panic(err)
		}
		all[name] = k
	}
	return all
})

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, now: basetime.Of(t).UTC().Truncate(time.Second), keys: sceneKeys(), dir: t.TempDir(), policy: strict, memory: &memory{}}
	inner := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.looking.Load() || s.answer == nil || !s.answer(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	var err error
	if s.reg, err = registry.Open(strings.TrimPrefix(server.URL, "http://") + "/team"); err != nil {
		t.Fatal(err)
	}
	s.ref, s.digest, s.tree = s.publish("1")
	_, s.other, _ = s.publish("2")
	s.root = s.newRoot()
	s.items = []registry.Evidence{
		s.sign("build-1", s.digest), s.attest("build-1", evidence.ProvenanceType, s.provenance()), s.attest("build-1", evidence.VerdictType, s.verdict()),
		s.attest("test-1", evidence.TestType, s.tests()), s.attest("build-1", evidence.SBOMType, s.sbom()),
	}
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// publish publishes a small artifact.
func (s *scene) publish(content string) (ref, digest, hash string) {
	s.t.Helper()
	whole, err := tree.New([]tree.Entry{tree.FileEntry("bin/python3", 0o755, []byte(content))})
	s.must(err)
	var tar bytes.Buffer
	s.must(whole.WriteTar(&tar, artifact.Prefix, s.now))
	open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tar.Bytes())), nil }
	l, err := layer.Packer{Dir: s.t.TempDir()}.Pack(s.t.Context(), "interpreter", fmt.Sprintf("sha256:%x", sha256.Sum256(tar.Bytes())), open)
	s.must(err)
	key := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	published, err := s.reg.Publish(s.t.Context(), registry.Packed{Name: "web", Key: key, Images: []registry.PackedImage{{
		Platform: "linux/amd64", Created: s.now, Layers: []layer.Layer{l},
		Config: artifact.Config{Architecture: "amd64", Labels: map[string]string{artifact.LabelKey: key, artifact.LabelTree: whole.Hash()}},
	}}})
	s.must(err)
	return published.Ref, published.Digest, whole.Hash()
}

// public are public keys by name.
func (s *scene) public(names ...string) map[string]keys.Public {
	all := map[string]keys.Public{}
	for _, name := range names {
		all[name] = s.keys[name].Public()
	}
	return all
}

// newRoot makes a trust root of two of three root keys, with a key for each role.
func (s *scene) newRoot() *roots.Root {
	s.t.Helper()
	r, err := roots.New("acme", s.now.AddDate(1, 0, 0), s.public("ann", "ben", "cat"), 2)
	s.must(err)
	for name, role := range map[string]string{"build-0": roots.RoleBuild, "build-1": roots.RoleBuild, "test-1": roots.RoleTest, "promote-1": roots.RolePromote} {
		r, err = r.Next(true, roots.AddKey(name, s.keys[name].Public(), role, 0, ""))
		s.must(err)
	}
	r, err = r.Next(true, roots.Revoke("build-0", "stolen"))
	s.must(err)
	return s.signRoot(r, "ann", "ben")
}

func (s *scene) signRoot(r *roots.Root, by ...string) *roots.Root {
	s.t.Helper()
	var err error
	for _, name := range by {
		r, err = r.Sign(s.t.Context(), s.keys[name])
		s.must(err)
	}
	return r
}

// next makes the version of the root that follows, signed by keys.
func (s *scene) next(change roots.Change, by ...string) *roots.Root {
	s.t.Helper()
	r, err := s.root.Next(false, change)
	s.must(err)
	return s.signRoot(r, by...)
}

// write puts a root onto the machine.
func (s *scene) write(r *roots.Root) { s.writeText(r.Encode()) }

func (s *scene) writeText(text []byte) {
	s.t.Helper()
	s.must(os.WriteFile(filepath.Join(s.dir, "trust.yaml"), text, 0o644))
}

// see has the machine see a root.
func (s *scene) see(r *roots.Root) {
	s.t.Helper()
	s.write(r)
	_, err := roots.Open(s.t.Context(), s.memory, filepath.Join(s.dir, "trust.yaml"), "acme", s.now)
	s.must(err)
}

func (s *scene) sign(key, digest string) registry.Evidence {
	s.t.Helper()
	return s.signAt(key, digest, s.now)
}

func (s *scene) signAt(key, digest string, at time.Time) registry.Evidence {
	s.t.Helper()
	made, err := evidence.Sign(s.t.Context(), s.keys[key], evidence.Legacy, "web", digest, at)
	s.must(err)
	return made[0]
}

func (s *scene) attest(key, predicateType string, predicate any) registry.Evidence {
	s.t.Helper()
	return s.attestAbout(s.digest, key, predicateType, predicate)
}

// attestAbout signs whatever is claimed, as a thief of the key would: nothing is checked.
func (s *scene) attestAbout(digest, key, predicateType string, predicate any) registry.Evidence {
	s.t.Helper()
	statement, err := evidence.About("web", digest, predicateType, predicate)
	s.must(err)
	e, err := statement.Sign(s.t.Context(), s.keys[key])
	s.must(err)
	return asAttestation(predicateType, e.Encode())
}

func asAttestation(predicateType string, data []byte) registry.Evidence {
	return registry.Evidence{
		Kind: registry.AttestationTag, MediaType: evidence.EnvelopeMediaType, Data: data,
		Annotations: map[string]string{evidence.AnnotationSignature: "", evidence.AnnotationPredicate: predicateType},
	}
}

func (s *scene) provenance(changes ...func(*artifact.Provenance)) artifact.Provenance {
	var p artifact.Provenance
	p.BuildDefinition.BuildType = artifact.BuildType
	p.BuildDefinition.ExternalParameters.Recipe = json.RawMessage(`{"name":"web"}`)
	p.BuildDefinition.ExternalParameters.Source = &artifact.ProvenanceSource{
		Repository: "https://git.example/team/web", Ref: "refs/heads/main", Commit: strings.Repeat("a", 40),
	}
	p.BuildDefinition.InternalParameters.Network = artifact.NetworkState{Denied: true, Checked: "inspected"}
	p.RunDetails.Builder.ID = "https://ci.example/1"
	p.RunDetails.Metadata.FinishedOn = s.now.Add(-time.Hour).Format(time.RFC3339)
	for _, change := range changes {
		change(&p)
	}
	return p
}

func (s *scene) verdict(changes ...func(*audit.Verdict)) audit.Verdict {
	v := audit.Verdict{
		Schema: audit.VerdictSchema, Passed: true, Tree: s.tree, Time: s.now.Add(-time.Hour).Format(time.RFC3339),
		Targets: []audit.VerdictTarget{{Name: "container"}}, Checks: []audit.CheckResult{{Name: "closure"}, {Name: "load"}},
	}
	for _, change := range changes {
		change(&v)
	}
	return v
}

func (s *scene) tests(changes ...func(*evidence.TestResult)) evidence.TestResult {
	r := evidence.TestResult{
		Result: evidence.Passed, PassedTests: []string{"python3 -m pytest"}, Time: s.now.Add(-time.Hour).Format(time.RFC3339),
		Configuration: []evidence.Resource{{URI: evidence.GroupURI + "test"}},
	}
	for _, change := range changes {
		change(&r)
	}
	return r
}

func (s *scene) sbom() any {
	return map[string]any{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []any{map[string]any{"name": "flask"}}}
}

// envelope is that of an attestation.
func (s *scene) envelope(i int) evidence.Envelope {
	s.t.Helper()
	e, err := evidence.ParseEnvelope(s.items[i].Data)
	s.must(err)
	return e
}

// decide is what the machine says. Nothing of the evidence is kept from before.
func (s *scene) decide() (policy.Decision, error) {
	s.t.Helper()
	ctx := s.t.Context()
	if _, err := os.Stat(filepath.Join(s.dir, "trust.yaml")); err != nil {
		s.write(s.root)
	}
	s.must(os.WriteFile(filepath.Join(s.dir, "policy.yaml"), []byte(s.policy), 0o644))
	if len(s.items) > 0 {
		s.must(s.reg.AddEvidence(ctx, s.ref, s.items...))
	}
	s.looking.Store(true)
	j, err := trust.Open(ctx, s.memory, filepath.Join(s.dir, "policy.yaml"), func() time.Time { return s.now })
	if err != nil {
		return policy.Decision{}, err
	}
	d, err := s.reg.Resolve(ctx, s.ref)
	if err != nil {
		return policy.Decision{}, err
	}
	return j.Decide(ctx, s.reg, d)
}

// rawSignature makes evidence of a payload with the signature of a key over another one.
func rawSignature(payload, signature []byte) registry.Evidence {
	return registry.Evidence{
		Kind: registry.SignatureTag, MediaType: evidence.SimpleMediaType, Data: payload,
		Annotations: map[string]string{evidence.AnnotationSignature: base64.StdEncoding.EncodeToString(signature)},
	}
}
