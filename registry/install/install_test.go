package install

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/tree"
)

const platform = "linux/amd64"

var epoch = time.Unix(1577836800, 0)

// source is an artifact in memory. Its layers are tars by DiffID.
type source struct {
	description registry.Description
	tars        map[string][]byte
	// wrap, if set, is put around what a layer gives.
	wrap func(name string, r io.Reader) io.Reader
}

func (s *source) Resolve(context.Context, string) (registry.Description, error) {
	return s.description, nil
}

func (s *source) OpenLayer(_ context.Context, l registry.LayerInfo) (io.ReadCloser, error) {
	if l.Base {
		return nil, errors.New("a base layer was asked for")
	}
	var r io.Reader = bytes.NewReader(s.tars[l.DiffID])
	if s.wrap != nil {
		r = s.wrap(l.Name, r)
	}
	return io.NopCloser(r), nil
}

// newSource makes an artifact of a tree. The last character of its digest is c.
func newSource(t testing.TB, c string, whole *tree.Tree) *source {
	t.Helper()
	digest := "sha256:" + strings.Repeat("0", 63) + c
	s := &source{tars: map[string][]byte{}}
	image := registry.ImageInfo{Platform: platform, Config: registry.Config{Labels: map[string]string{registry.LabelTree: whole.Hash()}}}
	image.Layers = []registry.LayerInfo{{Name: "base", Base: true}}
	owners := map[string]bool{}
	for _, e := range whole.Entries() {
		owners[e.Owner] = true
	}
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		var b bytes.Buffer
		part := whole.Select(func(e tree.Entry) bool { return e.Owner == owner || e.Kind == tree.Dir })
		if err := part.WriteTar(&b, layer.Prefix, epoch); err != nil {
			t.Fatal(err)
		}
		s.tars[owner] = b.Bytes()
		image.Layers = append(image.Layers, registry.LayerInfo{Name: owner, DiffID: owner, Digest: owner})
	}
	s.description = registry.Description{Ref: "web@" + digest, Name: "web", Digest: digest, Images: []registry.ImageInfo{image}}
	return s
}

func sample(t testing.TB, program string) *tree.Tree {
	t.Helper()
	entries := []tree.Entry{
		tree.FileEntry("bin/python3", 0o755, []byte(program)),
		{Path: "bin/python", Kind: tree.Symlink, Mode: 0o777, Link: "python3"},
		{Path: "lib", Kind: tree.Dir, Mode: 0o755},
		{Path: "lib/locked", Kind: tree.Dir, Mode: 0o555},
		tree.FileEntry("lib/locked/a.py", 0o444, []byte("a\n")),
	}
	for i := range entries {
		entries[i].Owner = "interpreter"
	}
	for _, name := range []string{"flask", "jinja2", "click"} {
		e := tree.FileEntry("lib/"+name+".py", 0o644, []byte(name))
		e.Owner = "wheel:" + name
		entries = append(entries, e)
	}
	whole, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

func install(t *testing.T, s Source, root string) (Installed, error) {
	t.Helper()
	return Install(t.Context(), s, "web", Options{Root: root, Platform: platform})
}

func mustInstall(t *testing.T, s Source, root string) Installed {
	t.Helper()
	done, err := install(t, s, root)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// current reads the program of the current release.
func current(t *testing.T, root string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "current", "bin", "python3"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestInstallSwitchesAndVerifies(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "opt", "web")
	first, second := newSource(t, "1", sample(t, "one")), newSource(t, "2", sample(t, "two"))
	done := mustInstall(t, first, root)
	want := Installed{
		Ref: first.description.Ref, Digest: first.description.Digest, Platform: platform,
		Release: filepath.Join(root, "releases", "sha256-"+strings.Repeat("0", 63)+"1"), TreeHash: sample(t, "one").Hash(), Files: sample(t, "one").Len(),
	}
	if diff := cmp.Diff(want, done); diff != "" {
		t.Errorf("installed (-want +got):\n%s", diff)
	}
	if checked, err := Verify(root); err != nil || checked != want {
		t.Errorf("verified: %+v (%v)", checked, err)
	}
	info, err := os.Stat(filepath.Join(root, "current", "lib", "locked"))
	if err != nil || info.Mode().Perm() != 0o555 || !info.ModTime().Equal(epoch) {
		t.Errorf("lib/locked: %v (%v)", info, err)
	}
	mustInstall(t, second, root)
	if got := current(t, root); got != "two" {
		t.Errorf("current is %q, want two", got)
	}
	if back := mustInstall(t, first, root); !back.Present || current(t, root) != "one" {
		t.Errorf("going back: %+v, current is %q", back, current(t, root))
	}
	checkNothingUnfinished(t, root)
}

func checkNothingUnfinished(t *testing.T, root string) {
	t.Helper()
	for _, dir := range []string{root, filepath.Join(root, "releases")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), unfinished) {
				t.Errorf("%s is left in %s", e.Name(), dir)
			}
		}
	}
}

