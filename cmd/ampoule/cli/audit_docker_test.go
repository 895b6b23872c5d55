//go:build docker

package cli

import (
	"bytes"
	"context"
	"os/exec"
	"testing"

	"ampoule/builder/sandbox/sandboxtest"
)

// An image that only Docker has is asked for by its name, and saved.
func TestAuditOfDockersImage(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	name := "ampoule-audit-test:" + sandboxtest.Unique()
	load := exec.CommandContext(t.Context(), "docker", "import", "-", name)
	load.Stdin = bytes.NewReader(imageLayer(t))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "docker", "rmi", "--force", name).Run() })
	if r := audited(t, s, name, AuditOptions{}); r.Units[0].Path != "/"+inPrefix(wheelFile) || r.Target != name {
		t.Errorf("audited %s of %s", r.Units[0].Path, r.Target)
	}
	if err := Audit(t.Context(), s, name+"-gone", AuditOptions{Root: "/"}); ExitCode(err) != codeNotFound {
		t.Errorf("a name that Docker does not have: %v, code %d", err, ExitCode(err))
	}
}
