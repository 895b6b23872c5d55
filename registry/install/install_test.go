package install

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
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
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/internal/basetime"
	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/system/systemtest"
	"ampoule/tree"
)

const platform = "linux/amd64"

// source is an artifact in memory. Its layers are tars by DiffID.
type source struct {
	description registry.Description
	tars        map[string][]byte
	// whole is the tree.
	whole *tree.Tree
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

// newSource makes an artifact of a tree. Artifacts of one tree with other names have
// other digests.
func newSource(t testing.TB, name string, whole *tree.Tree) *source {
	t.Helper()
	s := &source{tars: map[string][]byte{}, whole: whole}
	image := registry.ImageInfo{Platform: platform, Config: artifact.Config{Labels: map[string]string{artifact.LabelTree: whole.Hash(), artifact.LabelRecipe: name}}}
	image.Layers = []registry.LayerInfo{{Name: "base", Base: true}}
	owners := map[string]bool{}
	for _, e := range whole.Entries() {
		owners[e.Owner] = true
	}
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		var b bytes.Buffer
		part := whole.Select(func(e tree.Entry) bool { return e.Owner == owner || e.Kind == tree.Dir })
		if err := part.WriteTar(&b, artifact.Prefix, basetime.Of(t)); err != nil {
			t.Fatal(err)
		}
		s.tars[owner] = b.Bytes()
		image.Layers = append(image.Layers, registry.LayerInfo{Name: owner, DiffID: owner, Digest: owner})
	}
	s.description = registry.Description{Name: "web", Images: []registry.ImageInfo{image}}
	s.describe(t)
	return s
}

// describe makes the documents of a description anew.
func (s *source) describe(t testing.TB) {
	t.Helper()
	image := &s.description.Images[0]
	image.RawConfig = encode(t, v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{Labels: image.Config.Labels}})
	manifest := v1.Manifest{SchemaVersion: 2, Config: v1.Descriptor{Digest: hash(t, image.RawConfig)}}
	for _, l := range image.Layers {
		if d, err := v1.NewHash(l.Digest); err == nil {
			manifest.Layers = append(manifest.Layers, v1.Descriptor{Digest: d, Size: l.Size})
		}
	}
	image.Manifest = encode(t, manifest)
	s.description.Raw = encode(t, v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{
		{Digest: hash(t, []byte("another platform's")), Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}},
		{Digest: hash(t, image.Manifest), Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	}})
	s.name()
}