// What is asked before the switch sees the whole release, and keeps the current one.
func TestBefore(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	first, second := newSource(t, "1", sample(t, "one")), newSource(t, "2", sample(t, "two"))
	mustInstall(t, first, root)
	unfit := errors.New("unfit")
	asked := 0
	answer := func(err error) Options {
		return Options{Root: root, Platform: platform, Before: func(_ context.Context, release string) error {
			asked++
			whole, fault := tree.FromDir(release)
			if fault != nil || whole.Hash() != sample(t, "two").Hash() {
				t.Errorf("%s is not the release yet: %v", release, fault)
			}
			if got := current(t, root); got != "one" {
				t.Errorf("current is %q already", got)
			}
			return err
		}}
	}
	for range 2 { // the second time the release is there
		if done, err := Install(t.Context(), second, "web", answer(unfit)); !errors.Is(err, unfit) {
			t.Errorf("installed %+v: %v", done, err)
		}
		if got := current(t, root); got != "one" {
			t.Errorf("current is %q", got)
		}
	}
	if done, err := Install(t.Context(), second, "web", answer(nil)); err != nil || !done.Present {
		t.Errorf("installed %+v: %v", done, err)
	}
	if got := current(t, root); got != "two" || asked != 3 {
		t.Errorf("current is %q, asked %d times", got, asked)
	}
}

func TestDamagedReleaseIsNamedAndRepaired(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := newSource(t, "1", sample(t, "one"))
	done := mustInstall(t, s, root)
	if err := os.WriteFile(filepath.Join(done.Release, "lib", "flask.py"), []byte("edited"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(done.Release, "lib", "new.py"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Verify(root)
	var refused *VerificationError
	if !errors.As(err, &refused) || !slices.Equal(refused.Files, []string{"lib/flask.py", "lib/new.py"}) {
		t.Errorf("verifying: %v, want an error that names lib/flask.py and lib/new.py", err)
	}
	if again := mustInstall(t, s, root); !again.Repaired {
		t.Errorf("installed again: %+v, want it repaired", again)
	}
	if _, err := Verify(root); err != nil {
		t.Error(err)
	}
	checkNothingUnfinished(t, root)
}

func TestVerifyWithoutRelease(t *testing.T) {
	t.Parallel()
	var missing *registry.NotFoundError
	if _, err := Verify(t.TempDir()); !errors.As(err, &missing) {
		t.Errorf("error is %v, want NotFoundError", err)
	}
}

// member is one member of a hostile tar.
func member(name string, kind byte, change func(*tar.Header)) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	hdr := &tar.Header{Name: name, Typeflag: kind, Mode: 0o755, Format: tar.FormatGNU}
	if change != nil {
		change(hdr)
	}
	if err := w.WriteHeader(hdr); err != nil {
		panic(err)
	}
	_, _ = w.Write(make([]byte, hdr.Size))
	_ = w.Flush()
	return b.Bytes()
}

func link(target string) func(*tar.Header) { return func(h *tar.Header) { h.Linkname = target } }

func mode(m int64) func(*tar.Header) { return func(h *tar.Header) { h.Mode = m } }

// hostile are tars that must be refused, each for one reason.
var hostile = map[string][]byte{
	"path up":             member("opt/ampoule/../../../evil", tar.TypeReg, nil),
	"absolute path":       member("/opt/ampoule/evil", tar.TypeReg, nil),
	"outside the prefix":  member("etc/passwd", tar.TypeReg, nil),
	"prefix is a file":    member("opt/ampoule", tar.TypeReg, nil),
	"prefix is a link":    member("opt/ampoule", tar.TypeSymlink, link("/")),
	"device":              member("opt/ampoule/null", tar.TypeChar, nil),
	"FIFO":                member("opt/ampoule/fifo", tar.TypeFifo, nil),
	"hard link":           member("opt/ampoule/passwd", tar.TypeLink, link("/etc/passwd")),
	"setuid":              member("opt/ampoule/su", tar.TypeReg, mode(0o4755)),
	"setgid directory":    member("opt/ampoule/su", tar.TypeDir, mode(0o2755)),
	"whiteout":            member("opt/ampoule/.wh.bin", tar.TypeReg, nil),
	"through a link":      slices.Concat(member("opt/ampoule/x", tar.TypeSymlink, link("/tmp")), member("opt/ampoule/x/evil", tar.TypeReg, nil)),
	"through a link here": slices.Concat(member("opt/ampoule/b", tar.TypeDir, nil), member("opt/ampoule/x", tar.TypeSymlink, link("b")), member("opt/ampoule/x/evil", tar.TypeReg, nil)),
	"twice":               slices.Concat(member("opt/ampoule/x", tar.TypeReg, nil), member("opt/ampoule/x", tar.TypeReg, nil)),
	"link over a file":    slices.Concat(member("opt/ampoule/x", tar.TypeReg, nil), member("opt/ampoule/x", tar.TypeSymlink, link("y"))),
	"below a file":        slices.Concat(member("opt/ampoule/x", tar.TypeReg, nil), member("opt/ampoule/x/y", tar.TypeReg, nil)),
	"no tar":              bytes.Repeat([]byte("no tar "), 200),
	"too large":           member("opt/ampoule/x", tar.TypeSymlink, link("y")),
}

func TestHostileLayersAreRefused(t *testing.T) {
	t.Parallel()
	for name, content := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outside := t.TempDir()
			root, err := os.OpenRoot(filepath.Join(outside, mkdir(t, outside, "root")))
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			u := &unpacker{root: root, dirs: map[string]dirState{}, entries: 10, bytes: 10}
			if name == "too large" {
				u.entries = 0
			}
			_, err = u.extract(t.Context(), bytes.NewReader(content))
			var refused *refusal
			if !errors.As(err, &refused) {
				t.Errorf("error is %v, want a refusal", err)
			}
			if left, _ := os.ReadDir(outside); len(left) != 1 {
				t.Errorf("beside the root there is %v", left)
			}
		})
	}
}

