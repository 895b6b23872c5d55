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

// baseSuite is the suite of the base image: the oldest one that tests have.
const baseSuite = "bullseye"

// pushedBase pushes an image with Docker into a registry, and returns its reference by digest.
func pushedBase(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	name := strings.TrimPrefix(server.URL, "http://") + "/base"
	run(t, "docker", "import", baseArchive(t), name+":1")
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", name+":1").Run() })
	m := pushed.FindStringSubmatch(run(t, "docker", "push", name+":1"))
	if m == nil {
		t.Fatal("docker push names no digest")
	}
	return name + "@" + m[1]
}

// baseArchive is the same archive each time, so that what stands on it is built once.
func baseArchive(t *testing.T) string {
	t.Helper()
	bootstrapping.Lock()
	defer bootstrapping.Unlock()
	archive := filepath.Join(cache, baseSuite+".tar")
	if _, err := os.Stat(archive); err == nil {
		return archive
	}
	made := filepath.Join(cache, "new-"+baseSuite+".tar")
	run(t, "mmdebstrap", "--quiet", "--variant=essential", baseSuite, made)
	if err := os.Rename(made, archive); err != nil {
		t.Fatal(err)
	}
	return archive
}

// TestBaseImage builds on an image of a registry that Docker pushed there, for a container on
// the same image.
func TestBaseImage(t *testing.T) {
	beside(t)
	a := build(t, "testdata/image", "BASE", pushedBase(t))
	if out := ampoule(t, "run", a.ref, "--", "-c", "import markupsafe._speedups; print('fine')"); out != "fine" {
		t.Errorf("on a base image the artifact printed %q", out)
	}
}
