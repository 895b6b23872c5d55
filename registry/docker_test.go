//go:build docker

package registry_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/install"
	serving "ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/tree"
)

// program says where it was started from and what stands in the base.
const program = `package main

import ("fmt"; "os")

func main() {
	release, _ := os.ReadFile("/etc/os-release")
	fmt.Printf("%s %s %s", os.Args[0], os.Args[1], release)
}
`

// docker runs the Docker client and returns what it says.
func docker(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	cmd.Stdin = strings.NewReader(stdin)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, messages.String())
	}
	return out.String()
}

// remove makes Docker forget something when the test ends.
func remove(t *testing.T, args ...string) {
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "docker", args...).Run() })
}

// compile makes a static executable.
func compile(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", binary, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling: %v\n%s", err, out)
	}
	raw, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// nobody has no token.
type nobody struct{}

func (nobody) Any() (bool, error)                 { return false, nil }
func (nobody) Check(string) (tokens.Token, error) { return tokens.Token{}, tokens.ErrUnknown }

// serve answers Docker's pulls until the test ends.
func serve(t *testing.T, r *embedded.Registry) (address string) {
	t.Helper()
	return serveTo(t, r, nobody{})
}

// serveTo answers those who have a token until the test ends.
func serveTo(t *testing.T, r *embedded.Registry, who serving.Tokens) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- serving.Serve(ctx, r, who, serving.Config{Listen: "127.0.0.1:0"}, func(a string) { ready <- a })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return <-ready
}

func TestDockerPullsRunsAndCopies(t *testing.T) {
	e := embedded.Open(t.TempDir())
	address := serve(t, e)
	r, err := registry.Local(e)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := sample(t, key("1"), string(compile(t)))
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	ref := address + "/" + done.Ref

	docker(t, "", "pull", "--quiet", ref)
	remove(t, "rmi", "--force", ref)
	if got, want := docker(t, "", "run", "--rm", "--network=none", ref, "ran"), "/opt/ampoule/bin/python3 ran ID=test\n"; got != want {
		t.Errorf("docker run says %q, want %q", got, want)
	}

	built := strings.ToLower("ampoule-registry-test-" + time.Now().UTC().Format("20060102150405.000000"))
	dockerfile := "FROM scratch\nCOPY --from=" + ref + " /opt/ampoule /elsewhere\nENTRYPOINT [\"/elsewhere/bin/python\"]\n"
	docker(t, dockerfile, "build", "--quiet", "--tag", built, "-")
	remove(t, "rmi", "--force", built)
	if got, want := docker(t, "", "run", "--rm", "--network=none", built, "copied"), "/elsewhere/bin/python copied "; got != want {
		t.Errorf("the image made by COPY --from says %q, want %q", got, want)
	}

	root := t.TempDir()
	installed, err := install.Install(t.Context(), r, done.Ref, install.Options{Root: root, Platform: platform})
	if err != nil {
		t.Fatal(err)
	}
	if got := exported(t, ref).Hash(); got != installed.TreeHash {
		t.Errorf("docker export holds tree %s, the release %s", got, installed.TreeHash)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(root, "current", "bin", "python3"), "installed").Output()
	if err != nil || !strings.Contains(string(out), "installed") {
		t.Errorf("the installed program says %q (%v)", out, err)
	}
	runsInstalled(t, r, done, ref)
}

// runsInstalled installs beside files of strangers, which stay, and has a user who owns
// nothing run the tree in a container that has nothing else of it.
func runsInstalled(t *testing.T, r *registry.Registry, done registry.Published, image string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "a[b")
	strangers := []string{"releases/notes.json", "releases/.tmp-mine/file", ".tmp-x"}
	for _, name := range strangers {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte("stranger's"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := install.Install(t.Context(), r, done.Ref, install.Options{Root: root, Platform: platform}); err != nil {
		t.Fatal(err)
	}
	for _, name := range strangers {
		if raw, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(raw) != "stranger's" {
			t.Errorf("%s holds %q (%v)", name, raw, err)
		}
	}
	said := docker(t, "", "run", "--rm", "--network=none", "--user=65534:65534", "--volume="+root+":/web:ro", "--entrypoint=/web/current/bin/python3", image, "ran")
	if !strings.HasPrefix(said, "/web/current/bin/python3 ran ") {
		t.Errorf("another user's program says %q", said)
	}
	options := install.VerifyOptions{Ref: done.Digest, Platform: platform}
	if _, err := install.Verify(t.Context(), root, options); err != nil {
		t.Error(err)
	}
	if err := os.Truncate(filepath.Join(root, "current", "lib", "flask.py"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := install.Verify(t.Context(), root, options); err == nil {
		t.Error("a file that was emptied is verified")
	}
}

// exported reads the tree out of a container's whole file system.
func exported(t *testing.T, ref string) *tree.Tree {
	t.Helper()
	id := strings.TrimSpace(docker(t, "", "create", "--network=none", ref, "x"))
	remove(t, "rm", "--force", id)
	f, err := os.Create(filepath.Join(t.TempDir(), "export.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := io.Copy(f, strings.NewReader(docker(t, "", "export", id)))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := tree.FromTar(f, size, tree.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return whole.Sub(artifact.Prefix)
}