func mkdir(t testing.TB, dir, name string) string {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWrongTreeIsNotSwitchedTo(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	mustInstall(t, newSource(t, "1", sample(t, "one")), root)
	changes := map[string]func(*source){
		"another tree": func(s *source) {
			s.description.Images[0].Config.Labels[registry.LabelTree] = "sha256:" + strings.Repeat("f", 64)
		},
		"no label":       func(s *source) { delete(s.description.Images[0].Config.Labels, registry.LabelTree) },
		"hostile layer":  func(s *source) { s.tars["interpreter"] = hostile["path up"] },
		"layer left out": func(s *source) { s.description.Images[0].Layers = s.description.Images[0].Layers[:2] },
		"wrong DiffID": func(s *source) {
			s.wrap = func(_ string, r io.Reader) io.Reader {
				return io.MultiReader(r, iotest.ErrReader(fmt.Errorf("reading: %w", layer.ErrDiffID)))
			}
		},
	}
	for name, change := range changes {
		s := newSource(t, "2", sample(t, "two"))
		change(s)
		_, err := install(t, s, root)
		var refused *VerificationError
		if !errors.As(err, &refused) {
			t.Errorf("%s: error is %v, want VerificationError", name, err)
		}
		if got := current(t, root); got != "one" {
			t.Errorf("%s: current is %q, want one", name, got)
		}
		checkNothingUnfinished(t, root)
	}
}

func TestBrokenTransferIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newSource(t, "1", sample(t, "one"))
	broken := false
	s.wrap = func(name string, r io.Reader) io.Reader {
		if name != "interpreter" || broken {
			return r
		}
		broken = true
		return io.MultiReader(io.LimitReader(r, 3000), iotest.ErrReader(io.ErrUnexpectedEOF))
	}
	root := t.TempDir()
	mustInstall(t, s, root)
	if !broken || current(t, root) != "one" {
		t.Errorf("broken: %v, current is %q", broken, current(t, root))
	}
	s = newSource(t, "2", sample(t, "two"))
	s.wrap = func(_ string, r io.Reader) io.Reader { return iotest.TimeoutReader(iotest.HalfReader(r)) }
	if _, err := install(t, s, root); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("error is %v, want the transfer's", err)
	}
}

func TestPlatformThatIsNotThere(t *testing.T) {
	t.Parallel()
	_, err := Install(t.Context(), newSource(t, "1", sample(t, "one")), "web", Options{Root: t.TempDir(), Platform: "linux/s390x"})
	var missing *registry.NotFoundError
	if !errors.As(err, &missing) {
		t.Errorf("error is %v, want NotFoundError", err)
	}
}

