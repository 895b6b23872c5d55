package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/tree"
	"ampoule/wiring"
)

// What a service says of its artifacts is what a registry says of them, and verbs that take artifacts
// take them from there.
func TestServedArtifacts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shared := filepath.Join(dir, "shared")
	in := func(store string, environ ...string) func(args ...string) (int, string, string) {
		return func(args ...string) (int, string, string) {
			var out, errs lockedBuffer
			s := &Session{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: append(environ, "HOME="+dir)}
			code := Main(s, append([]string{"--store", store}, args...))
			return code, out.String(), errs.String()
		}
	}
	here := in(shared)
	first := sampleTree(t)
	second, err := tree.New(append(first.Entries(), tree.FileEntry("lib/more.txt", 0o644, []byte("more\n"))))
	if err != nil {
		t.Fatal(err)
	}
	var one, two string
	s := &Session{Store: shared}
	if err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		one, two = publish(ctx, t, w, first), publishAs(ctx, t, w, second, "shop")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	a := startServiceIn(t, filepath.Join(dir, "data"), shared, nil)
	there := in(filepath.Join(dir, "empty"), "AMPOULE_SERVER="+a.url, "AMPOULE_TOKEN="+a.makeToken("me", "read:*", "pull:*"))
	for name, args := range map[string][]string{
		"a digest":             {"inspect", "web@" + one, "--output", "json"},
		"for people":           {"inspect", "shop@" + two},
		"a difference":         {"diff", "web@" + one, "shop@" + two},
		"a difference in JSON": {"diff", "web@" + one, "shop@" + two, "--output", "json"},
		"they differ":          {"diff", "web@" + one, "shop@" + two, "--exit-code"},
		"a name":               {"inspect", "web"},
		"none of that name":    {"inspect", "nothing"},
		"none with that tag":   {"inspect", "web:none"},
		"no bill":              {"sbom", "web@" + one},
		"no such bill":         {"sbom", "web@sha256:" + sumA},
	} {
		code, out, errs := here(args...)
		theirCode, theirOut, theirErrs := there(args...)
		if code != theirCode || out != theirOut {
			t.Errorf("%s: here %d %s, there %d %s\n(-here +there)%s", name, code, errs, theirCode, theirErrs, cmp.Diff(out, theirOut))
		}
	}
	if code, _, errs := there("inspect", "web@"+one, "--file", "bin/python3"); code != codeUsage || !strings.Contains(errs, "--file is about this machine") {
		t.Errorf("a file: %d %s", code, errs)
	}
	saved := filepath.Join(dir, "web.tar")
	if code, _, errs := there("export", "web@"+one, "-o", saved); code != codeDone {
		t.Fatalf("export: %d %s", code, errs)
	}
	if code, out, errs := there("inspect", saved, "--output", "json"); code != codeDone || !strings.Contains(out, one) {
		t.Errorf("what was exported: %d %s %s", code, out, errs)
	}
	if code, out, errs := there("copy", "web@"+one, filepath.Join(dir, "layout")+"/x"); code != codeDone {
		t.Errorf("copy: %d %s %s", code, out, errs)
	}
	reader := in(filepath.Join(dir, "empty"), "AMPOULE_SERVER="+a.url, "AMPOULE_TOKEN="+a.makeToken("reader", "read:*"))
	if code, _, errs := reader("export", "web@"+one, "-o", saved+"2"); code != faults.Remote.Code() || !strings.Contains(errs, "token reader may not pull web") || !strings.Contains(errs, "hint: the token needs a scope") {
		t.Errorf("a token that may not pull: %d %s", code, errs)
	}
}

// A wheel that a service looks at has the report that it has here.
func TestServedAudit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := startService(t, filepath.Join(dir, "data"), nil)
	a.token = a.makeToken("me", "read:*")
	wheel := filepath.Join(dir, "six-1.0-py3-none-any.whl")
	if err := os.WriteFile(wheel, []byte("no zip file"), 0o644); err != nil {
		t.Fatal(err)
	}
	local, _, _ := a.verb(dir, "audit", wheel)
	code, out, errs := a.verb(dir, "audit", wheel, "--server", a.url, "--output", "json")
	var report struct{ Target, Outcome string }
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != local || report.Target != wheel {
		t.Errorf("%d, %d here: %+v, %v: %s", code, local, report, err, errs)
	}
}