// name names the description by its bytes.
func (s *source) name() {
	s.description.Digest = digestOf(s.description.Raw)
	s.description.Ref = "web@" + s.description.Digest
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func hash(t testing.TB, raw []byte) v1.Hash {
	t.Helper()
	h, err := v1.NewHash(digestOf(raw))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// release is where a source's tree is installed.
func (s *source) release(root string) string {
	return filepath.Join(root, releasesName, releaseName(s.description.Digest))
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

func verify(t *testing.T, root, ref string) (Verified, error) {
	t.Helper()
	return Verify(t.Context(), root, VerifyOptions{Ref: ref, Platform: platform})
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
	root := filepath.Join(tempDir(t), "opt", "web")
	first, second := newSource(t, "1", sample(t, "one")), newSource(t, "2", sample(t, "two"))
	done := mustInstall(t, first, root)
	want := Installed{
		Ref: first.description.Ref, Digest: first.description.Digest, Platform: platform,
		Release: first.release(root), TreeHash: sample(t, "one").Hash(), Files: sample(t, "one").Len(), Fetched: slices.Sorted(maps.Keys(first.tars)),
	}
	if diff := cmp.Diff(want, done); diff != "" {
		t.Errorf("installed (-want +got):\n%s", diff)
	}
	want.Fetched = nil
	if checked, err := verify(t, root, ""); err != nil || cmp.Diff(want, checked.Installed) != "" {
		t.Errorf("verified: %+v (%v)", checked, err)
	}
	info, err := os.Stat(filepath.Join(root, "current", "lib", "locked"))
	if err != nil || info.Mode().Perm() != 0o555 || !info.ModTime().Equal(tree.Time) {
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

// holds compares a release with the tree that it must hold, in which files are read-only.
func holds(release string, want *tree.Tree) error {
	found, err := tree.FromDir(release)
	if err != nil {
		return err
	}
	r := record{Version: recordVersion, Files: string(want.Listing())}
	if got := r.restored(want.Hash(), found); got.Hash() != want.Hash() {
		return fmt.Errorf("%s is there and not whole", filepath.Base(release))
	}
	return nil
}

func checkNothingUnfinished(t *testing.T, root string) {
	t.Helper()
	for _, dir := range []string{root, filepath.Join(root, "releases")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".tmp-") {
				t.Errorf("%s is left in %s", e.Name(), dir)
			}
		}
	}
}

// What is asked before the switch sees the whole release, and keeps the current one.
func TestBefore(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	first, second := newSource(t, "1", sample(t, "one")), newSource(t, "2", sample(t, "two"))
	mustInstall(t, first, root)
	unfit := errors.New("unfit")
	asked := 0
	answer := func(err error) Options {
		return Options{Root: root, Platform: platform, Before: func(_ context.Context, c Candidate) error {
			asked++
			if fault := holds(c.Path, sample(t, "two")); fault != nil {
				t.Errorf("%s is not the release yet: %v", c.Path, fault)
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
	root := tempDir(t)
	s := newSource(t, "1", sample(t, "one"))
	done := mustInstall(t, s, root)
	if err := os.WriteFile(filepath.Join(done.Release, "lib", "flask.py"), []byte("edited"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(done.Release, "lib", "new.py"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := verify(t, root, "")
	var refused *VerificationError
	if !errors.As(err, &refused) || !slices.Equal(refused.Files, []string{"lib/flask.py", "lib/new.py"}) {
		t.Errorf("verifying: %v, want an error that names lib/flask.py and lib/new.py", err)
	}
	if again := mustInstall(t, s, root); !again.Repaired {
		t.Errorf("installed again: %+v, want it repaired", again)
	}
	if _, err := verify(t, root, ""); err != nil {
		t.Error(err)
	}
	checkNothingUnfinished(t, root)
}

func TestVerifyWithoutRelease(t *testing.T) {
	t.Parallel()
	var missing *registry.NotFoundError
	if _, err := verify(t, tempDir(t), ""); !errors.As(err, &missing) {
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

// pax gives a member an attribute.
func pax(key, value string) func(*tar.Header) {
	return func(h *tar.Header) {
		h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{key: value}
	}
}

// sized writes the header of a file that claims to be that large, without its content.
func sized(name string, size int64) []byte {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// retyped changes the type of a tar's first member to one that no writer makes.
func retyped(raw []byte, kind byte) []byte {
	raw[156] = kind
	copy(raw[148:156], "        ")
	sum := 0
	for _, c := range raw[:512] {
		sum += int(c)
	}
	copy(raw[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return raw
}

// sparse is a file of a terabyte in the form of a few bytes (GNU tar, "PAX Format,
// Version 1.0").
func sparse(name string) []byte {
	var records string
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=" + name, "GNU.sparse.realsize=1099511627776"} {
		records += fmt.Sprintf("%d %s\n", len(r)+4, r)
	}
	header := member("x", tar.TypeReg, func(h *tar.Header) { h.Size = int64(len(records)) })
	copy(header[512:], records)
	data := member(name, tar.TypeReg, func(h *tar.Header) { h.Size = 512 })
	copy(data[512:], "0\n")
	return slices.Concat(retyped(header, tar.TypeXHeader), data)
}

// hostile are tars that must be refused, each for the reason that it has.
var hostile = map[string]struct {
	content []byte
	why     string
}{
	"path up":                   {member("opt/ampoule/../../../evil", tar.TypeReg, nil), "clean path"},
	"path up to current":        {member("opt/ampoule/../../current/evil", tar.TypeReg, nil), "clean path"},
	"path of dots":              {member("opt/ampoule/a/./b", tar.TypeReg, nil), "clean path"},
	"absolute path":             {member("/opt/ampoule/evil", tar.TypeReg, nil), "clean path"},
	"empty path":                {member("", tar.TypeReg, nil), "clean path"},
	"outside the prefix":        {member("etc/passwd", tar.TypeReg, nil), "not below opt/ampoule"},
	"beside the prefix":         {member("opt/ampoule-evil/x", tar.TypeReg, nil), "not below opt/ampoule"},
	"prefix is a file":          {member("opt/ampoule", tar.TypeReg, nil), "not below opt/ampoule"},
	"prefix is a link":          {member("opt/ampoule", tar.TypeSymlink, link("/")), "not below opt/ampoule"},
	"device":                    {member("opt/ampoule/null", tar.TypeChar, nil), "type '3'"},
	"block device":              {member("opt/ampoule/sda", tar.TypeBlock, nil), "type '4'"},
	"FIFO":                      {member("opt/ampoule/fifo", tar.TypeFifo, nil), "type '6'"},
	"hard link out":             {member("opt/ampoule/passwd", tar.TypeLink, link("/etc/passwd")), "type '1'"},
	"hard link inside":          {slices.Concat(member("opt/ampoule/x", tar.TypeReg, nil), member("opt/ampoule/y", tar.TypeLink, link("opt/ampoule/x"))), "type '1'"},
	"contiguous file":           {member("opt/ampoule/x", tar.TypeCont, nil), "type '7'"},
	"setuid":                    {member("opt/ampoule/su", tar.TypeReg, mode(0o4755)), "special bits"},
	"setgid directory":          {member("opt/ampoule/su", tar.TypeDir, mode(0o2755)), "special bits"},
	"sticky directory":          {member("opt/ampoule/tmp", tar.TypeDir, mode(0o1777)), "special bits"},
	"whiteout":                  {member("opt/ampoule/.wh.bin", tar.TypeReg, nil), "deletes files"},
	"opaque whiteout":           {member("opt/ampoule/bin/.wh..wh..opq", tar.TypeReg, nil), "deletes files"},
	"below a whiteout":          {member("opt/ampoule/.wh.bin/x", tar.TypeReg, nil), "deletes files"},
	"through a link":            {slices.Concat(member("opt/ampoule/x", tar.TypeSymlink, link("/tmp")), member("opt/ampoule/x/evil", tar.TypeReg, nil)), "something else than a directory"},
	"through a link here":       {slices.Concat(member("opt/ampoule/b", tar.TypeDir, nil), member("opt/ampoule/x", tar.TypeSymlink, link("b")), member("opt/ampoule/x/evil", tar.TypeReg, nil)), "something else than a directory"},
	"directory through a link":  {slices.Concat(member("opt/ampoule/x", tar.TypeSymlink, link("../..")), member("opt/ampoule/x/evil", tar.TypeDir, nil)), "something else than a directory"},
	"twice":                     {slices.Concat(member("opt/ampoule/x", tar.TypeReg, nil), member("opt/ampoule/x", tar.TypeReg, nil)), "comes twice"},
	"link over a file":          {slices.Concat(member("opt/ampoule/x", tar.TypeReg, nil), member("opt/ampoule/x", tar.TypeSymlink, link("y"))), "comes twice"},
	"file over a link":          {slices.Concat(member("opt/ampoule/x", tar.TypeSymlink, link("/etc/passwd")), member("opt/ampoule/x", tar.TypeReg, nil)), "comes twice"},
	"file over a directory":     {slices.Concat(member("opt/ampoule/x", tar.TypeDir, nil), member("opt/ampoule/x", tar.TypeReg, nil)), "comes twice"},
	"directory over a file":     {slices.Concat(member("opt/ampoule/x", tar.TypeReg, nil), member("opt/ampoule/x", tar.TypeDir, nil)), "something else than a directory"},
	"directory of two modes":    {slices.Concat(member("opt/ampoule/x", tar.TypeDir, nil), member("opt/ampoule/x", tar.TypeDir, mode(0o777))), "two modes"},
	"below a file":              {slices.Concat(member("opt/ampoule/x", tar.TypeReg, nil), member("opt/ampoule/x/y", tar.TypeReg, nil)), "something else than a directory"},
	"deep path":                 {member("opt/ampoule/"+strings.Repeat("d/", maxDepth)+"f", tar.TypeReg, nil), "more than 99 directories"},
	"long path":                 {member("opt/ampoule/"+strings.Repeat(strings.Repeat("d", 200)+"/", 21), tar.TypeDir, nil), "more than 4096"},
	"long name":                 {member("opt/ampoule/"+strings.Repeat("n", 256), tar.TypeReg, nil), "more than 255 bytes"},
	"invalid UTF-8":             {member("opt/ampoule/\xff\xfe", tar.TypeReg, nil), "not text in UTF-8"},
	"control codes":             {member("opt/ampoule/\x1b[2J\n", tar.TypeReg, nil), "not text in UTF-8"},
	"link to nothing":           {member("opt/ampoule/x", tar.TypeSymlink, link("")), "no path"},
	"long link":                 {member("opt/ampoule/x", tar.TypeSymlink, link(strings.Repeat("x", 5000))), "no path"},
	"extended attribute":        {member("opt/ampoule/x", tar.TypeReg, pax("SCHILY.xattr.security.capability", "x")), "SCHILY.xattr"},
	"old sparse file":           {retyped(member("opt/ampoule/x", tar.TypeReg, nil), tar.TypeGNUSparse), "type 'S'"},
	"sparse file of a terabyte": {sparse("opt/ampoule/x"), "GNU.sparse"},
	"global attributes":         {retyped(member("opt/ampoule/x", tar.TypeReg, nil), tar.TypeXGlobalHeader), "type 'g'"},
	"huge file":                 {sized("opt/ampoule/x", 1<<60), "bytes"},
	"too many":                  {member("opt/ampoule/x", tar.TypeSymlink, link("y")), "more than"},
	"too many directories":      {member("opt/ampoule/"+strings.Repeat("d/", 12)+"f", tar.TypeReg, nil), "more than"},
	"no tar":                    {bytes.Repeat([]byte("no tar "), 200), "reading tar"},
	"cut":                       {sized("opt/ampoule/x", 5), "reading tar"},
}

func TestHostileLayersAreRefused(t *testing.T) {
	t.Parallel()
	for name, h := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outside := tempDir(t)
			root, err := os.OpenRoot(filepath.Join(outside, mkdir(t, outside, "root")))
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			u := newUnpacker(root)
			defer u.at.close()
			u.entries, u.bytes = 10, 10
			if name == "too many" {
				u.entries = 0
			}
			err = u.attempt().extract(t.Context(), bytes.NewReader(h.content))
			var refused *refusal
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), h.why) {
				t.Errorf("error is %v, want a refusal that says %q", err, h.why)
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
	root := tempDir(t)
	mustInstall(t, newSource(t, "1", sample(t, "one")), root)
	changes := map[string]func(*source){
		"another tree": func(s *source) {
			s.description.Images[0].Config.Labels[artifact.LabelTree] = "sha256:" + strings.Repeat("f", 64)
			s.describe(t)
		},
		"no label": func(s *source) {
			delete(s.description.Images[0].Config.Labels, artifact.LabelTree)
			s.describe(t)
		},
		"a label that is no hash": func(s *source) {
			s.description.Images[0].Config.Labels[artifact.LabelTree] = "whatever"
			s.describe(t)
		},
		"another label in another form": func(s *source) {
			s.description.Images[0].Config.Labels[artifact.LabelPrefix] = "opt/ampoule"
			s.describe(t)
		},
		"another index":         func(s *source) { s.description.Raw = append(s.description.Raw, ' ') },
		"another manifest":      func(s *source) { s.description.Images[0].Manifest = append(s.description.Images[0].Manifest, ' ') },
		"another configuration": func(s *source) { s.description.Images[0].RawConfig = append(s.description.Images[0].RawConfig, ' ') },
		"no index": func(s *source) {
			s.description.Raw = []byte("[")
			s.name()
		},
		"an index without the platform": func(s *source) {
			s.description.Raw = []byte(`{"manifests":[]}`)
			s.name()
		},
		"another name":   func(s *source) { s.description.Ref = "web@sha256:" + strings.Repeat("f", 64) },
		"hostile layer":  func(s *source) { s.tars["interpreter"] = hostile["path up"].content },
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
	root := tempDir(t)
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
	_, err := Install(t.Context(), newSource(t, "1", sample(t, "one")), "web", Options{Root: tempDir(t), Platform: "linux/s390x"})
	var missing *registry.NotFoundError
	if !errors.As(err, &missing) {
		t.Errorf("error is %v, want NotFoundError", err)
	}
}

func TestFullDiskAndMissingRights(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{fs.ErrPermission, syscall.ENOSPC} {
		err := hostError(installing, "/srv/web", &fs.PathError{Op: "write", Path: "x", Err: fault})
		if faults.Of(err) != faults.Machine || len(faults.Hints(err)) != 1 || !strings.Contains(err.Error(), "installing below /srv/web") {
			t.Errorf("%v becomes %v, want an error that names the root", fault, err)
		}
	}
	root := filepath.Join(tempDir(t), "file")
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
	root := tempDir(t)
	systemtest.Mount(t, root, "size=64k,mode=0755")
	whole, err := sample(t, "one").With(tree.FileEntry("lib/large", 0o644, make([]byte, 200_000)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = install(t, newSource(t, "1", whole), root)
	if faults.Of(err) != faults.Machine || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "installing below "+root) {
		t.Errorf("error is %v, want one of this machine", err)
	}
	checkNothingUnfinished(t, root)
}

// TestKilledInstallationLeavesNothing kills an installation in the middle of a
// layer, and after it one that waits for the lock must succeed.
func TestKilledInstallationLeavesNothing(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
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
	if left, _ := filepath.Glob(filepath.Join(root, "releases", ".tmp-*", "tree", "bin")); len(left) != 1 {
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
	for _, h := range hostile {
		f.Add(h.content)
	}
	for _, content := range newSource(f, "1", sample(f, "one")).tars {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		outside := tempDir(t)
		inside := filepath.Join(outside, mkdir(t, outside, "root"))
		root, err := os.OpenRoot(inside)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		u := newUnpacker(root)
		defer u.at.close()
		u.entries, u.bytes = 100, 1<<20
		err = u.attempt().extract(t.Context(), bytes.NewReader(content))
		if err == nil {
			err = u.finish(t.Context())
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

// one is a source whose tree comes in one layer that a test writes itself.
func one(t *testing.T, content []byte, entries ...tree.Entry) *source {
	t.Helper()
	whole, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	s := newSource(t, "1", whole)
	s.description.Images[0].Layers = []registry.LayerInfo{{Name: "all", DiffID: "all", Digest: "all"}}
	s.tars = map[string][]byte{"all": content}
	return s
}

// What is odd and not hostile is installed: names that differ in their case alone are
// two names, directories that no layer tells of have the usual mode, and where a link
// leads does not matter.
func TestOddLayers(t *testing.T) {
	t.Parallel()
	content := slices.Concat(
		member("opt/ampoule/terminfo/a/x", tar.TypeReg, mode(0o644)), member("opt/ampoule/terminfo/A/x", tar.TypeReg, mode(0o600)),
		member("opt/ampoule/localtime", tar.TypeSymlink, link("/etc/localtime")), member("opt/ampoule/up", tar.TypeSymlink, link("../../../current")),
		member("opt/ampoule/"+strings.Repeat("d/", maxDepth-3)+"f", tar.TypeReg, mode(0o644)),
		member("opt/ampoule/"+strings.Repeat("n", 255), tar.TypeReg, mode(0o644)),
		member("opt/ampoule/größe", tar.TypeReg, mode(0o644)),
	)
	s := one(t, content,
		tree.FileEntry("terminfo/a/x", 0o644, nil), tree.FileEntry("terminfo/A/x", 0o600, nil),
		tree.Entry{Path: "localtime", Kind: tree.Symlink, Link: "/etc/localtime"}, tree.Entry{Path: "up", Kind: tree.Symlink, Link: "../../../current"},
		tree.FileEntry(strings.Repeat("d/", maxDepth-3)+"f", 0o644, nil), tree.FileEntry(strings.Repeat("n", 255), 0o644, nil),
		tree.FileEntry("größe", 0o644, nil),
	)
	root := tempDir(t)
	done := mustInstall(t, s, root)
	if info, err := os.Stat(filepath.Join(done.Release, "terminfo")); err != nil || info.Mode() != fs.ModeDir|0o755 {
		t.Errorf("terminfo: %v (%v)", info.Mode(), err)
	}
	if _, err := verify(t, root, s.description.Digest); err != nil {
		t.Error(err)
	}
}

// What follows the end of a tar is read no further than writers fill up.
func TestEndlessTrailer(t *testing.T) {
	t.Parallel()
	file := member("opt/ampoule/x", tar.TypeReg, mode(0o644))
	for size, ok := range map[int]bool{0: true, 10_240: true, maxTrailer + 2000: false} {
		s := one(t, slices.Concat(file, make([]byte, 1024+size)), tree.FileEntry("x", 0o644, nil))
		_, err := install(t, s, tempDir(t))
		var refused *VerificationError
		if (err == nil) != ok || !ok && (!errors.As(err, &refused) || !strings.Contains(err.Error(), "follow its end")) {
			t.Errorf("%d bytes after the end: %v", size, err)
		}
	}
}

// An attempt that breaks gives back what it made and spent, but for a directory that
// stays.
func TestUndo(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	u := newUnpacker(root)
	a := u.attempt()
	content := slices.Concat(member("opt/ampoule/d/x", tar.TypeReg, nil), member("opt/ampoule/l", tar.TypeSymlink, link("x")), sized("opt/ampoule/cut", 5))
	if err := a.extract(t.Context(), bytes.NewReader(content)); err == nil {
		t.Fatal("a tar that is cut is unpacked")
	}
	if err := a.undo(); err != nil {
		t.Fatal(err)
	}
	left, err := fs.Glob(root.FS(), "*/*")
	if err != nil || len(left) > 0 || u.entries != maxEntries-1 || u.bytes != maxBytes {
		t.Errorf("left %v (%v), %d entries and %d bytes of %d and %d", left, err, u.entries, u.bytes, maxEntries, int64(maxBytes))
	}
}

// tempDir is a directory of a test, removed with the read-only directories of releases.
func tempDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.Chmod(name, 0o700)
			}
			return nil
		})
	})
	return dir
}
