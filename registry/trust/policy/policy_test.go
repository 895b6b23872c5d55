package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/recipes"
)

const head = "apiVersion: ampoule/v1\ntrust: {file: trust.yaml, name: acme}\n"

// Each fault is told at its line and column.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"empty":                {"", "p.yaml:1:1: the file is empty"},
		"unknown key":          {head + "rules:\n- match: [web]\n  provenence: {}\n", `p.yaml:5:3: "provenence" is no key of rules[0]`},
		"unknown version":      {"apiVersion: ampoule/v2\ntrust: {file: t, name: a}\nrules: [{match: [web]}]\n", "p.yaml:1:13: apiVersion: "},
		"no trust":             {"apiVersion: ampoule/v1\nrules: [{match: [web]}]\n", "p.yaml:1:1: trust is missing"},
		"no rules":             {head + "rules: []\n", "p.yaml:3:8: rules is empty"},
		"matches nothing":      {head + "rules: [{match: []}]\n", "match is empty"},
		"a star without quote": {head + "rules: [{match: [*]}]\n", "p.yaml:3:"},
		"no signatures":        {head + "rules: [{match: [web], signatures: []}]\n", "p.yaml:3:24: signatures is empty: nobody would have to sign"},
		"a root signs nothing": {head + "rules: [{match: [web], signatures: [root]}]\n", `"root" is not a role whose keys sign artifacts`},
		"a role twice":         {head + "rules: [{match: [web], signatures: [build, build]}]\n", "twice"},
		"an age in weeks":      {head + "rules: [{match: [web], provenance: {max-age: 2w}}]\n", `"2w" is not an age as 12h or 90d`},
		"a network":            {head + "rules: [{match: [web], provenance: {network: allowed}}]\n", `"allowed" is not the one thing`},
		"a source for nothing": {head + "rules: [{match: [web], provenance: {source: {}}}]\n", "source asks for nothing"},
		"a check":              {head + "rules: [{match: [web], verdict: {checks: [clsure]}}]\n", `"clsure" is not a check of the gate`},
		"a target":             {head + "rules: [{match: [web], verdict: {targets: [docker]}}]\n", `"docker" is not a runtime target`},
		"any builder":          {head + "rules: [{match: [web], provenance: {builders: []}}]\n", "builders is empty"},
		"any repository":       {head + "rules: [{match: [web], provenance: {source: {repositories: [], tree: clean}}}]\n", "repositories is empty"},
		"nothing tested":       {head + "rules: [{match: [web], tests: {passed: []}}]\n", "passed is empty"},
		"shadowed":             {head + "rules: [{match: ['*']}, {match: [web]}]\n", `"web" is matched by rules[0] already`},
		"twice":                {head + "rules: [{match: ['team/*']}, {match: [web, 'team/*']}]\n", `"team/*" is matched by rules[0] already`},
		"an anchor":            {head + "rules: [&a {match: [web]}]\n", "an anchor"},
		"a second document":    {head + "rules: [{match: [web]}]\n---\na: b\n", "a second document"},
	} {
		_, err := Parse("p.yaml", []byte(test.text))
		var all recipes.Faults
		if !errors.As(err, &all) || !strings.Contains(err.Error(), test.want) || all[0].Line == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read("/no/such/policy.yaml"); faults.Of(err) != faults.Input {
		t.Errorf("missing: %v", err)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	p, err := Parse("/etc/p.yaml", []byte(head+"rules: [{match: [web], signatures: [promote]}, {match: ['*', 'team/*'], sbom: {}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, name := range []string{"web", "webs", "team/web", "team/a/b"} {
		if r, ok := p.rule(name); ok {
			got[name] = r.Signatures
		}
	}
	want := map[string][]string{"web": {"promote"}, "webs": {"build"}, "team/web": {"build"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p.TrustFile() != "/etc/trust.yaml" {
		t.Errorf("the root is %s", p.TrustFile())
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"denied"`, "match are names of artifacts", "max-age is how long ago", `"signatures"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the schema has no %s: %s", want, data)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(head + "rules: [{match: ['*'], provenance: {max-age: 90d, source: {tree: clean}}, tests: {groups: [test]}}]\n"))
	f.Add([]byte(head + "rules: []\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse("p.yaml", text)
		if err != nil {
			if faults.Of(err) != faults.Input {
				t.Errorf("%v", err)
			}
			return
		}
		for _, r := range p.Rules {
			if len(r.Match) == 0 || r.Signatures != nil && len(r.Signatures) == 0 {
				t.Errorf("%+v", r)
			}
		}
	})
}
