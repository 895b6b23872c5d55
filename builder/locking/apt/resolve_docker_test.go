//go:build docker

package apt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/toolchain/debian"
	"ampoule/config"
	"ampoule/recipes"
)

// archive is a flat repository of made-up packages; apt reads no package to resolve.
var archive = []string{
	"libc6 2", "base-files 1\nEssential: yes\nDepends: libc6", "usr-is-merged 1", "apt 1",
	"libx 2", "libx-dev 2\nDepends: libx (= 2), libc6\nRecommends: extra", "extra 1", "lonely 1\nDepends: libc6",
	"rival 1\nConflicts: lonely", "broken 1\nDepends: nothing-has-this",
}

// dirFor makes a directory that apt's user can enter.
func dirFor(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// repositoryOf writes a flat repository's list and makes a root that has it as its only
// source, with these options.
func repositoryOf(t *testing.T, list, options string) root {
	t.Helper()
	repository := dirFor(t)
	if err := os.WriteFile(filepath.Join(repository, "Packages"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := newRoot(dirFor(t), config.PlaceOf(os.Environ()).Network)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.setSources([]string{"deb " + options + " copy:" + repository + " ./"}); err != nil {
		t.Fatal(err)
	}
	return root
}

// open makes a resolver over the archive, by this machine's apt-get.
func open(t *testing.T) *Resolver {
	t.Helper()
	var list strings.Builder
	for _, p := range archive {
		name, rest, _ := strings.Cut(p, " ")
		fmt.Fprintf(&list, "Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: x\nDescription: x\nFilename: pool/%s.deb\nSize: 1\nSHA256: %s\n\n", name, rest, name, sum)
	}
	root := repositoryOf(t, list.String(), "[trusted=yes allow-insecure=yes]")
	if _, err := root.apply(t.Context(), true, "update"); err != nil {
		t.Fatal(err)
	}
	x, err := root.index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &Resolver{root: root, suite: "made-up", index: x}
}

func names(debs []recipes.Deb) []string {
	var out []string
	for _, d := range debs {
		out = append(out, d.Name)
	}
	return out
}

func installed(lines ...string) []debian.Stanza {
	var out []debian.Stanza
	for _, line := range lines {
		name, version, _ := strings.Cut(line, " ")
		out = append(out, debian.Stanza{
			{Name: "Package", Value: name}, {Name: "Version", Value: version}, {Name: "Architecture", Value: "amd64"},
			{Name: "Maintainer", Value: "x"}, {Name: "Description", Value: "x"},
		})
	}
	return out
}

func TestResolve(t *testing.T) {
	t.Parallel()
	r := open(t)
	for _, test := range []struct {
		name      string
		installed []debian.Stanza
		want      []string
		added     []string
	}{
		{"nothing installed", nil, nil, []string{"base-files", "libc6", "usr-is-merged"}},
		{"wanted beside essential", nil, []string{"libx-dev"}, []string{"base-files", "libc6", "libx", "libx-dev", "usr-is-merged"}},
		{"on what is installed", installed("libc6 2"), []string{"libx-dev"}, []string{"libx", "libx-dev"}},
		{"installed in an older version", installed("libc6 2", "libx 1"), []string{"libx"}, nil},
		{"older dependency is enough", installed("libc6 1"), []string{"lonely"}, []string{"lonely"}},
	} {
		got, err := r.Resolve(t.Context(), test.installed, test.want)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.added, names(got)); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	r := open(t)
	var unknown *UnknownError
	if _, err := r.Resolve(t.Context(), nil, []string{"libx-dve"}); !errors.As(err, &unknown) || unknown.Nearest != "libx-dev" {
		t.Errorf("unknown package: %v", err)
	}
	var change *ChangeError
	_, err := r.Resolve(t.Context(), installed("libc6 2", "libx 1"), []string{"libx-dev"})
	if !errors.As(err, &change) {
		t.Fatalf("upgrade: %v", err)
	}
	if diff := cmp.Diff([]string{"libx 1 → 2"}, change.Changes); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Resolve(t.Context(), installed("libc6 2", "lonely 1"), []string{"rival"}); !errors.As(err, &change) {
		t.Errorf("removal: %v", err)
	}
	var run *RunError
	if _, err := r.Resolve(t.Context(), nil, []string{"broken"}); !errors.As(err, &run) || !strings.Contains(err.Error(), "nothing-has-this") {
		t.Errorf("unmet dependency: %v", err)
	}
}

func TestHostConfigurationStaysOut(t *testing.T) {
	t.Parallel()
	r := open(t)
	out, err := r.root.run(t.Context(), "indextargets", "--format", "$(SOURCESENTRY)")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, r.root.dir) {
			t.Errorf("a source from elsewhere: %s", line)
		}
	}
}

func TestMissingSuite(t *testing.T) {
	t.Parallel()
	root, err := newRoot(dirFor(t), config.PlaceOf(os.Environ()).Network)
	if err != nil {
		t.Fatal(err)
	}
	_, err = root.updateOne(t.Context(), "nosuch", []string{"file:" + dirFor(t)})
	var missing *SuiteError
	if !errors.As(err, &missing) {
		t.Errorf("a mirror without the suite: %v", err)
	}
}

// What nobody signed, or only once upon a time, makes no lock.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	const list = "Package: evil\nVersion: 1\nArchitecture: amd64\nFilename: pool/evil.deb\nSize: 1\n\n"
	for name, release := range map[string]string{
		"no Release":       "",
		"Release, alone":   "Origin: x\nDate: Sat, 01 Jan 2028 00:00:00 UTC\n",
		"InRelease, plain": "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: x\n-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n",
	} {
		root := repositoryOf(t, list, "[signed-by="+keyring+" arch=amd64]")
		text, err := os.ReadFile(root.path("etc/sources.list"))
		if err != nil {
			t.Fatal(err)
		}
		repository := strings.TrimPrefix(strings.Fields(string(text))[3], "copy:")
		file := "Release"
		if strings.HasPrefix(release, "-----") {
			file = "InRelease"
		}
		if release != "" {
			if err := os.WriteFile(filepath.Join(repository, file), []byte(release), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := root.apply(t.Context(), true, "update"); err == nil {
			t.Errorf("%s: taken", name)
		}
		if x, err := root.index(t.Context()); err == nil && x.has("evil") {
			t.Errorf("%s: its packages are there", name)
		}
	}
}

// serve serves a mirror whose answer to every request is written by answer, and returns an
// updated root's error.
func serve(t *testing.T, answer http.HandlerFunc) error {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	root, err := newRoot(dirFor(t), config.PlaceOf(os.Environ()).Network)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.setSources([]string{"deb [signed-by=" + keyring + " arch=amd64] " + s.URL + " bookworm main"}); err != nil {
		t.Fatal(err)
	}
	_, err = root.apply(t.Context(), true, "--option", "Acquire::Retries=0", "update")
	return err
}

// A mirror leads apt to no other host.
func TestRedirects(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	err := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+"/latest/meta-data", http.StatusFound)
	})
	var run *RunError
	if !errors.As(err, &run) || !strings.Contains(run.Hint(), "redirects") || asked.Load() != 0 {
		t.Errorf("%v; the other host was asked %d times", err, asked.Load())
	}
}

