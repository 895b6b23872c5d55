//go:build docker

package endtoend

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
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
	// The same archive each time, so that what stands on it is built once.
	archive := filepath.Join(cache, "bookworm.tar")
	if _, err := os.Stat(archive); err != nil {
		made := filepath.Join(cache, "new-bookworm.tar")
		run(t, "mmdebstrap", "--variant=essential", "bookworm", made)
		if err := os.Rename(made, archive); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "docker", "import", archive, name+":1")
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
