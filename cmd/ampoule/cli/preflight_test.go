package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/audit/preflight"
	"ampoule/tree"
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

// What was found on this machine is believed while the machine is the same, and of a release that has the same
// native code.
func TestLookIsRemembered(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	next, err := sampleTree(t).With(tree.FileEntry("lib/python3.13/site-packages/idna/__init__.py", 0o644, []byte("x = 2\n")))
	must(t, err)
	next = next.Map(func(e tree.Entry) tree.Entry {
		if e.Owner == "" && e.Kind == tree.File {
			e.Owner = "wheel:idna"
		}
		return e
	})
	var digests []string
	must(t, s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		digests = append(digests, publishAs(ctx, t, w, sampleTree(t), "web"), publishAs(ctx, t, w, next, "next"))
		return nil
	}))
	root := filepath.Join(t.TempDir(), "web")
	var environ []string
	host := func(code int, says string, args ...string) {
		t.Helper()
		out.Reset()
		errs.Reset()
		got := Main(&Session{In: s.In, Out: out, Err: errs, Environ: environ}, append([]string{"--store", s.Store, "host"}, append(args, "--root", root)...))
		if got != code || !strings.Contains(errs.String(), says) {
			t.Errorf("%v: code %d, want %d; %q, want %q", args, got, code, errs, says)
		}
	}
	note := func(digest string) string {
		return filepath.Join(root, "releases", strings.Replace(digest, ":", "-", 1)+".looked")
	}
	read := func(digest string) (l looked) {
		t.Helper()
		raw, err := os.ReadFile(note(digest))
		must(t, err)
		_, body, _ := strings.Cut(string(raw), "\n")
		must(t, json.Unmarshal([]byte(body), &l))
		return l
	}
	write := func(digest string, l looked) {
		t.Helper()
		body, err := json.Marshal(l)
		must(t, err)
		must(t, os.WriteFile(note(digest), []byte(fmt.Sprintf("sha256:%x\n%s", sha256.Sum256(body), body)), 0o600))
	}
	host(0, "", "install", "web@"+digests[0], "--activate")
	one := read(digests[0])
	marked := one
	marked.Natives = append([]preflight.Item{{Name: "mark", State: preflight.Good}}, one.Natives...)
	write(digests[0], marked)
	host(0, "", "install", "next@"+digests[1], "--activate")
	if two := read(digests[1]); two.Asking != one.Asking || len(two.Natives) == 0 || two.Natives[0].Name != "mark" {
		t.Errorf("of the first release %+v was found, of the next one %+v", marked, two)
	}
	unfit := one
	unfit.Natives = []preflight.Item{{Name: "glibc", State: preflight.Unfit, Found: "1", Cause: "Old.", Remedy: "Renew."}}
	write(digests[0], unfit)
	host(codeMachine, "cannot run", "activate", digests[0])
	host(0, "", "rollback")
	host(0, "is active", "activate", digests[1])
	unfit.Machine = "another"
	write(digests[0], unfit)
	host(0, "is active", "rollback")
	if now := read(digests[0]); now.Machine != one.Machine || len(now.Natives) != len(one.Natives) {
		t.Errorf("looked again: %+v, want %+v", now, one)
	}
	host(0, "is active", "activate", digests[1])
	write(digests[0], unfit)
	environ = []string{"PYTHONHOME=/nowhere"}
	host(0, "it is active, and may not run: this machine cannot run", "rollback")
	host(codeMachine, "cannot run", "activate", digests[1])
}
