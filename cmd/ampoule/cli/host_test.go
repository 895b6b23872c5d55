package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/wiring"
)

// TestHost uses a root by all verbs of host, as text and as JSON.
func TestHost(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	var refs []string
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		refs = append(refs, "web@"+publish(ctx, t, w, sampleTree(t)))
		return nil
	})
	must(t, err)
	root := filepath.Join(t.TempDir(), "web")
	digest := strings.TrimPrefix(refs[0], "web@")
	other := "sha256:" + strings.Repeat("a", 64)
	idna := filepath.Join(root, "current", "lib/python3.13/site-packages/idna/__init__.py")
	site := filepath.Dir(filepath.Dir(idna))
	for _, c := range []struct {
		name string
		set  func()
		args []string
		code int
		// out and errs are what the verb must say, among other things; an empty out is nothing.
		out, errs []string
	}{
		{name: "no root", args: []string{"list"}, code: codeUsage, errs: []string{"--root is missing"}},
		{name: "nothing there", args: []string{"list", "--root", root}, code: codeNotFound},
		{name: "install", args: []string{"install", refs[0], "--root", root}, out: []string{filepath.Join(root, "releases", "sha256-")}},
		{name: "not active", args: []string{"verify", "--root", root}, code: codeNotFound},
		{name: "nothing to go back to", args: []string{"rollback", "--root", root}, code: codeNotFound, errs: []string{"release to go back to"}},
		{name: "activate another one", args: []string{"activate", other, "--root", root}, code: codeNotFound, errs: []string{other}},
		{name: "activate a tag", args: []string{"activate", "web:latest", "--root", root}, code: codeUsage, errs: []string{"it has no digest"}},
		{name: "activate", args: []string{"activate", digest, "--glance", "--root", root}, out: []string{root}, errs: []string{"is active"}},
		{name: "activate again", args: []string{"activate", refs[0], "--glance", "--root", root, "--output", "json"}, out: []string{`"same": true`, `"active": true`, digest}},
		{name: "list", args: []string{"list", "--root", root}, out: []string{"*", refs[0], "activated "}},
		{name: "list as JSON", args: []string{"list", "--root", root, "--output", "json"}, out: []string{`"active": true`, `"processes": []`, `"unseen": `}},
		{name: "history", args: []string{"history", "--root", root}, out: []string{"install", "activate", "ampoule host, by ann with sudo"}},
		{name: "history as JSON", args: []string{"history", "--root", root, "--output", "json"}, out: []string{`"op": "activate"`, `"by": "ampoule host, by ann with sudo"`}},
		{name: "verify", args: []string{"verify", "--root", root}, out: []string{"sha256:"}, errs: []string{"is whole"}},
		{name: "verify all", args: []string{"verify", "--all", "--root", root, "--output", "json"}, out: []string{`"proven": true`, `"drift": null`}},
		{name: "verify what is not there", args: []string{"verify", other, "--root", root}, code: codeNotFound, errs: []string{other}},
		{name: "verify both", args: []string{"verify", digest, "--all", "--root", root}, code: codeUsage},
		{name: "drift", set: func() {
			must(t, os.Remove(idna))
			must(t, os.MkdirAll(filepath.Join(site, "requests-2.32.0.dist-info"), 0o755))
			must(t, os.WriteFile(filepath.Join(site, "requests-2.32.0.dist-info", "INSTALLER"), []byte("pip\n"), 0o600))
		}, args: []string{"verify", "--root", root}, code: codeRefused, out: []string{"distribution requests 2.32.0: installed by pip", "missing  lib/python3.13/site-packages/idna/__init__.py"}, errs: []string{"hint: "}},
		{name: "drift as JSON", args: []string{"verify", "--root", root, "--output", "json"}, code: codeRefused, out: []string{`"proven": false`, `"installer": "pip"`, `"missing": [`}},
		{name: "activate what drifted", args: []string{"activate", digest, "--root", root}, code: codeRefused, errs: []string{"idna/__init__.py", "hint: "}},
		{name: "install again", args: []string{"install", refs[0], "--root", root}, out: []string{root}, errs: []string{"damaged: it is replaced"}},
		{name: "gc keeps nothing", args: []string{"gc", "--keep", "0", "--root", root}, code: codeUsage},
		{name: "gc", args: []string{"gc", "--keep", "1", "--root", root, "--output", "json"}, out: []string{`"removed": []`, `"kept": []`}},
		{name: "uninstall nothing", args: []string{"uninstall", "--root", root}, code: codeUsage},
		{name: "uninstall the active one", args: []string{"uninstall", digest, "--root", root}, code: codeMachine, errs: []string{"it is the active release", "hint: "}},
		{name: "uninstall all", args: []string{"uninstall", "--all", "--root", root}, out: []string{refs[0]}, errs: []string{"1 releases"}},
		{name: "nothing left", args: []string{"list", "--root", root, "--output", "json"}, out: []string{`"releases": []`}},
	} {
		if c.set != nil {
			c.set()
		}
		out.Reset()
		errs.Reset()
		code := Main(&Session{In: s.In, Out: out, Err: errs, Environ: []string{"SUDO_USER=ann"}}, append([]string{"--store", s.Store, "host"}, c.args...))
		if code != c.code || (out.Len() > 0) != (len(c.out) > 0) {
			t.Errorf("%s: code %d, want %d; stdout %q, stderr %q", c.name, code, c.code, out, errs)
		}
		for _, want := range []struct {
			in    *bytes.Buffer
			texts []string
		}{{out, c.out}, {errs, c.errs}} {
			for _, text := range want.texts {
				if !strings.Contains(want.in.String(), text) {
					t.Errorf("%s: %q is not in %q", c.name, text, want.in)
				}
			}
		}
	}
}
