package trust_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/registry/trust"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/policy"
)

// laid is a dependency group that is published over the artifact of a scene.
type laid struct {
	*scene
	ref, digest string
	// items are what is signed of it.
	items []registry.Evidence
}

// lay publishes a group over the artifact, and signs all that a policy can ask for.
func (s *scene) lay(name string) *laid {
	s.t.Helper()
	g, err := registry.PackGroup(s.t.Context(), layer.Packer{Dir: s.t.TempDir()}, artifact.Group{
		Repository: "web", Digest: s.digest, Verdict: []byte("{}"),
		Record: artifact.GroupRecord{Schema: artifact.GroupSchema, Name: name, Artifact: s.digest, Key: s.other},
	})
	s.must(err)
	digest, err := s.reg.PublishGroup(s.t.Context(), g)
	s.must(err)
	l := &laid{scene: s, digest: digest, ref: strings.Replace(s.ref, s.digest, digest, 1)}
	l.items = []registry.Evidence{
		s.sign("build-1", digest), l.attest("build-1", evidence.ProvenanceType, l.provenance(name)),
		l.attest("build-1", evidence.VerdictType, l.verdict(name)), l.attest("build-1", evidence.SBOMType, s.sbom()),
	}
	return l
}

func (l *laid) attest(key, predicateType string, predicate any) registry.Evidence {
	l.t.Helper()
	return l.attestAbout(l.digest, key, predicateType, predicate)
}

func (l *laid) provenance(name string) artifact.Provenance {
	return l.scene.provenance(func(p *artifact.Provenance) {
		said := &p.BuildDefinition.ExternalParameters
		said.Group = name
		said.Artifact = &artifact.Resource{Name: "web", Digest: map[string]string{"sha256": strings.TrimPrefix(l.scene.digest, "sha256:")}}
	})
}

// verdict is one on the artifact and the group together, whose tree nothing names.
func (l *laid) verdict(name string) audit.Verdict {
	return l.scene.verdict(func(v *audit.Verdict) { v.Group, v.Tree = name, "both" })
}

// asked gives the groups of a scene's artifact as a machine with its policy has them.
func (s *scene) asked() ([]registry.Group, error) {
	s.t.Helper()
	s.write(s.root)
	s.must(os.WriteFile(filepath.Join(s.dir, "policy.yaml"), []byte(s.policy), 0o644))
	j, err := trust.Open(s.t.Context(), s.memory, filepath.Join(s.dir, "policy.yaml"), func() time.Time { return s.now })
	s.must(err)
	return trust.Guarded{Source: s.reg, Judge: j}.Groups(s.t.Context(), s.ref)
}

// A dependency group must have what the rule of its artifact asks for, of its own digest.
func TestGroups(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do func(*laid)
		// want is what the refusal says; empty where it may run.
		want string
	}{
		"signed":                   {func(*laid) {}, ""},
		"nothing":                  {func(l *laid) { l.items = nil }, "signatures.build: nothing that a key"},
		"signed by a stranger":     {func(l *laid) { l.items[signed] = l.sign("stranger", l.digest) }, "signatures.build: nothing that a key"},
		"signed by a test key":     {func(l *laid) { l.items[signed] = l.sign("test-1", l.digest) }, "signatures.build: nothing that a key"},
		"the artifact's signature": {func(l *laid) { l.items[signed] = l.scene.items[signed] }, "signatures.build: nothing that a key"},
		"the artifact's provenance": {func(l *laid) {
			l.items[provenance] = l.attest("build-1", evidence.ProvenanceType, l.scene.provenance())
		}, "it is the provenance of an artifact"},
		"another group's provenance": {func(l *laid) {
			l.items[provenance] = l.attest("build-1", evidence.ProvenanceType, l.provenance("lint"))
		}, `it is the provenance of the group "lint"`},
		"provenance over another artifact": {func(l *laid) { l.items[provenance] = l.attest("build-1", evidence.ProvenanceType, elsewhere(l)) }, "it does not say that it is laid over sha256:"},
		"the artifact's verdict":           {func(l *laid) { l.items[verdict] = l.attest("build-1", evidence.VerdictType, l.scene.verdict()) }, "it is a verdict on an artifact alone"},
		"another group's verdict":          {func(l *laid) { l.items[verdict] = l.attest("build-1", evidence.VerdictType, l.verdict("lint")) }, `it is a verdict on the group "lint"`},
		"no bill of materials":             {func(l *laid) { l.items = l.items[:3] }, "sbom: nothing that a key"},
		"tests are not asked of it":        {func(l *laid) { l.policy = strings.ReplaceAll(l.policy, "python3 -m pytest", "never run") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newScene(t).lay("test")
			c.do(l)
			if len(l.items) > 0 {
				l.must(l.reg.AddEvidence(t.Context(), l.ref, l.items...))
			}
			groups, err := l.asked()
			if err != nil || len(groups) != 1 || groups[0].Ref != l.ref {
				t.Fatalf("%+v, %v", groups, err)
			}
			refused := groups[0].Refused
			if c.want == "" {
				if refused != nil {
					t.Error(refused)
				}
				return
			}
			var told *policy.RefusedError
			if !errors.As(refused, &told) || !strings.Contains(refused.Error(), c.want) || faults.Of(refused) != faults.Refused || len(groups[0].Layers) > 0 {
				t.Errorf("%v, with %d layers", refused, len(groups[0].Layers))
			}
			if hints := strings.Join(faults.Hints(refused), " "); !strings.Contains(hints, "--group test") || !strings.Contains(refused.Error(), "(dependency group test)") {
				t.Errorf("%v; %s", refused, hints)
			}
		})
	}
}

// elsewhere is the provenance of a group over another artifact.
func elsewhere(l *laid) artifact.Provenance {
	p := l.provenance("test")
	p.BuildDefinition.ExternalParameters.Artifact.Digest["sha256"] = strings.TrimPrefix(l.other, "sha256:")
	return p
}

// What is said of a group counts for no artifact, and no group that a stranger adds is in the
// way of one that may run.
func TestGroupsOfStrangers(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	good := s.lay("test")
	s.must(s.reg.AddEvidence(t.Context(), good.ref, good.items...))
	evil, err := registry.PackGroup(t.Context(), layer.Packer{Dir: t.TempDir()}, artifact.Group{
		Repository: "web", Digest: s.digest, Verdict: []byte("{}"),
		Record: artifact.GroupRecord{Schema: artifact.GroupSchema, Name: "test", Artifact: s.digest, Key: s.digest},
	})
	s.must(err)
	_, err = s.reg.PublishGroup(t.Context(), evil)
	s.must(err)
	groups, err := s.asked()
	if err != nil || len(groups) != 2 {
		t.Fatal(groups, err)
	}
	chosen, err := registry.ChooseGroups(groups, []string{"test"})
	if err != nil || len(chosen) != 1 || chosen[0].Digest != good.digest {
		t.Errorf("%+v, %v", chosen, err)
	}
	s.items[provenance] = s.attest("build-1", evidence.ProvenanceType, good.provenance("test"))
	d, err := s.decide()
	s.must(err)
	if d.Allowed || !slices.ContainsFunc(d.Lines, func(l policy.Line) bool { return strings.Contains(l.Text, `it is the provenance of the group "test"`) }) {
		t.Errorf("%+v", d.Lines)
	}
}
