package cli

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/ci"
	"ampoule/config"
	"ampoule/registry"
	"ampoule/registry/trust/evidence"
	"ampoule/wiring"
)

// machine is a directory with keys, a trust root and a policy, and a session that has them.
type machine struct {
	*Session
	t   *testing.T
	dir string
	out interface {
		String() string
		Reset()
	}
	errs interface {
		String() string
		Reset()
	}
}

// newMachine makes a trust root of one root key, with a build key and a test key.
func newMachine(t *testing.T) *machine {
	t.Helper()
	s, out, errs := session(t, goodRecipe)
	m := &machine{Session: s, t: t, dir: t.TempDir(), out: out, errs: errs}
	m.write("pw", "a passphrase\n")
	for _, name := range []string{"root", "build", "build-2", "test"} {
		if err := KeysGenerate(s, m.path(name), []byte("a passphrase")); err != nil {
			t.Fatal(err)
		}
	}
	m.ok("trust", "init", "--name", "acme", "--root-key", "root="+m.path("root.pub"))
	m.ok("trust", "add-key", "build="+m.path("build.pub"), "--role", "build")
	m.ok("trust", "add-key", "test="+m.path("test.pub"), "--role", "test")
	m.signRoot()
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) signRoot() {
	m.t.Helper()
	m.ok("trust", "sign", "--key", m.path("root.key"), "--passphrase-file", m.path("pw"))
}

// run runs the program, and returns its exit code.
func (m *machine) run(args ...string) int {
	m.out.Reset()
	if args[0] == "trust" {
		args = append(args, "--trust", m.path("trust.yaml"))
	}
	return Main(m.Session, append([]string{"--store", m.store()}, args...))
}

func (m *machine) store() string { return filepath.Join(m.dir, "store") }

func (m *machine) ok(args ...string) {
	m.t.Helper()
	if code := m.run(args...); code != codeDone {
		m.t.Fatalf("%s ends with code %d: %s", strings.Join(args, " "), code, m.errs)
	}
}

// publish publishes an artifact that a build key signs, if one is named, and says what the
// gate said, after changes.
func (m *machine) publish(key string, form string, changes ...func(*artifact.Artifact)) (ref string) {
	m.t.Helper()
	sealed := sampleTree(m.t)
	m.Store = m.store()
	err := m.wired(m.t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		if key != "" {
			if err := m.signBuilds(ctx, w, config.Sign{Key: m.path(key), PassphraseFile: m.path("pw"), Form: form}); err != nil {
				return err
			}
		}
		ref = "web@" + publishBy(ctx, m.t, w, sealed, "web", func(a *artifact.Artifact) {
			a.Verdict = []byte(`{"schema":"ampoule.verdict/v1","passed":true,"tree":"` + sealed.Hash() + `","time":"` + time.Now().UTC().Format(time.RFC3339) +
				`","targets":[{"name":"container"}],"checks":[{"name":"closure"}],"findings":[],"exceptions":[]}`)
			a.Provenance.BuildDefinition.BuildType = artifact.BuildType
			a.Provenance.BuildDefinition.InternalParameters.Network.Denied = true
			a.Provenance.RunDetails.Metadata.FinishedOn = time.Now().UTC().Format(time.RFC3339)
			for _, change := range changes {
				change(a)
			}
		})
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return ref
}

const built = `apiVersion: ampoule/v1
trust: {file: trust.yaml, name: acme}
rules:
- match: [web]
  provenance: {network: denied, max-age: 1d}
  verdict: {checks: [closure], targets: [container]}
`

// What a build key has signed runs here; what nobody has signed, or a key that was revoked,
// does not.
func TestPolicyOfAMachine(t *testing.T) {
	t.Parallel()
	for _, form := range []string{config.FormLegacy, config.FormBundle} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.write("policy.yaml", built)
			ref := m.publish("build.key", form)
			m.ok("verify", ref, "--policy", m.path("policy.yaml"))
			for _, want := range []string{"allows web@", "yes  signatures.build: signed by build", "yes  provenance: built by urn:ampoule:key:sha256:", "yes  verdict: passed 1 checks in container"} {
				if !strings.Contains(m.out.String(), want) {
					t.Errorf("no %q in:\n%s", want, m.out)
				}
			}
			m.Environ = []string{"AMPOULE_POLICY=" + m.path("policy.yaml")}
			root := m.path("root")
			m.ok("install", ref, "--root", root)
			m.Store = m.store()
			if err := m.allowCurrent(t.Context(), root); err != nil {
				t.Errorf("exec: %v", err)
			}

			m.write("policy.yaml", built+"  tests: {passed: [\"true\"]}\n")
			for _, args := range [][]string{{"verify", ref, "--policy="}, {"install", ref, "--root", root}, {"exec", "--root", root, "--", "true"}} {
				code := m.run(args...)
				// What verify explains is its result.
				if said := m.errs.String() + m.out.String(); code != codeRefused || !strings.Contains(said, "tests: nothing that a key of the role test has signed is there") {
					t.Errorf("%s ends with code %d: %s", args[0], code, said)
				}
			}
			if err := m.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
				reg, err := w.Registry()
				if err != nil {
					return err
				}
				allowed, err := m.guarded(ctx, w, reg)
				if err != nil {
					return err
				}
				return Run(ctx, m.Session, allowed, &engine{}, ref, RunOptions{})
			}); ExitCode(err) != codeRefused {
				t.Errorf("run: %v", err)
			}
			record := ci.Record{Schema: ci.RecordSchema, Ref: ref, Digest: strings.TrimPrefix(ref, "web@"), Passed: true, Runs: []ci.Ran{{Command: []string{"true"}, Started: time.Now()}}}
			m.write("record.json", string(record.Encode()))
			m.ok("ci", "attest", "--system", "shell", "--record", m.path("record.json"), "--key", m.path("test.key"), "--passphrase-file", m.path("pw"), "--form", form)
			m.ok("verify", ref, "--policy=")
			m.ok("install", ref, "--root", root)

			m.ok("trust", "rotate", "build", "build-2="+m.path("build-2.pub"))
			m.signRoot()
			for _, args := range [][]string{{"install", ref, "--root", root}, {"exec", "--root", root, "--", "true"}} {
				if code := m.run(args...); code != codeRefused || !strings.Contains(m.errs.String(), "signatures.build: nothing that a key") {
					t.Errorf("after the rotation %s ends with code %d: %s", args[0], code, m.errs)
				}
			}
		})
	}
}

