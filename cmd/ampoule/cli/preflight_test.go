package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/wiring"
)

// TestPreflight looks at an artifact in a registry, and before it is installed. The machine
// is this one, so that only variables can make it unfit.
func TestPreflight(t *testing.T) {
	s, out, errs := session(t, goodRecipe)
	ref := ""
	if err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		ref = w.Reference("web", publish(ctx, t, w, sampleTree(t)))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	t.Setenv("TMPDIR", scratch)
	root := filepath.Join(t.TempDir(), "root")
	for _, c := range []struct {
		name, variable, value string
		args                  []string
		code                  int
		// out and errs are what the verb must say, among other things.
		out, errs string
		// switched says that the artifact is installed afterwards.
		switched bool
	}{
		{name: "unfit", variable: "PYTHONHOME", value: "/nowhere", args: []string{"preflight", ref}, code: codeMachine, out: "unfit: " + ref, errs: "PYTHONHOME"},
		{name: "fit", args: []string{"preflight", ref}, out: "fit: " + ref},
		{name: "as JSON", args: []string{"preflight", ref, "--output", "json"}, out: `"schema": "ampoule.preflight/v1"`},
		{name: "not there", args: []string{"preflight", "web@sha256:" + sumA}, code: codeNotFound, errs: "not found"},
		{name: "unfit to install", variable: "PYTHONHOME", value: "/nowhere", args: []string{"install", ref, "--root", root}, code: codeMachine, errs: "this machine cannot run"},
		{name: "install with a warning", variable: "SSL_CERT_FILE", value: "/nowhere", args: []string{"install", ref, "--root", root}, errs: "certificates: SSL_CERT_FILE=/nowhere", switched: true},
		{name: "installed", args: []string{"preflight", filepath.Join(root, "current")}, out: "fit: " + root, switched: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := &Session{In: s.In, Out: out, Err: errs}
			if c.variable != "" {
				at.Environ = []string{c.variable + "=" + c.value}
			}
			out.Reset()
			errs.Reset()
			code := Main(at, append([]string{"--store", s.Store}, c.args...))
			if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.errs) {
				t.Errorf("code %d, stdout %q, stderr %q; want code %d, %q and %q", code, out, errs, c.code, c.out, c.errs)
			}
			if _, err := os.Stat(filepath.Join(root, "current")); (err == nil) != c.switched {
				t.Errorf("current: %v, want it there: %t", err, c.switched)
			}
			if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
				t.Errorf("left in the temporary directory: %v (%v)", left, err)
			}
		})
	}
}
