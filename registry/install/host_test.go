package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/registry"
	"ampoule/system/systemtest"
	"ampoule/tree"
)

// digested gives the layers of a source their digests, so that what they have can be known.
func digested(t testing.TB, s *source) *source {
	t.Helper()
	layers := s.description.Images[0].Layers
	for i, l := range layers {
		tar, ok := s.tars[l.DiffID]
		if !ok {
			continue
		}
		digest := digestOf(tar)
		layers[i].Digest, layers[i].DiffID, layers[i].Size = digest, digest, int64(len(tar))
		s.tars[digest] = tar
	}
	s.describe(t)
	return s
}

// releases are artifacts of programs, whose other files are the same.
func releases(t testing.TB, programs ...string) []*source {
	t.Helper()
	var all []*source
	for _, program := range programs {
		all = append(all, digested(t, newSource(t, program, sample(t, program))))
	}
	return all
}

func (s *source) digest() string { return s.description.Digest }

// layer is the digest of a layer.
func (s *source) layer(name string) string {
	for _, l := range s.description.Images[0].Layers {
		if l.Name == name {
			return l.Digest
		}
	}
	return ""
}

func mustAdd(t testing.TB, s Source, root string) Installed {
	t.Helper()
	done, err := Add(t.Context(), s, "web", Options{Root: root, Platform: platform, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func mustActivate(t testing.TB, s *source, root string) Switched {
	t.Helper()
	done, err := Activate(t.Context(), root, s.digest(), SwitchOptions{Care: Whole, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func mustRollback(t testing.TB, root string) Switched {
	t.Helper()
	done, err := Rollback(t.Context(), root, "", SwitchOptions{By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func mustList(t testing.TB, root string) []Release {
	t.Helper()
	found, err := List(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return found.Releases
}

func ops(t testing.TB, root string) string {
	t.Helper()
	events, err := History(root)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range events {
		if e.User == "" || e.PID == 0 || e.Time.IsZero() {
			t.Errorf("event %+v", e)
		}
		all = append(all, e.Op)
	}
	return strings.Join(all, " ")
}

// Adding switches nothing; going back takes the switches away, one after the other.
func TestActivateAndRollback(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two", "three")
	for _, s := range all {
		mustAdd(t, s, root)
	}
	if _, err := Current(root); !errors.As(err, new(*registry.NotFoundError)) {
		t.Errorf("adding switched: %v", err)
	}
	for i, s := range all {
		done := mustActivate(t, s, root)
		if done.Same || done.To.Digest != s.digest() || i > 0 && done.From != all[i-1].digest() {
			t.Errorf("activated %+v", done)
		}
	}
	if again := mustActivate(t, all[2], root); !again.Same {
		t.Errorf("activated again: %+v", again)
	}
	list := mustList(t, root)
	if len(list) != 3 || !list[0].Active || list[0].Digest != all[2].digest() || !list[1].Previous || list[1].Digest != all[1].digest() || list[2].Previous {
		t.Errorf("list %+v", list)
	}
	for _, want := range []string{"two", "one"} {
		if mustRollback(t, root); current(t, root) != want {
			t.Errorf("current is %q, want %q", current(t, root), want)
		}
	}
	if _, err := Rollback(t.Context(), root, "", SwitchOptions{}); !errors.As(err, new(*registry.NotFoundError)) {
		t.Errorf("nothing is left to go back to: %v", err)
	}
	if _, err := Rollback(t.Context(), root, all[2].description.Ref, SwitchOptions{}); err != nil || current(t, root) != "three" {
		t.Errorf("to a digest: %v, current is %q", err, current(t, root))
	}
	if mustRollback(t, root); current(t, root) != "one" {
		t.Errorf("current is %q", current(t, root))
	}
	if got, want := ops(t, root), "install install install activate activate activate rollback rollback rollback rollback"; got != want {
		t.Errorf("journal %q, want %q", got, want)
	}
	checkNothingUnfinished(t, root)
}

// What is not allowed, not fit, not there or not as it was installed is not switched to.
func TestSwitchIsRefused(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two")
	mustAdd(t, all[0], root)
	mustAdd(t, all[1], root)
	mustActivate(t, all[0], root)
	no := errors.New("no")
	flask := filepath.Join(all[1].release(root), "lib", "flask.py")
	asked := ""
	for name, c := range map[string]struct {
		o      SwitchOptions
		digest string
		change func() error
		holds  func(error) bool
	}{
		"not allowed": {o: SwitchOptions{Allow: func(_ context.Context, g Grounds) error { asked = g.Digest; return no }}, holds: func(err error) bool { return errors.Is(err, no) && asked == all[1].digest() }},
		"not fit":     {o: SwitchOptions{Before: func(context.Context, Candidate) error { return no }}, holds: func(err error) bool { return errors.Is(err, no) }},
		"not there":   {digest: "sha256:" + strings.Repeat("a", 64), holds: func(err error) bool { return errors.As(err, new(*registry.NotFoundError)) }},
		"no digest":   {digest: "web:latest", holds: func(err error) bool { return faults.Of(err) == faults.Usage }},
	} {
		digest := c.digest
		if digest == "" {
			digest = all[1].digest()
		}
		if done, err := Activate(t.Context(), root, digest, c.o); !c.holds(err) {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
	}
	damages := []struct {
		name   string
		change func() error
		care   Care
	}{
		{"a file is edited in its place", func() error { return os.WriteFile(flask, []byte("evil!"), 0o600) }, Glance},
		{"a file is edited, and its time put back", func() error {
			return errors.Join(os.WriteFile(flask, []byte("EVIL!"), 0o600), os.Chtimes(flask, tree.Time, tree.Time))
		}, Whole},
		{"a file is added", func() error { return os.WriteFile(filepath.Join(filepath.Dir(flask), "x.py"), nil, 0o600) }, Glance},
		{"a file is gone", func() error { return os.Remove(flask) }, Glance},
		{"a file is a link", func() error { return errors.Join(os.Remove(flask), os.Symlink("click.py", flask)) }, Glance},
		{"a mode is another", func() error { return os.Chmod(flask, 0o777) }, Glance},
	}
	for _, d := range damages {
		mustAdd(t, all[1], root) // it is mended
		if err := d.change(); err != nil {
			t.Fatal(err)
		}
		var refused *VerificationError
		if done, err := Activate(t.Context(), root, all[1].digest(), SwitchOptions{Care: d.care}); !errors.As(err, &refused) || refused.Hint() == "" {
			t.Errorf("%s: %+v, %v", d.name, done, err)
		}
	}
	if current(t, root) != "one" {
		t.Errorf("current is %q", current(t, root))
	}
}

// Going back to a release that was current looks at directories alone. What comes, goes or is replaced there
// is found; what is written into a file in its place is for [Verify].
func TestSkim(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(release, flask string) error
		passes bool
	}{
		"nothing":             {func(string, string) error { return nil }, true},
		"a file is added":     {func(release, _ string) error { return os.WriteFile(filepath.Join(release, "x.py"), nil, 0o600) }, false},
		"a file is gone":      {func(_, flask string) error { return os.Remove(flask) }, false},
		"a file is replaced":  {func(release, flask string) error { return replaceFile(flask, "evil!!") }, false},
		"a directory is open": {func(_, flask string) error { return os.Chmod(filepath.Dir(flask), 0o777) }, false},
		"a directory is a link": {func(release, flask string) error {
			return errors.Join(os.Rename(filepath.Dir(flask), release+"-lib"), os.Symlink(release+"-lib", filepath.Dir(flask)))
		}, false},
		"the release is a link": {func(release, _ string) error {
			return errors.Join(os.Rename(release, release+"-moved"), os.Symlink(release+"-moved", release))
		}, false},
		"the release is gone": {func(release, _ string) error { return os.RemoveAll(release) }, false},
		"something came and went": {func(release, _ string) error {
			return errors.Join(os.WriteFile(filepath.Join(release, "x.py"), nil, 0o600), os.Remove(filepath.Join(release, "x.py")))
		}, true},
		"a file is edited in its place": {func(_, flask string) error { return os.WriteFile(flask, []byte("evil!!"), 0o600) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join(tempDir(t), "web")
			all := releases(t, "one", "two")
			for _, s := range all {
				mustAdd(t, s, root)
				mustActivate(t, s, root)
			}
			release := all[0].release(root)
			if err := c.change(release, filepath.Join(release, "lib", "flask.py")); err != nil {
				t.Fatal(err)
			}
			_, err := Rollback(t.Context(), root, all[0].digest(), SwitchOptions{Care: Skim})
			if c.passes != (err == nil) {
				t.Errorf("going back: %v", err)
			}
			if want := map[bool]string{true: "one", false: "two"}[c.passes]; current(t, root) != want {
				t.Errorf("current is %q", current(t, root))
			}
			whole := name == "nothing" || name == "something came and went"
			if _, err := Verify(t.Context(), root, VerifyOptions{Release: all[0].digest(), Platform: platform}); whole != (err == nil) {
				t.Errorf("verified: %v", err)
			}
		})
	}
}

// replaceFile puts another file in a file's place, with its time.
func replaceFile(file, content string) error {
	return errors.Join(os.WriteFile(file+"~", []byte(content), 0o600), os.Chtimes(file+"~", tree.Time, tree.Time), os.Rename(file+"~", file))
}

// A release that never was the current one is looked at file by file.
func TestSkimOfANewRelease(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two")
	mustAdd(t, all[0], root)
	mustAdd(t, all[1], root)
	mustActivate(t, all[1], root)
	if err := os.WriteFile(filepath.Join(all[0].release(root), "bin", "python3"), []byte("longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Rollback(t.Context(), root, all[0].digest(), SwitchOptions{Care: Skim}); !errors.As(err, new(*VerificationError)) {
		t.Errorf("going back: %v", err)
	}
}

// The second release fetches what it lacks alone, and shares the files of the first.
func TestContentIsShared(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two")
	first := mustAdd(t, all[0], root)
	second := mustAdd(t, all[1], root)
	if want := []string{all[1].layer("interpreter")}; !slices.Equal(second.Fetched, want) {
		t.Errorf("fetched %v, want the interpreter's layer alone: %v", second.Fetched, want)
	}
	if want := len(all[0].description.Images[0].Layers) - 1; len(first.Fetched) != want {
		t.Errorf("the first fetched %v", first.Fetched)
	}
	for name, shared := range map[string]bool{"lib/flask.py": true, "lib/locked/a.py": true, "bin/python3": false} {
		a, errA := os.Stat(filepath.Join(first.Release, name))
		b, errB := os.Stat(filepath.Join(second.Release, name))
		if errA != nil || errB != nil || os.SameFile(a, b) != shared {
			t.Errorf("%s is one file: %v, want %v (%v, %v)", name, os.SameFile(a, b), shared, errA, errB)
			continue
		}
		if a.Mode().Perm()&writable != 0 || !a.ModTime().Equal(tree.Time) {
			t.Errorf("%s: %v %v", name, a.Mode(), a.ModTime())
		}
	}
	for _, s := range all {
		if v, err := Verify(t.Context(), root, VerifyOptions{Platform: platform, Release: s.digest()}); err != nil || v.Digest != s.digest() {
			t.Errorf("verified: %+v (%v)", v, err)
		}
	}
}

// The tree of a release's directory has the hash of the artifact's, also through the link.
func TestAsArtifact(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	s := releases(t, "one")[0]
	done := mustInstall(t, s, root)
	for dir, want := range map[string]bool{done.Release: true, filepath.Join(root, "current"): true, filepath.Join(done.Release, "lib"): false, root: false} {
		found, err := tree.FromDir(dir + "/.")
		if err != nil {
			t.Fatal(err)
		}
		if got := AsArtifact(dir, found).Hash() == s.whole.Hash(); got != want {
			t.Errorf("%s has the artifact's hash: %v, want %v", dir, got, want)
		}
	}
}

// Content that is damaged is not used: the layer is fetched again. So is one whose list is wrong.
func TestDamagedContent(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(root string, s *source) error{
		"a file": func(root string, _ *source) error {
			files, _ := filepath.Glob(filepath.Join(root, contentName, digestOf([]byte("flask"))[7:]+"-*"))
			if len(files) != 1 {
				return fmt.Errorf("content of flask.py: %v", files)
			}
			return errors.Join(os.WriteFile(files[0], []byte("fla5k"), 0o600), os.Chtimes(files[0], tree.Time, tree.Time))
		},
		"a file that is a link": func(root string, _ *source) error {
			files, _ := filepath.Glob(filepath.Join(root, contentName, digestOf([]byte("flask"))[7:]+"-*"))
			return errors.Join(os.Remove(files[0]), os.Symlink("/etc/passwd", files[0]))
		},
		"a list that is cut": func(root string, s *source) error {
			return os.Truncate(filepath.Join(root, contentName, layersName, layerFile(s.layer("wheel:flask"))), 90)
		},
		"the list of another layer": func(root string, s *source) error {
			list := func(of string) string {
				return filepath.Join(root, contentName, layersName, layerFile(s.layer(of)))
			}
			return errors.Join(os.Remove(list("wheel:flask")), os.Link(list("wheel:click"), list("wheel:flask")))
		},
		"a list that leads out": func(root string, s *source) error {
			listing := "file 0644 \"../../../evil\" " + strings.Repeat("a", 64) + "\n"
			return os.WriteFile(filepath.Join(root, contentName, layersName, layerFile(s.layer("wheel:flask"))), []byte(digestOf([]byte(listing))+"\n"+listing), 0o600)
		},
		"no content": func(root string, _ *source) error { return os.RemoveAll(filepath.Join(root, contentName)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join(tempDir(t), "web")
			all := releases(t, "one", "two")
			mustAdd(t, all[0], root)
			if err := damage(root, all[0]); err != nil {
				t.Fatal(err)
			}
			done := mustAdd(t, all[1], root)
			if !slices.Contains(done.Fetched, all[1].layer("wheel:flask")) {
				t.Errorf("fetched %v", done.Fetched)
			}
			if err := holds(done.Release, all[1].whole); err != nil {
				t.Error(err)
			}
			// The first one may share a file that was damaged: installing mends it.
			if again := mustAdd(t, all[0], root); holds(again.Release, all[0].whole) != nil {
				t.Errorf("installed again: %+v", again)
			}
			if third := mustAdd(t, releases(t, "three")[0], root); len(third.Fetched) != 1 {
				t.Errorf("the third fetched %v", third.Fetched)
			}
			checkNothingUnfinished(t, root)
		})
	}
}

// What file systems do not share is copied, and that is told.
func TestContentOnAnotherDisk(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two")
	content := filepath.Join(root, contentName)
	if err := os.MkdirAll(content, 0o755); err != nil {
		t.Fatal(err)
	}
	systemtest.Mount(t, content, "size=1m,mode=0755")
	for i, s := range all {
		done := mustAdd(t, s, root)
		if len(done.Warnings) != 1 || !strings.Contains(done.Warnings[0], "files are copied") || i == 1 && len(done.Fetched) != 1 {
			t.Errorf("installed %+v", done)
		}
		mustActivate(t, s, root)
	}
}

// A release that earlier versions installed is listed, switched to and gone back to as it is.
func TestReleaseOfEarlierLayout(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	x.thaw()
	x.record.Version, x.record.Bytes = provenVersion, 0
	x.save()
	x.must(os.RemoveAll(x.in(contentName)))
	x.must(os.RemoveAll(x.in(journalName)))
	if list := mustList(t, x.root); len(list) != 1 || !list[0].Active || list[0].Installed.IsZero() {
		t.Errorf("list %+v", list)
	}
	next := releases(t, "two")[0]
	mustAdd(t, next, x.root)
	mustActivate(t, next, x.root)
	if back := mustRollback(t, x.root); back.To.Digest != x.source.digest() || current(t, x.root) != "one" {
		t.Errorf("went back to %+v", back)
	}
	if _, err := verify(t, x.root, x.source.description.Ref); err != nil {
		t.Error(err)
	}
	if again := mustInstall(t, x.source, x.root); !again.Present {
		t.Errorf("installed again: %+v", again)
	}
	mustRollbackTo(t, x.root, x.source.digest())
}

func mustRollbackTo(t testing.TB, root, digest string) {
	t.Helper()
	if _, err := Rollback(t.Context(), root, digest, SwitchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// python is a tree with distributions.
func python(t testing.TB) *tree.Tree {
	t.Helper()
	site := "lib/python3.13/site-packages/"
	var entries []tree.Entry
	for name, version := range map[string]string{"flask": "3.0.0", "click": "8.1.0", "idna": "3.7"} {
		info := fmt.Sprintf("%s-%s.dist-info", name, version)
		entries = append(entries,
			tree.FileEntry(site+name+"/__init__.py", 0o644, []byte(name)),
			tree.FileEntry(site+info+"/RECORD", 0o644, []byte(name+"/__init__.py,,\n"+info+"/RECORD,,\n")),
			tree.FileEntry(site+info+"/INSTALLER", 0o644, []byte("ampoule\n")))
	}
	whole, err := tree.New(append(entries, tree.FileEntry("bin/python3", 0o755, []byte("python"))))
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

// Drift is named: files, and the distributions that somebody installed, replaced, changed or
// removed.
func TestDrift(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.source = newSource(t, "1", python(t))
	done := mustInstall(t, s.source, s.root)
	site := filepath.Join(done.Release, "lib/python3.13/site-packages")
	// pip install of a new one, pip install --upgrade, pip uninstall, and an editor.
	s.file(filepath.Join(site, "requests/__init__.py"), "requests")
	s.file(filepath.Join(site, "requests-2.32.0.dist-info/INSTALLER"), "pip\n")
	s.must(os.RemoveAll(filepath.Join(site, "flask-3.0.0.dist-info")))
	s.file(filepath.Join(site, "flask-3.1.0.dist-info/INSTALLER"), "pip\n")
	s.must(os.Remove(filepath.Join(site, "flask/__init__.py")))
	s.file(filepath.Join(site, "flask/__init__.py"), "newer")
	s.must(os.RemoveAll(filepath.Join(site, "idna-3.7.dist-info")))
	s.must(os.RemoveAll(filepath.Join(site, "idna")))
	s.file(filepath.Join(site, "click/__init__.py"), "edited")
	v, err := Verify(t.Context(), s.root, VerifyOptions{Platform: platform})
	if !errors.As(err, new(*VerificationError)) || v.Drift == nil {
		t.Fatalf("verified: %+v, %v", v, err)
	}
	want := []DriftedDistribution{
		{Name: "click", Version: "8.1.0", Was: "8.1.0", How: "changed"},
		{Name: "flask", Version: "3.1.0", Was: "3.0.0", Installer: "pip", How: "replaced"},
		{Name: "idna", Was: "3.7", How: "removed"},
		{Name: "requests", Version: "2.32.0", Installer: "pip", How: "installed"},
	}
	if diff := cmp.Diff(want, v.Drift.Distributions); diff != "" {
		t.Errorf("distributions (-want +got):\n%s", diff)
	}
	lib := "lib/python3.13/site-packages/"
	if want := []string{lib + "click/__init__.py", lib + "flask/__init__.py"}; !slices.Equal(v.Drift.Changed, want) {
		t.Errorf("changed %v, want %v", v.Drift.Changed, want)
	}
	if !slices.Contains(v.Drift.Missing, lib+"idna/__init__.py") || !slices.Contains(v.Drift.Extra, lib+"requests/__init__.py") {
		t.Errorf("drift %+v", v.Drift)
	}
	if again := mustInstall(t, s.source, s.root); !again.Repaired {
		t.Errorf("installed again: %+v", again)
	}
	if v, err := Verify(t.Context(), s.root, VerifyOptions{Platform: platform}); err != nil || v.Drift != nil {
		t.Errorf("verified: %+v, %v", v, err)
	}
}

// running is a tree whose program is a real one.
func running(t testing.TB, text string) *source {
	t.Helper()
	program, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := sample(t, text).With(tree.FileEntry("bin/sleep", 0o755, program), tree.FileEntry("VERSION", 0o644, []byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	return digested(t, newSource(t, text, whole))
}

// start runs the program of a release through the link, as units do.
func start(t testing.TB, path string) (end func()) {
	t.Helper()
	cmd := exec.Command(path, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	return end
}

// The active release stays, those that processes use, and the last ones. Content goes with the
// last release that needs it.
func TestCollect(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	var all []*source
	for _, text := range []string{"one", "two", "three", "four", "five"} {
		s := running(t, text)
		all = append(all, s)
		mustAdd(t, s, root)
		mustActivate(t, s, root)
		if text == "one" {
			defer start(t, filepath.Join(root, "current", "bin", "sleep"))()
		}
	}
	mustRollback(t, root)
	if done, err := Collect(t.Context(), root, CollectOptions{Keep: 2, Dry: true}); err != nil || len(done.Removed) != 2 || len(mustList(t, root)) != 5 {
		t.Errorf("dry: %+v, %v", done, err)
	}
	before := contentOf(t, root)
	done, err := Collect(t.Context(), root, CollectOptions{Keep: 2, By: "test"})
	if err != nil || len(done.Removed) != 2 || len(done.Kept) != 1 || done.Kept[0].Digest != all[0].digest() || len(done.Kept[0].Processes) != 1 {
		t.Errorf("collected %+v, %v", done, err)
	}
	var left []string
	for _, r := range mustList(t, root) {
		left = append(left, r.Digest)
	}
	// The active one is first; five was used before it, and one is used by a process.
	if want := []string{all[3].digest(), all[4].digest(), all[0].digest()}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
	// Each had its own program's text and version.
	if after := contentOf(t, root); done.Content != 4 || len(before)-len(after) != 4 {
		t.Errorf("%d files of content removed, %d before, %d after", done.Content, len(before), len(after))
	}
	for _, s := range []*source{all[3], all[4], all[0]} {
		if err := holds(s.release(root), s.whole); err != nil {
			t.Error(err)
		}
	}
	checkNothingUnfinished(t, root)
}

// contentOf lists the content below a root.
func contentOf(t testing.TB, root string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, contentName, strings.Repeat("?", 64)+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A process that begins while its release is put away brings it back.
func TestPutAwayMeetsAProcess(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	s := running(t, "one")
	mustAdd(t, s, root)
	end := start(t, filepath.Join(s.release(root), "bin", "sleep"))
	site, err := openExisting(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	defer site.close()
	used, err := site.putAway(t.Context(), filepath.Base(s.release(root)))
	if err != nil || len(used) != 1 || holds(s.release(root), s.whole) != nil {
		t.Errorf("put away: used by %v, %v", used, err)
	}
	end()
	if used, err := site.putAway(t.Context(), filepath.Base(s.release(root))); err != nil || used != nil {
		t.Errorf("put away: used by %v, %v", used, err)
	}
}

// A process in another mount namespace, where the root has another path, is seen; one that uses
// the same release below another root is not.
func TestProcessesElsewhere(t *testing.T) {
	t.Parallel()
	systemtest.Root(t)
	root, other := filepath.Join(tempDir(t), "web"), filepath.Join(tempDir(t), "web")
	s := running(t, "one")
	mustAdd(t, s, root)
	mustAdd(t, s, other)
	mustActivate(t, s, root)
	mustActivate(t, s, other)
	mount := t.TempDir()
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount --bind "$0" "$1" && exec "$1/current/bin/sleep" 60`, root, mount)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for range 200 {
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid)); strings.TrimSpace(string(name)) == "sleep" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if list := mustList(t, root); len(list[0].Processes) != 1 {
		t.Errorf("in a namespace of its own: %+v", list[0].Processes)
	}
	if list := mustList(t, other); len(list[0].Processes) != 0 {
		t.Errorf("below another root: %+v", list[0].Processes)
	}
}

// An ordinary user is told that there are processes that he cannot look into.
func TestUnseenProcesses(t *testing.T) {
	t.Parallel()
	if root := os.Getenv("LIST_ROOT"); root != "" {
		found, err := List(t.Context(), root)
		if err != nil || found.Unseen < 1 || len(found.Releases) != 1 || len(found.Releases[0].Processes) != 0 {
			t.Errorf("list %+v, %v", found, err)
		}
		return
	}
	systemtest.Root(t)
	base := tempDir(t)
	openUp(t, base)
	root := filepath.Join(base, "web")
	s := running(t, "one")
	mustAdd(t, s, root)
	mustActivate(t, s, root)
	defer start(t, filepath.Join(root, "current", "bin", "sleep"))()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestUnseenProcesses$", "-test.count=1")
	cmd.Env = append(os.Environ(), "LIST_ROOT="+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestUninstall(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one, two := running(t, "one"), running(t, "two")
	mustAdd(t, one, s.root)
	mustAdd(t, two, s.root)
	mustActivate(t, one, s.root)
	mustActivate(t, two, s.root)
	s.file(s.in("etc/web.conf"), "stranger's")
	var inUse *InUseError
	if _, err := Uninstall(t.Context(), s.root, UninstallOptions{Digests: []string{one.digest(), two.digest()}}); !errors.As(err, &inUse) || len(mustList(t, s.root)) != 2 {
		t.Errorf("the active one: %v", err)
	}
	if _, err := Uninstall(t.Context(), s.root, UninstallOptions{Digests: []string{"sha256:" + strings.Repeat("a", 64)}}); !errors.As(err, new(*registry.NotFoundError)) {
		t.Errorf("one that is not there: %v", err)
	}
	end := start(t, filepath.Join(one.release(s.root), "bin", "sleep"))
	for _, o := range []UninstallOptions{{Digests: []string{one.digest()}}, {All: true}} {
		if _, err := Uninstall(t.Context(), s.root, o); !errors.As(err, &inUse) || len(inUse.Processes) != 1 || inUse.Hint() == "" || len(mustList(t, s.root)) != 2 {
			t.Errorf("%+v of one that is used: %v", o, err)
		}
	}
	end()
	if done, err := Uninstall(t.Context(), s.root, UninstallOptions{Digests: []string{one.description.Ref}}); err != nil || len(done.Removed) != 1 || done.Content == 0 {
		t.Errorf("uninstalled %+v, %v", done, err)
	}
	if _, err := Rollback(t.Context(), s.root, "", SwitchOptions{}); !errors.As(err, new(*registry.NotFoundError)) {
		t.Errorf("going back to what is gone: %v", err)
	}
	if done, err := Uninstall(t.Context(), s.root, UninstallOptions{All: true}); err != nil || len(done.Removed) != 1 {
		t.Errorf("uninstalled %+v, %v", done, err)
	}
	var left []string
	for name := range snapshot(t, s.root) {
		left = append(left, name)
	}
	slices.Sort(left)
	if want := []string{"", "/etc", "/etc/web.conf", "/releases", "/releases/.lock", "/releases/.switch"}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
	mustInstall(t, one, s.root)
}

// The journal keeps its newer half, and lines that are no events do not matter.
func TestJournalIsBounded(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one, two := releases(t, "one", "two")[0], releases(t, "two")[0]
	mustAdd(t, one, s.root)
	mustAdd(t, two, s.root)
	mustActivate(t, one, s.root)
	raw, err := os.ReadFile(s.in(journalName))
	s.must(err)
	line, err := json.Marshal(Event{Op: OpInstall, Digest: one.digest(), User: "x", PID: 1, Time: time.Now()})
	s.must(err)
	long := []byte(strings.Repeat(string(line)+"\n", maxJournal/len(line)))
	s.must(os.WriteFile(s.in(journalName), append(append(long, raw...), `{"op":"activ`...), 0o644)) // the power went while it was written
	mustActivate(t, two, s.root)
	info, err := os.Stat(s.in(journalName))
	if err != nil || info.Size() > maxJournal/2+1000 {
		t.Errorf("it has %d bytes (%v)", info.Size(), err)
	}
	if back := mustRollback(t, s.root); back.To.Digest != one.digest() {
		t.Errorf("went back to %+v", back)
	}
	events, err := History(s.root)
	if err != nil || events[len(events)-1].Op != OpRollback || events[len(events)-1].By != "test" {
		t.Errorf("events %+v (%v)", events[len(events)-2:], err)
	}
}

// A switch that the journal tells of and that did not happen is told, and not gone back over.
func TestInterruptedSwitch(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two", "three")
	for _, s := range all[:2] {
		mustAdd(t, s, root)
		mustActivate(t, s, root)
	}
	site, err := openSwitch(t.Context(), root)
	if err == nil {
		err = errors.Join(site.noteSwitch(releaseName(all[1].digest()), releaseName(all[2].digest()), OpActivate, ""), site.close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if list := mustList(t, root); !list[0].Active || list[0].Digest != all[1].digest() || !list[1].Previous {
		t.Errorf("list %+v", list)
	}
	if back := mustRollback(t, root); back.To.Digest != all[0].digest() {
		t.Errorf("went back to %+v", back)
	}
	if got := ops(t, root); !strings.HasSuffix(got, "activate interrupted rollback") {
		t.Errorf("journal %q", got)
	}
}

// Hosts' verbs meet roots that no installation made as installing does: nothing is touched.
func TestHostileRootsOfVerbs(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	verbs := map[string]func(ctx context.Context, root string) error{
		"activate": func(ctx context.Context, root string) error {
			_, err := Activate(ctx, root, digest, SwitchOptions{})
			return err
		},
		"rollback": func(ctx context.Context, root string) error {
			_, err := Rollback(ctx, root, "", SwitchOptions{})
			return err
		},
		"list": func(ctx context.Context, root string) error {
			_, err := List(ctx, root)
			return err
		},
		"gc": func(ctx context.Context, root string) error {
			_, err := Collect(ctx, root, CollectOptions{Keep: 1})
			return err
		},
		"uninstall": func(ctx context.Context, root string) error {
			_, err := Uninstall(ctx, root, UninstallOptions{All: true})
			return err
		},
	}
	for name, set := range map[string]func(s *scene){
		"current is a directory": func(s *scene) {
			s.must(os.Remove(s.in("current")))
			s.file(s.in("current/bin/python3"), "stranger's")
		},
		"current leads out": func(s *scene) {
			s.must(os.Remove(s.in("current")))
			s.link("/etc", s.in("current"))
		},
		"the root is a link": func(s *scene) {
			moved := s.root + "-moved"
			s.must(os.Rename(s.root, moved))
			s.link(moved, s.root)
		},
		"releases is a link": func(s *scene) {
			s.must(os.Rename(s.in("releases"), s.in("moved")))
			s.link("moved", s.in("releases"))
		},
	} {
		for verb, do := range verbs {
			t.Run(name+": "+verb, func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				mustInstall(t, s.source, s.root)
				set(s)
				defer unchanged(t, s.outside, filepath.Dir(s.root))()
				var refused *UnsafeError
				if err := do(t.Context(), s.root); !errors.As(err, &refused) || refused.Hint() == "" {
					t.Errorf("error is %v, want an UnsafeError", err)
				}
			})
		}
	}
	for verb, do := range verbs {
		if err := do(t.Context(), filepath.Join(tempDir(t), "none")); !errors.As(err, new(*registry.NotFoundError)) {
			t.Errorf("%s of no root: %v", verb, err)
		}
	}
}

// Content and journal that strangers put there are not used.
func TestHostileContent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set func(s *scene)
		why string
	}{
		"content is a link":       {func(s *scene) { s.link(s.outside, s.in(contentName)) }, "is a symbolic link"},
		"content is a file":       {func(s *scene) { s.file(s.in(contentName), "") }, "is not a directory"},
		"everybody may change it": {func(s *scene) { s.dir(s.in(contentName)); s.chmod(s.in(contentName), 0o777) }, "may be changed by others"},
		"layers is a link":        {func(s *scene) { s.link(s.outside, s.in(contentName+"/"+layersName)) }, "is a symbolic link"},
		"layers is everybody's": {func(s *scene) {
			s.dir(s.in(contentName + "/" + layersName))
			s.chmod(s.in(contentName+"/"+layersName), 0o777)
		}, "may be changed by others"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			c.set(s)
			defer unchanged(t, s.outside)()
			_, err := install(t, s.source, s.root)
			var refused *UnsafeError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("error is %v", err)
			}
		})
	}
	t.Run("the journal is a link", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.link(filepath.Join(s.outside, "notes.json"), s.in(journalName))
		defer unchanged(t, s.outside)()
		var refused *UnsafeError
		if _, err := install(t, s.source, s.root); !errors.As(err, &refused) || !strings.Contains(err.Error(), "is not a journal") {
			t.Errorf("error is %v", err)
		}
	})
}

// Nothing can be written: the error is of this machine, and what can be read still is.
func TestReadOnlyRoot(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two")
	mustInstall(t, all[0], root)
	mustInstall(t, all[1], root)
	systemtest.ReadOnly(t, root)
	_, installErr := install(t, releases(t, "three")[0], root)
	_, rollbackErr := Rollback(t.Context(), root, "", SwitchOptions{})
	_, collectErr := Collect(t.Context(), root, CollectOptions{Keep: 1})
	for name, err := range map[string]error{"install": installErr, "rollback": rollbackErr, "gc": collectErr} {
		if faults.Of(err) != faults.Machine || !errors.Is(err, syscall.EROFS) || len(faults.Hints(err)) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list := mustList(t, root); len(list) != 2 || current(t, root) != "two" {
		t.Errorf("list %+v", list)
	}
	if _, err := verify(t, root, ""); err != nil {
		t.Error(err)
	}
}

// A full disk, or one without inodes, stops an installation: the old state stays, and going back
// works.
func TestFullDiskOfHost(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]string{"bytes": "size=1m,mode=0755", "inodes": "size=16m,nr_inodes=70,mode=0755"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := tempDir(t)
			all := releases(t, "one", "two")
			systemtest.Mount(t, root, options)
			mustInstall(t, all[0], root)
			mustInstall(t, all[1], root)
			whole := sample(t, "three")
			for i := range 100 {
				e := tree.FileEntry(fmt.Sprintf("lib/large%d", i), 0o644, slices.Concat([]byte{byte(i)}, make([]byte, 16<<10)))
				e.Owner = "wheel:large"
				var err error
				if whole, err = whole.With(e); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Add(t.Context(), digested(t, newSource(t, "3", whole)), "web", Options{Root: root, Platform: platform})
			if faults.Of(err) != faults.Machine || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("error is %v, want one of this machine", err)
			}
			checkNothingUnfinished(t, root)
			if current(t, root) != "two" || len(mustList(t, root)) != 2 {
				t.Errorf("current is %q", current(t, root))
			}
			if name == "bytes" {
				systemtest.Fill(t, root, 0)
			}
			mustRollback(t, root)
			if current(t, root) != "one" {
				t.Errorf("current is %q", current(t, root))
			}
			if name == "bytes" {
				if err := os.Remove(filepath.Join(root, "filler")); err != nil {
					t.Fatal(err)
				}
			}
			if done, err := Collect(t.Context(), root, CollectOptions{Keep: 1}); err != nil || len(done.Removed) != 1 {
				t.Errorf("collected %+v, %v", done, err)
			}
		})
	}
}

// Going back does not wait for an installation that is under way.
func TestRollbackDuringInstallation(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two")
	mustInstall(t, all[0], root)
	mustInstall(t, all[1], root)
	slow := releases(t, "three")[0]
	reached, goOn := make(chan struct{}), make(chan struct{})
	slow.wrap = func(name string, r io.Reader) io.Reader {
		if name == "interpreter" {
			close(reached)
			<-goOn
		}
		return r
	}
	done := make(chan error)
	go func() {
		_, err := Install(t.Context(), slow, "web", Options{Root: root, Platform: platform})
		done <- err
	}()
	<-reached
	mustRollback(t, root)
	if current(t, root) != "one" {
		t.Errorf("current is %q", current(t, root))
	}
	close(goOn)
	if err := <-done; err != nil || current(t, root) != "three" {
		t.Errorf("installed: %v, current is %q", err, current(t, root))
	}
	if back := mustRollback(t, root); back.To.Digest != all[0].digest() {
		t.Errorf("went back to %+v", back)
	}
}

func FuzzParseListing(f *testing.F) {
	f.Add(string(sample(f, "one").Listing()))
	f.Add("file 0644 \"../x\" " + strings.Repeat("a", 64) + "\n")
	f.Add("dir 99999999999 \"x\"\n")
	f.Fuzz(func(t *testing.T, listing string) {
		entries, err := parseListing(listing)
		if err != nil {
			return
		}
		for _, e := range entries {
			if !fs.ValidPath(e.Path) || e.Path == "." {
				t.Errorf("path %q", e.Path)
			}
		}
		if whole, err := tree.New(entries); err == nil && whole.Len() == len(entries) && slices.IsSortedFunc(entries, func(a, b tree.Entry) int { return strings.Compare(a.Path, b.Path) }) {
			again, err := parseListing(string(whole.Listing()))
			if diff := cmp.Diff(entries, again); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		}
	})
}