// An endless InRelease is given up before anything of it is believed.
func TestEndlessRelease(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	err := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "InRelease") {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n")
		for sent.Load() < 1<<30 {
			n, err := w.Write(bytes.Repeat([]byte("Origin: x\n"), 10_000))
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	// The bound, and what is on the way in buffers.
	if err == nil || sent.Load() > 50<<20 {
		t.Errorf("%v after %d bytes", err, sent.Load())
	}
}

// Who runs apt-get can do nothing with this machine: it is nobody's user, has no
// capability and can gain none, and without a network where none is needed.
func TestUserOfApt(t *testing.T) {
	t.Parallel()
	root, err := newRoot(dirFor(t), config.PlaceOf(os.Environ()).Network)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test runs as root, which is when there is something to drop")
	}
	probe := `cat /proc/self/status; cat /proc/self/net/dev; ulimit -c; for f in "$@"; do if echo x 2>/dev/null >>"$f"; then echo "wrote $f"; fi; done`
	for _, network := range []bool{true, false} {
		cmd := root.as.command(t.Context(), network, "/bin/sh", "-c", probe, "sh",
			root.path("apt.conf"), root.path("status"), root.path("etc/new"), root.path("new"), root.path("state/new"), "/root/new", "/etc/passwd")
		cmd.Env, cmd.Dir = root.environment(network), root.dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		text := string(out)
		id := fmt.Sprint(root.as.id)
		for _, want := range []string{
			"Uid:\t" + strings.Repeat(id+"\t", 3) + id, "Gid:\t" + strings.Repeat(id+"\t", 3) + id, "Groups:\t \n", "NoNewPrivs:\t1",
			"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "CapInh:\t0000000000000000",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("network %t: no %q in:\n%s", network, want, text)
			}
		}
		if wrote := strings.Count(text, "wrote "); wrote != 1 || !strings.Contains(text, "wrote "+root.path("state/new")) {
			t.Errorf("network %t: it wrote elsewhere:\n%s", network, text)
		}
		if links := strings.Count(text, ":  ") + strings.Count(text, ": "); !network && strings.Contains(text, "eth") || links == 0 {
			t.Errorf("without a network it has one:\n%s", text)
		}
	}
}

// A directory that apt's user cannot get to is told before apt-get trips over it.
func TestClosedDirectory(t *testing.T) {
	t.Parallel()
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := newRoot(filepath.Join(closed, "apt"), config.Network{}); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("%v", err)
	}
}

// A list that apt's user put somewhere else is not read.
func TestListsStayInside(t *testing.T) {
	t.Parallel()
	root, err := newRoot(dirFor(t), config.PlaceOf(os.Environ()).Network)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(dirFor(t), "Packages")
	if err := os.WriteFile(outside, []byte("Package: evil\nVersion: 1\nArchitecture: all\nFilename: f\nSHA256: "+sum+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(outside, root.path("lists/x_Packages")), syscall.Mkfifo(root.path("lists/pipe"), 0o644)); err != nil {
		t.Fatal(err)
	}
	lists, err := os.OpenRoot(root.path("lists"))
	if err != nil {
		t.Fatal(err)
	}
	defer lists.Close()
	for _, name := range []string{"x_Packages", "../etc/sources.list", "pipe"} {
		if err := newIndex().read(lists, name); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}