// A signature is made once for each key and form, and a release without evidence is refused.
func TestSignVerb(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	ref := m.publish("", "")
	root := m.path("root")
	m.ok("install", ref, "--root", root)
	m.write("policy.yaml", "apiVersion: ampoule/v1\ntrust: {file: trust.yaml, name: acme}\nrules: [{match: [\"*\"]}]\n")
	m.Environ = []string{"AMPOULE_POLICY=" + m.path("policy.yaml")}
	if code := m.run("exec", "--root", root, "--", "true"); code != codeRefused || !strings.Contains(m.errs.String(), "was installed without a policy") {
		t.Errorf("code %d: %s", code, m.errs)
	}
	if code := m.run("install", ref, "--root", root); code != codeRefused {
		t.Errorf("what nobody has signed is installed: %d", code)
	}
	m.Environ = append(m.Environ, "AMPOULE_SIGN_KEY="+m.path("build.key"))
	for _, form := range []string{"legacy", "bundle", "legacy", "bundle"} {
		m.ok("sign", ref, "--form", form, "--passphrase-file", m.path("pw"))
	}
	m.ok("install", ref, "--root", root)
	if err := m.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		reg, err := w.Registry()
		if err != nil {
			return err
		}
		found, err := reg.Evidence(ctx, ref)
		if len(found) != 2 || found[0].Kind != registry.SignatureTag || found[1].Kind != registry.Bundle {
			t.Errorf("%+v", found)
		}
		for _, raw := range found {
			if item, err := evidence.Parse(raw); err != nil || item.PredicateType != evidence.SignatureType {
				t.Errorf("%v", err)
			}
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if strings.Contains(m.errs.String(), "a passphrase") {
		t.Errorf("the passphrase is told: %s", m.errs)
	}
}

// lay publishes a dependency group over an artifact, and signs it with a key if one is named.
func (m *machine) lay(key, ref string) (digest string) {
	m.t.Helper()
	m.Store = m.store()
	_, over, _ := strings.Cut(ref, "@")
	now := time.Now().UTC().Format(time.RFC3339)
	err := m.wired(m.t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		if key != "" {
			if err := m.signBuilds(ctx, w, config.Sign{Key: m.path(key), PassphraseFile: m.path("pw")}); err != nil {
				return err
			}
		}
		digest = publishGroup(ctx, m.t, w, over, "sha256:"+sumB, "lib/python3.13/site-packages/extra.py", func(g *artifact.Group) {
			g.Verdict = []byte(`{"schema":"ampoule.verdict/v1","passed":true,"group":"test","tree":"both","time":"` + now +
				`","targets":[{"name":"container"}],"checks":[{"name":"closure"}],"findings":[],"exceptions":[]}`)
			g.Provenance.BuildDefinition.BuildType = artifact.BuildType
			g.Provenance.BuildDefinition.InternalParameters.Network.Denied = true
			g.Provenance.BuildDefinition.ExternalParameters.Group = "test"
			g.Provenance.BuildDefinition.ExternalParameters.Artifact = &artifact.Resource{Digest: map[string]string{"sha256": over[7:]}}
			g.Provenance.RunDetails.Metadata.FinishedOn = now
			g.SBOM = func(digest string) ([]byte, error) {
				return []byte(`{"bomFormat":"CycloneDX","components":[{}],"of":"` + digest + `"}`), nil
			}
		})
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return digest
}

// runGroup runs an artifact with the group test over it under the machine's policy.
func (m *machine) runGroup(ref string) (files []string, err error) {
	m.t.Helper()
	m.Store = m.store()
	err = m.wired(m.t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		reg, err := w.Registry()
		if err != nil {
			return err
		}
		allowed, err := m.guarded(ctx, w, reg)
		if err != nil {
			return err
		}
		e := &engine{}
		err = Run(ctx, m.Session, allowed, e, ref, RunOptions{Groups: []string{"test"}})
		files = e.files
		return err
	})
	return files, err
}

// A group that a build key has signed runs over its artifact; one that nobody has signed does
// not, until it is. Its evidence goes with the artifact.
func TestGroupsUnderPolicy(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Environ = []string{"AMPOULE_POLICY=" + m.path("policy.yaml")}
	ref := m.publish("build.key", config.FormLegacy)
	group := m.lay("", ref)
	m.write("policy.yaml", "apiVersion: ampoule/v1\ntrust: {file: trust.yaml, name: acme}\nrules: [{match: [\"*\"]}]\n")
	refused := func(rule string) {
		t.Helper()
		if _, err := m.runGroup(ref); ExitCode(err) != codeRefused || !strings.Contains(err.Error(), group+" (dependency group test): "+rule) {
			t.Errorf("run: %v", err)
		}
		if code := m.run("verify", ref, "--policy=", "--group", "test"); code != codeRefused || !strings.Contains(m.out.String(), "allows "+ref+"\n") ||
			!strings.Contains(m.out.String(), "refuses web@"+group+" (dependency group test)\n") || !strings.Contains(m.out.String(), "no   "+rule) {
			t.Errorf("verify ends with code %d: %s%s", code, m.out, m.errs)
		}
	}
	runs := func() {
		t.Helper()
		if files, err := m.runGroup(ref); err != nil || !slices.Contains(files, "opt/ampoule/lib/python3.13/site-packages/extra.py") {
			t.Errorf("%q, %v", files, err)
		}
	}
	refused("signatures.build: nothing that a key")
	for _, want := range []string{"group test: signed by key sha256:", "group test: key sha256:"} {
		m.ok("sign", ref, "--group", "test", "--key", m.path("build.key"), "--passphrase-file", m.path("pw"))
		if !strings.Contains(m.errs.String(), want) {
			t.Errorf("signing says: %s", m.errs)
		}
	}
	runs()
	m.write("policy.yaml", built)
	refused("provenance: nothing that a key")
	if again := m.lay("build.key", ref); again != group {
		t.Errorf("the group that is signed is %s, the other one %s", again, group)
	}
	runs()
	m.ok("sbom", ref, "--group", "test")
	if !strings.Contains(m.out.String(), `"of":"`+group+`"`) {
		t.Errorf("its bill of materials: %s", m.out)
	}
	m.ok("copy", ref, m.path("layout"))
	m.ok("export", ref, "-o", m.path("web.tar"))
	for _, from := range []string{ref, m.path("layout"), m.path("web.tar")} {
		m.ok("verify", from, "--policy=", "--group", "test@"+group)
		if strings.Count(m.out.String(), "yes  provenance: built by urn:ampoule:key:sha256:") != 2 {
			t.Errorf("%s: %s", from, m.out)
		}
	}
	if code := m.run("verify", m.path("root"), "--group", "test"); code != codeUsage {
		t.Errorf("a group of an installed release: code %d", code)
	}
}