func TestFullDiskAndMissingRights(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{fs.ErrPermission, syscall.ENOSPC} {
		err := hostError("/srv/web", &fs.PathError{Op: "write", Path: "x", Err: fault})
		var host *HostError
		if !errors.As(err, &host) || host.Hint() == "" || !strings.Contains(err.Error(), "/srv/web") {
			t.Errorf("%v becomes %v, want a HostError that names the root", fault, err)
		}
	}
	root := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := install(t, newSource(t, "1", sample(t, "one")), root); err == nil {
		t.Error("installing below a file succeeded")
	}
}

// TestFullDisk installs onto a file system that is too small for the tree.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", root).CombinedOutput(); err != nil {
		t.Skipf("mounting needs rights that this user lacks: %s", out)
	}
	defer func() { _ = exec.Command("umount", root).Run() }()
	whole, err := sample(t, "one").With(tree.FileEntry("lib/large", 0o644, make([]byte, 200_000)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = install(t, newSource(t, "1", whole), root)
	var host *HostError
	if !errors.As(err, &host) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error is %v, want HostError", err)
	}
	checkNothingUnfinished(t, root)
}

// TestKilledInstallationLeavesNothing kills an installation in the middle of a
// layer, and after it one that waits for the lock must succeed.
func TestKilledInstallationLeavesNothing(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	mustInstall(t, newSource(t, "1", sample(t, "one")), root)
	cmd := exec.Command(os.Args[0], "-test.run=^TestInstallingProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), "INSTALL_ROOT="+root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := make([]byte, len("unpacking"))
	if _, err := io.ReadFull(out, seen); err != nil {
		t.Fatal(err)
	}
	waiting, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	two := newSource(t, "2", sample(t, "two"))
	if _, err := Install(waiting, two, "web", Options{Root: root, Platform: platform}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another installs, the error is %v, want the context's", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if left, _ := filepath.Glob(filepath.Join(root, "releases", unfinished+"*", "bin")); len(left) != 1 {
		t.Errorf("the killed installation left %v, so it was not killed in the middle", left)
	}
	if got := current(t, root); got != "one" {
		t.Errorf("after the kill, current is %q, want one", got)
	}
	mustInstall(t, two, root)
	if got := current(t, root); got != "two" {
		t.Errorf("current is %q, want two", got)
	}
	checkNothingUnfinished(t, root)
}

// TestInstallingProcess is the other process of TestKilledInstallationLeavesNothing.
func TestInstallingProcess(t *testing.T) {
	root := os.Getenv("INSTALL_ROOT")
	if root == "" {
		return
	}
	s := newSource(t, "2", sample(t, "two"))
	s.wrap = func(name string, r io.Reader) io.Reader {
		if name != "interpreter" {
			return r
		}
		return io.MultiReader(io.LimitReader(r, 5000), stuck{})
	}
	_, err := install(t, s, root)
	t.Fatal(err)
}

// stuck says that it is reached and never ends.
type stuck struct{}

func (stuck) Read([]byte) (int, error) {
	_, _ = os.Stdout.WriteString("unpacking")
	time.Sleep(time.Minute)
	return 0, io.ErrUnexpectedEOF
}

func FuzzExtract(f *testing.F) {
	for _, content := range hostile {
		f.Add(content)
	}
	for _, content := range newSource(f, "1", sample(f, "one")).tars {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		outside := t.TempDir()
		inside := filepath.Join(outside, mkdir(t, outside, "root"))
		root, err := os.OpenRoot(inside)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		u := &unpacker{root: root, dirs: map[string]dirState{}, entries: 100, bytes: 1 << 20}
		_, err = u.extract(t.Context(), bytes.NewReader(content))
		if err == nil {
			err = u.finish()
		}
		if left, _ := os.ReadDir(outside); len(left) != 1 {
			t.Fatalf("beside the root there is %v", left)
		}
		if err != nil {
			return
		}
		_ = filepath.WalkDir(inside, func(name string, d fs.DirEntry, _ error) error {
			if info, err := d.Info(); err != nil || !slices.Contains([]fs.FileMode{0, fs.ModeDir, fs.ModeSymlink}, info.Mode()&^fs.ModePerm) {
				t.Errorf("%s is %v (%v)", name, info.Mode(), err)
			}
			return nil
		})
	})
}
