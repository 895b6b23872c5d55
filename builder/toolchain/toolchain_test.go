package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/toolchain/debian"
	"ampoule/builder/toolchain/debian/debtest"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

func TestPackages(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		python, suite, compiler string
		bolt                    bool
		with, without           []string
	}{
		{"3.11.9", "bullseye", "", false, []string{"pkg-config", "libnsl-dev", "libcrypt-dev", "gcc"}, []string{"pkgconf", "tzdata-legacy", "libzstd-dev"}},
		{"3.13.5", "bookworm", "", false, []string{"pkgconf", "libssl-dev", "uuid-dev", "tzdata"}, []string{"pkg-config", "libnsl-dev", "tzdata-legacy", "libzstd-dev"}},
		{"3.13.0rc2", "trixie", "", false, []string{"tzdata-legacy"}, []string{"libtirpc-dev"}},
		{"3.14.0", "trixie", "", false, []string{"libzstd-dev"}, []string{"libmpdec-dev"}},
		{"3.15.0", "trixie", "", false, []string{"libmpdec-dev"}, nil},
		{"3.13.5", "trixie", "gcc-13", false, []string{"gcc", "gcc-13", "g++-13"}, []string{"llvm"}},
		{"3.13.5", "trixie", "clang", false, []string{"g++", "clang", "llvm", "libclang-rt-dev"}, nil},
		{"3.13.5", "bookworm", "clang-16", false, []string{"clang-16", "llvm-16", "libclang-rt-16-dev"}, []string{"clang", "llvm"}},
		{"3.13.5", "bullseye", "clang", false, []string{"clang", "llvm"}, []string{"libclang-rt-dev"}},
		{"3.13.5", "bookworm", "clang-16", true, []string{"bolt-16"}, []string{"bolt-19"}},
		{"3.13.5", "trixie", "gcc-13", true, []string{"bolt-19", "g++-13"}, []string{"bolt-13"}},
		{"3.15.0", "bookworm", "", false, []string{"libzstd-dev"}, []string{"libmpdec-dev"}},
	} {
		python := recipes.Python{Version: test.python, Compiler: test.compiler}
		if test.bolt {
			python.Configure = []string{"--enable-bolt"}
		}
		got := Packages(python, test.suite)
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("%s on %s: not sorted: %v", test.python, test.suite, got)
		}
		for _, name := range test.with {
			if !slices.Contains(got, name) {
				t.Errorf("%s on %s: no %s", test.python, test.suite, name)
			}
		}
		for _, name := range test.without {
			if slices.Contains(got, name) {
				t.Errorf("%s on %s: %s", test.python, test.suite, name)
			}
		}
	}
}

