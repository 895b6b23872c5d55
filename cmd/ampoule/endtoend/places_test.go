//go:build docker

package endtoend

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// serve serves the store's registry until the test ends, and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(program, "--store", filepath.Join(cache, "store"), "registry", "serve", "--listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("registry serve: %v", err)
	}
	return strings.TrimPrefix(strings.TrimSpace(line), "http://")
}

// tryDocker pulls the digest with Docker itself and looks at what it runs.
func tryDocker(t *testing.T, a artifact) {
	image := serve(t) + "/" + a.ref
	if out := run(t, "docker", "run", "--rm", "--network", "none", image, "python3", "-c", "import flask, psycopg2; print(psycopg2.__libpq_version__ > 0)"); !strings.HasSuffix(out, "True") {
		t.Errorf("docker run printed %q", out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", image).Run() })

	dir := t.TempDir()
	dockerfile := "FROM scratch\nCOPY --from=" + image + " /opt/ampoule /opt/ampoule\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "docker", "build", "--quiet", dir)
	build.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("docker build with COPY --from: %v\n%s", err, out)
	}
	lines := strings.Fields(string(out))
	copied := lines[len(lines)-1]
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", copied).Run() })

	want := treeOf(t, image)
	if got := treeOf(t, copied, "none"); got != want {
		t.Errorf("COPY --from gave the tree %s, the image has %s", got, want)
	}
	root := t.TempDir()
	ampoule(t, "install", a.ref, "--root", root)
	if got := ampoule(t, "tree", "hash", filepath.Join(root, "current")); got != want {
		t.Errorf("the installed tree is %s, the image's is %s", got, want)
	}
}

// treeOf recomputes the tree's hash over docker export.
func treeOf(t *testing.T, image string, command ...string) string {
	t.Helper()
	container := run(t, "docker", append([]string{"create", image}, command...)...)
	lines := strings.Fields(container)
	container = lines[len(lines)-1]
	defer exec.Command("docker", "rm", "--force", container).Run()
	archive := filepath.Join(t.TempDir(), "export.tar")
	run(t, "docker", "export", "--output", archive, container)
	return ampoule(t, "tree", "hash", archive, "--prefix", "opt/ampoule")
}

// tryMoved runs the tree through a link, in environments, and where nothing can be written.
func tryMoved(t *testing.T, a artifact) {
	dir := t.TempDir()
	ampoule(t, "install", a.ref, "--root", filepath.Join(dir, "there"))
	python := filepath.Join(dir, "there", "current", "bin", "python3")
	carried := "import ssl, sqlite3, ctypes, lzma; print(ssl.create_default_context().cert_store_stats()['x509_ca'] > 50)"
	for name, args := range map[string][]string{
		"plain":  {"-m", "venv"},
		"copies": {"-m", "venv", "--copies"},
	} {
		env := filepath.Join(dir, "env-"+name)
		run(t, python, append(args, env)...)
		if out := run(t, filepath.Join(env, "bin", "python"), "-c", carried); out != "True" {
			t.Errorf("in a venv (%s): %s", name, out)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(python, link); err != nil {
		t.Fatal(err)
	}
	if out := run(t, link, "-c", carried); out != "True" {
		t.Errorf("through a link: %s", out)
	}
	tool := filepath.Join(dir, "flask")
	if err := os.Symlink(filepath.Join(dir, "there", "current", "bin", "flask"), tool); err != nil {
		t.Fatal(err)
	}
	if out := run(t, tool, "--version"); !strings.Contains(out, "Python 3.13.5") {
		t.Errorf("a script through a link: %s", out)
	}
	mounted := filepath.Join(dir, "mounted")
	if err := os.Mkdir(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	release, err := filepath.EvalSymlinks(filepath.Join(dir, "there", "current"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "--bind", release, mounted)
	defer run(t, "umount", mounted)
	run(t, "mount", "-o", "remount,bind,ro", mounted)
	if out := run(t, filepath.Join(mounted, "bin", "python3"), "-c", carried+"; import flask"); out != "True" {
		t.Errorf("from a read-only mount: %s", out)
	}
	refused := exec.Command(filepath.Join(dir, "there", "current", "bin", "pip3"), "install", "six")
	if out, err := refused.CombinedOutput(); err == nil || !strings.Contains(string(out), "externally-managed-environment") {
		t.Errorf("pip install in the tree: %v\n%s", err, out)
	}
}
