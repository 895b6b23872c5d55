//go:build docker

package endtoend

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signedPolicy asks for all that a build signs.
const signedPolicy = `apiVersion: ampoule/v1
trust: {file: trust.yaml, name: %s}
rules:
- match: ["*"]
  provenance: {network: denied, max-age: 1d}
  verdict: {checks: [closure, load], targets: [container]}
  sbom: {}
`

// TestSignedBuild signs an artifact and a dependency group while they are built. A machine with
// a policy runs both, takes them along in a file, and stops when the key is revoked.
func TestSignedBuild(t *testing.T) {
	beside(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	g := grouped{file: at("ampoule.yaml"), text: fmt.Sprintf(groupRecipe, fmt.Sprintf("signed-%d", time.Now().UnixNano())), kept: t.TempDir()}
	g.write(t, "")
	ampoule(t, "-f", g.file, "lock")
	g.laying(t, map[string]string{"fine.py": "answer = 42\n"})
	// The store of the tests remembers each trust root that it has seen.
	root := fmt.Sprintf("acme-%d", time.Now().UnixNano())
	for name, text := range map[string]string{"pw": "a passphrase", "policy.yaml": fmt.Sprintf(signedPolicy, root)} {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust := func(args ...string) {
		t.Helper()
		ampoule(t, append([]string{"trust", "--trust", at("trust.yaml")}, args...)...)
	}
	for _, name := range []string{"root", "build"} {
		ampoule(t, "keys", "generate", at(name), "--passphrase-file", at("pw"))
	}
	trust("init", "--name", root, "--root-key", "root="+at("root.pub"))
	trust("add-key", "build="+at("build.pub"), "--role", "build")
	trust("sign", "--key", at("root.key"), "--passphrase-file", at("pw"))

	environ := []string{"AMPOULE_KEPT=" + g.kept, "AMPOULE_POLICY=" + at("policy.yaml")}
	want := func(code int, says string, args ...string) string {
		t.Helper()
		done := in(t, "", environ, args...)
		if done.code != code || !strings.Contains(done.out+done.errs, says) {
			t.Fatalf("%s ends with code %d, want %d and %q:\n%s\n%s", args[0], done.code, code, says, done.out, done.errs)
		}
		return done.out
	}
	ref := want(0, "signed by key sha256:", "-f", g.file, "build", "--group", "test", "--sign-key", at("build.key"), "--passphrase-file", at("pw"))
	told := want(0, "(dependency group test)", "verify", ref, "--policy=", "--group", "test")
	if strings.Count(told, " allows ") != 2 || strings.Count(told, "yes  sbom: lists ") != 2 || strings.Contains(told, "\n  no ") {
		t.Errorf("the policy says:\n%s", told)
	}
	ask := []string{"--", "-c", "import fine, itsdangerous; print('it is', fine.answer)"}
	want(0, "it is 42", append([]string{"run", "--group", "test", ref}, ask...)...)
	if bill := want(0, "pkg:pypi/evil@1.0", "sbom", ref, "--group", "test"); strings.Contains(bill, "pkg:pypi/itsdangerous") {
		t.Errorf("the group's bill of materials has what is the artifact's:\n%s", bill)
	}

	want(0, "", "export", ref, "-o", at("signed.tar"))
	want(0, "(dependency group test)", "verify", at("signed.tar"), "--policy=", "--group", "test")
	want(0, "", "install", at("signed.tar"), "--root", at("root"))
	want(0, "installed", "exec", "--root", at("root"), "--", "python3", "-c", "import itsdangerous; print('installed')")

	trust("revoke", "build", "--why", "a test")
	trust("sign", "--key", at("root.key"), "--passphrase-file", at("pw"))
	const refuses = "signatures.build: "
	want(4, refuses, append([]string{"run", ref}, ask...)...)
	want(4, refuses, "exec", "--root", at("root"), "--", "python3", "-c", "1")
	want(4, refuses, "install", at("signed.tar"), "--root", at("other"))
}