func newTree(t testing.TB, entries ...tree.Entry) *tree.Tree {
	t.Helper()
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func file(p, content string) tree.Entry { return tree.FileEntry(p, 0o644, []byte(content)) }

func TestSuite(t *testing.T) {
	t.Parallel()
	const debian12 = "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=\"bookworm\"\n"
	linked := newTree(t, file("usr/lib/os-release", debian12), tree.Entry{Path: "etc/os-release", Kind: tree.Symlink, Mode: 0o777, Link: "../usr/lib/os-release"})
	if got, err := Suite(linked); err != nil || got != "bookworm" {
		t.Errorf("suite %q, %v", got, err)
	}
	for name, root := range map[string]*tree.Tree{
		"empty":   newTree(t),
		"alpine":  newTree(t, file("etc/os-release", "ID=alpine\n")),
		"no name": newTree(t, file("etc/os-release", "ID=debian\n")),
	} {
		_, err := Suite(root)
		if !isNotDebian(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// isNotDebian reports whether an error says that a base is no Debian, and what one may be.
func isNotDebian(err error) bool {
	return faults.Of(err) == faults.Input && strings.HasPrefix(err.Error(), "the base is not a Debian system: ") && len(faults.Hints(err)) == 1
}

const status = `Package: libc6
Status: install ok installed
Version: 2
Architecture: amd64

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: amd64

`

func TestDpkgStatus(t *testing.T) {
	t.Parallel()
	got, err := DpkgStatus(newTree(t, file("var/lib/dpkg/status", status)))
	if err != nil || len(got) != 1 || got[0].Get("Package") != "libc6" {
		t.Errorf("%v, %v", got, err)
	}
	half := strings.Replace(status, "install ok installed", "install ok half-configured", 1)
	if _, err := DpkgStatus(newTree(t, file("var/lib/dpkg/status", half))); err == nil || !strings.Contains(err.Error(), "half-configured") {
		t.Errorf("half configured: %v", err)
	}
	if _, err := DpkgStatus(newTree(t)); !isNotDebian(err) {
		t.Errorf("no status: %v", err)
	}
}

func TestVerifyInstalled(t *testing.T) {
	t.Parallel()
	root := newTree(t, file("var/lib/dpkg/status", status))
	libc := recipes.Deb{Name: "libc6", Version: "2", Arch: "amd64"}
	before := debian.Stanza{{Name: "Package", Value: "libc6"}, {Name: "Version", Value: "2"}, {Name: "Architecture", Value: "amd64"}}
	for _, err := range []error{verifyInstalled(root, []recipes.Deb{libc}), verifyInstalled(root, nil, before)} {
		if err != nil {
			t.Error(err)
		}
	}
	newer, more := libc, recipes.Deb{Name: "zlib1g", Version: "1", Arch: "amd64"}
	newer.Version = "3"
	for want, debs := range map[string][]recipes.Deb{
		"libc6 2 amd64 is installed and should not be":    nil,
		"libc6 3 amd64 should be installed and is not":    {newer},
		"; zlib1g 1 amd64 should be installed and is not": {newer, more},
		": zlib1g 1 amd64 should be installed and is not": {libc, more},
	} {
		if err := verifyInstalled(root, debs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestNormaliseBase(t *testing.T) {
	t.Parallel()
	got, err := normaliseBase(newTree(t,
		file("etc/hostname", "builder-7\n"), file("etc/shadow", "root:*:20000:0:99999:7:::\nnew:!:0::::::\nx\n"), file("etc/passwd-", "x"),
		file("var/log/apt/history.log", "x"), file("var/lib/dpkg/status", "x"), file("var/lib/dpkg/status-old", "x"),
		file("dev/console", "x"), file("tmp/a/b", "x"), file("var/cache/ldconfig/aux-cache", "x"), file("etc/keep-old", "x"),
		tree.Entry{Path: "var/lib/apt/lists/partial", Kind: tree.Dir, Mode: 0o700, UID: 42},
		tree.Entry{Path: "tmp", Kind: tree.Dir, Mode: 0o1777},
	))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range got.Entries() {
		if e.Kind == tree.File {
			paths = append(paths, e.Path)
		}
	}
	want := []string{"etc/apt/sources.list", "etc/hostname", "etc/hosts", "etc/keep-old", "etc/machine-id", "etc/resolv.conf", "etc/shadow", "var/lib/dpkg/status"}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Error(diff)
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "var/log/apt"} {
		if e, ok := got.Lookup(dir); !ok || e.Kind != tree.Dir {
			t.Errorf("no directory %s", dir)
		}
	}
	if _, ok := got.Lookup("var/lib/apt/lists/partial"); ok {
		t.Error("a directory whose owner depends on the machine")
	}
	shadow, _ := got.Lookup("etc/shadow")
	data, err := shadow.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	// 18262 days lie between 1970-01-01 and 2020-01-01; 0 means that a password must be changed.
	if string(data) != "root:*:18262:0:99999:7:::\nnew:!:0::::::\nx\n" {
		t.Errorf("shadow: %q", data)
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	dir := func(p string, mode uint32) tree.Entry { return tree.Entry{Path: p, Kind: tree.Dir, Mode: 0o755} }
	private := tree.Entry{Path: "private", Kind: tree.Dir, Mode: 0o700}
	owned := file("etc/owned", "x")
	owned.UID = 42
	lower := newTree(t, private, file("private/same", "1"), file("private/old", "1"), file("gone/a", "1"), file("gone/b/c", "1"), file("etc/owned", "x"),
		file("was-dir/x", "1"), file("was-file", "1"), file("var/log/kept", "1"), file("etc/hostname", "image"))
	upper := newTree(t, private, file("private/same", "1"), file("private/new", "2"), owned, file("was-dir", "2"), file("was-file/y", "2"),
		file("etc/hostname", "engine"), file("proc/1", "x"), dir("sys", 0), dir("var/log", 0))
	layer, err := difference(lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range layer.Entries() {
		paths = append(paths, e.Path)
	}
	want := []string{".wh.gone", "etc", "etc/owned", "private", "private/.wh.old", "private/new", "was-dir", "was-file", "was-file/y"}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Error(diff)
	}
	if e, _ := layer.Lookup("private"); e.Mode != 0o700 {
		t.Errorf("the mode of a parent directory became %o", e.Mode)
	}
}

func TestDependencyOrder(t *testing.T) {
	t.Parallel()
	stanza := func(name, pre, depends string) debian.Stanza {
		return debian.Stanza{{Name: "Package", Value: name}, {Name: "Pre-Depends", Value: pre}, {Name: "Depends", Value: depends}}
	}
	got := dependencyOrder([]debian.Stanza{
		stanza("a", "", "d (>= 1) | e, b:any"), stanza("b", "c", ""), stanza("c", "", "a"), stanza("d", "", "elsewhere"), stanza("e", "", "e"),
	})
	if diff := cmp.Diff([]string{"d", "e", "c", "b", "a"}, got); diff != "" {
		t.Error(diff)
	}
}

// debs is a [Fetcher] that puts made-up packages into a store.
type debs struct {
	store *store.Store
	files map[string][]byte
	calls int
}

func (d *debs) Fetch(ctx context.Context, items ...fetch.Item) error {
	d.calls++
	for _, item := range items {
		if err := d.store.PutExpected(ctx, strings.NewReader(string(d.files[item.SHA256])), item.SHA256); err != nil {
			return err
		}
	}
	return nil
}

func (d *debs) add(t testing.TB, name, fields string) recipes.Deb {
	t.Helper()
	data := debtest.Deb(t, "Package: "+name+"\nVersion: 1\nArchitecture: all\n"+fields, ".xz")
	sum := sha256.Sum256(data)
	deb := recipes.Deb{Name: name, Version: "1", Arch: "all", File: "pool/" + name + ".deb", SHA256: hex.EncodeToString(sum[:])}
	d.files[deb.SHA256] = data
	return deb
}

// dpkg does in a fake sandbox what dpkg does: it writes a file for each package,
// and status when it configures. It does tar's work, too.
func dpkg(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
	if step.Args[0] == "tar" {
		return s.Archive(step)
	}
	var names []string
	for _, arg := range step.Args {
		if !strings.HasSuffix(arg, ".deb") {
			continue
		}
		e, ok := s.Files().Lookup(strings.TrimPrefix(arg, "/"))
		if !ok {
			return errors.New("no file " + arg)
		}
		r, err := e.Content.Open()
		if err != nil {
			return err
		}
		control, err := debian.Control(r)
		if err != nil {
			return err
		}
		names = append(names, control.Get("Package"))
	}
	if len(names) > 0 {
		if policy, ok := s.Files().Lookup("usr/sbin/policy-rc.d"); !ok || policy.Mode&0o111 == 0 {
			return errors.New("services are not forbidden")
		}
		return s.Write(file("unpacked", strings.Join(names, " ")), file("var/log/dpkg.log", "now"))
	}
	e, _ := s.Files().Lookup("unpacked")
	data, err := e.ReadAll()
	if err != nil {
		return err
	}
	if step.Stdout != nil {
		io.WriteString(step.Stdout, "configuring\n")
	}
	text := status
	for name := range strings.FieldsSeq(string(data)) {
		text += "Package: " + name + "\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n"
	}
	return s.Write(file("var/lib/dpkg/status", text))
}

// newStage returns a stage over a fake engine, and an image with libc6 alone.
func newStage(t *testing.T, handler fake.Handler) (*Stage, *debs, *fake.Runner, sandbox.Image) {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := &debs{store: st, files: map[string][]byte{}}
	runner := fake.New(handler)
	lower, err := layers.Save(t.Context(), st, newTree(t, file("var/lib/dpkg/status", status), file("etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n")), "")
	if err != nil {
		t.Fatal(err)
	}
	return New(st, d, runner, runner), d, runner, sandbox.Image{Config: Config(), Layers: []sandbox.Layer{lower}}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	stage, d, runner, image := newStage(t, dpkg)
	wanted := []recipes.Deb{d.add(t, "a", "Depends: b\n"), d.add(t, "b", "")}
	var log strings.Builder
	layer, err := stage.Install(t.Context(), image, wanted, &log)
	if err != nil {
		t.Fatal(err)
	}
	if log.String() != "configuring\n" {
		t.Errorf("log %q", log.String())
	}
	root, closer, err := layers.RootFS(t.Context(), stage.store, sandbox.Image{Layers: []sandbox.Layer{layer}})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	var paths []string
	for _, e := range root.Entries() {
		if e.Kind == tree.File {
			paths = append(paths, path.Base(e.Path))
		}
	}
	if diff := cmp.Diff([]string{"unpacked", "status"}, paths); diff != "" {
		t.Error(diff)
	}
	unpacked, _ := root.Lookup("unpacked")
	if data, err := unpacked.ReadAll(); err != nil || string(data) != "b a" {
		t.Errorf("unpacked %q, %v", data, err)
	}
	for _, s := range runner.Sandboxes() {
		if !s.Closed() {
			t.Error("a sandbox was left open")
		}
	}
}

func TestInstallRemembers(t *testing.T) {
	t.Parallel()
	stage, d, runner, image := newStage(t, dpkg)
	a, b := d.add(t, "a", ""), d.add(t, "b", "")
	first, err := stage.Install(t.Context(), image, []recipes.Deb{a, b}, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := stage.Install(t.Context(), image, []recipes.Deb{b, a}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if first.DiffID != second.DiffID || len(runner.Sandboxes()) != 1 || d.calls != 1 {
		t.Errorf("%s and %s took %d sandboxes and %d fetches", first.DiffID, second.DiffID, len(runner.Sandboxes()), d.calls)
	}
	third, err := stage.Install(t.Context(), image, []recipes.Deb{a}, nil)
	if err != nil || third.DiffID == first.DiffID {
		t.Errorf("fewer packages: %s, %v", third.DiffID, err)
	}
	if _, err := stage.Install(t.Context(), image.With(first), []recipes.Deb{a}, nil); err == nil {
		t.Error("other lower layers: no new installation")
	}
}

func TestLayerKey(t *testing.T) {
	t.Parallel()
	type inputs struct {
		kind, suite string
		lower       []string
		debs        []recipes.Deb
	}
	key := func(change func(*inputs)) string {
		in := inputs{"install", "bookworm", []string{"sha256:1", "sha256:2"}, []recipes.Deb{
			{Name: "a", Version: "1", Arch: "amd64", File: "pool/a.deb", SHA256: "11"}, {Name: "b", Version: "2", Arch: "all", File: "pool/b.deb", SHA256: "22"}}}
		change(&in)
		return layerKey(in.kind, in.suite, in.lower, in.debs)
	}
	seen := map[string]string{key(func(*inputs) {}): "nothing"}
	for name, change := range map[string]func(*inputs){
		"kind":            func(in *inputs) { in.kind = "base" },
		"suite":           func(in *inputs) { in.suite = "trixie" },
		"a lower layer":   func(in *inputs) { in.lower[0] = "sha256:3" },
		"a layer more":    func(in *inputs) { in.lower = append(in.lower, "sha256:3") },
		"order of layers": func(in *inputs) { slices.Reverse(in.lower) },
		"content":         func(in *inputs) { in.debs[0].SHA256 = "33" },
		"name":            func(in *inputs) { in.debs[0].Name = "c" },
		"version":         func(in *inputs) { in.debs[0].Version = "3" },
		"architecture":    func(in *inputs) { in.debs[0].Arch = "all" },
		"a package less":  func(in *inputs) { in.debs = in.debs[:1] },
		"names exchanged": func(in *inputs) { in.debs[0].Name, in.debs[1].Name = "b", "a" },
	} {
		k := key(change)
		if other, ok := seen[k]; ok {
			t.Errorf("%s gives the key of %s", name, other)
		}
		seen[k] = name
	}
	for name, change := range map[string]func(*inputs){
		"order of packages": func(in *inputs) { slices.Reverse(in.debs) },
		"place in a mirror": func(in *inputs) { in.debs[0].File = "pool/other/a.deb" },
	} {
		if seen[key(change)] != "nothing" {
			t.Errorf("%s changes the key", name)
		}
	}
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	exit := func(_ context.Context, _ *fake.Sandbox, step sandbox.Step) error {
		for range 100 {
			io.WriteString(step.Stderr, "a line\n")
		}
		io.WriteString(step.Stderr, "dpkg: error\n")
		return &sandbox.ExitError{Args: step.Args, Code: 1}
	}
	stage, d, _, image := newStage(t, exit)
	_, err := stage.Install(t.Context(), image, []recipes.Deb{d.add(t, "a", "")}, nil)
	var failed *StepError
	if !errors.As(err, &failed) || len(failed.Last) != tailLines || failed.Last[tailLines-1] != "dpkg: error" {
		t.Errorf("dpkg failed: %v", err)
	}
	nothing := func(_ context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if step.Args[0] == "tar" {
			return s.Archive(step)
		}
		return nil
	}
	stage, d, _, image = newStage(t, nothing)
	if _, err := stage.Install(t.Context(), image, []recipes.Deb{d.add(t, "a", "")}, nil); err == nil || !strings.Contains(err.Error(), "a 1 all should be installed") {
		t.Errorf("nothing was installed: %v", err)
	}
	other := d.add(t, "a", "")
	other.Version = "2"
	if _, err := stage.Install(t.Context(), image, []recipes.Deb{other}, nil); err == nil || !strings.Contains(err.Error(), "the file holds a 1 all") {
		t.Errorf("another version in the file: %v", err)
	}
}

func TestBaseWithoutMmdebstrap(t *testing.T) {
	stage, _, _, _ := newStage(t, nil)
	t.Setenv("PATH", t.TempDir())
	_, err := stage.Base(t.Context(), "bookworm", nil, nil)
	if !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}

// A disk that is full is the machine's fault, not that of what was installed.
func TestStepErrorOfAFullDisk(t *testing.T) {
	t.Parallel()
	full := &StepError{Step: "dpkg", Last: []string{"unpacking", "dpkg: error: cannot copy: No space left on device", "exit"}, Err: errors.New("exit code 2")}
	other := &StepError{Step: "dpkg", Last: []string{"unpacking"}, Err: full.Err}
	if !errors.Is(full, syscall.ENOSPC) || !errors.Is(full, full.Err) || full.Hint() == "" {
		t.Errorf("a full disk: %#v", full)
	}
	if errors.Is(other, syscall.ENOSPC) || !errors.Is(other, full.Err) || other.Hint() != "" {
		t.Errorf("another error: %#v", other)
	}
	unprivileged := &StepError{Step: "mmdebstrap", Last: []string{"E: unable to pick chroot mode automatically (use --mode for manual selection)"}, Err: full.Err}
	if !strings.Contains(unprivileged.Hint(), "newuidmap") || errors.Is(unprivileged, syscall.ENOSPC) {
		t.Errorf("a user without ranges of ids: %#v", unprivileged)
	}
}
