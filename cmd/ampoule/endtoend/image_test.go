//go:build docker

package endtoend

import (
	"io"
	"log"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

var pushed = regexp.MustCompile(`digest: (sha256:[0-9a-f]{64})`)

// TestBaseImage builds on an image of a registry that Docker pushed there.
func TestBaseImage(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	name := strings.TrimPrefix(server.URL, "http://") + "/base"
	archive := exec.CommandContext(t.Context(), "tar", "--directory="+rootfs(t, "bookworm"), "--create", "--exclude=./dev/*", ".")
	load := exec.CommandContext(t.Context(), "docker", "import", "-", name+":1")
	pipe, err := archive.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	load.Stdin = pipe
	if err := archive.Start(); err != nil {
		t.Fatal(err)
	}
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
	if err := archive.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", name+":1").Run() })
	m := pushed.FindStringSubmatch(run(t, "docker", "push", name+":1"))
	if m == nil {
		t.Fatal("docker push names no digest")
	}
	a := build(t, "testdata/image", "BASE", name+"@"+m[1])
	if out := ampoule(t, "run", a.ref, "--", "-c", "import markupsafe._speedups; print('fine')"); out != "fine" {
		t.Errorf("on a base image the artifact printed %q", out)
	}
}
