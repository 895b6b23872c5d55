package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/system/systemtest"
	"ampoule/tree"
)

// nobody is a user that owns nothing.
const nobody = 65534

// scene is a root with what a test puts there, and a directory of strangers.
type scene struct {
	t             *testing.T
	root, outside string
	source        *source
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, root: filepath.Join(tempDir(t), "web"), outside: tempDir(t), source: newSource(t, "1", sample(t, "one"))}
	s.dir(s.root)
	for _, name := range []string{"notes.json", "releases/keep.json", "sha256-" + strings.Repeat("a", 64) + ".json", ".tmp-mine/file"} {
		s.file(filepath.Join(s.outside, name), "stranger's")
	}
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) in(name string) string { return filepath.Join(s.root, name) }

func (s *scene) dir(name string) { s.must(os.MkdirAll(name, 0o755)) }

func (s *scene) file(name, content string) {
	s.dir(filepath.Dir(name))
	s.must(os.WriteFile(name, []byte(content), 0o600))
}

func (s *scene) link(target, name string) {
	s.dir(filepath.Dir(name))
	s.must(os.Symlink(target, name))
}

func (s *scene) chmod(name string, mode fs.FileMode) { s.must(os.Chmod(name, mode)) }

func (s *scene) fifo(name string) {
	s.dir(filepath.Dir(name))
	s.must(syscall.Mkfifo(name, 0o600))
}

func (s *scene) give(name string) {
	systemtest.Root(s.t)
	s.must(os.Lchown(name, nobody, nobody))
}

// release is the name of the release that is installed.
func (s *scene) release() string {
	return releasesName + "/" + releaseName(s.source.description.Digest)
}

// snapshot tells what is below a directory: kinds, modes, owners and contents.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%s %d", info.Mode(), ownerOf(info))
		switch {
		case info.Mode().IsRegular():
			raw, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += " " + string(raw)
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			text += " " + target
		}
		found[strings.TrimPrefix(name, dir)] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// hostileRoots are roots that are refused, each for the reason that it has.
var hostileRoots = map[string]struct {
	set func(s *scene)
	why string
}{
	"the root is a link": {func(s *scene) {
		s.must(os.Remove(s.root))
		s.link(s.outside, s.root)
	}, "is a symbolic link"},
	"the root is a link to nothing": {func(s *scene) {
		s.must(os.Remove(s.root))
		s.link(filepath.Join(s.outside, "new"), s.root)
	}, "is a symbolic link"},
	"the root is a file": {func(s *scene) {
		s.must(os.Remove(s.root))
		s.file(s.root, "stranger's")
	}, "is not a directory"},
	"the root is a FIFO": {func(s *scene) {
		s.must(os.Remove(s.root))
		s.fifo(s.root)
	}, "is not a directory"},
	"the root is below a file": {func(s *scene) {
		s.must(os.Remove(s.root))
		s.file(s.root, "stranger's")
		s.root = filepath.Join(s.root, "below")
	}, "below something that is not a directory"},
	"the root is below a link to nothing": {func(s *scene) {
		s.link(filepath.Join(s.outside, "new"), filepath.Join(s.outside, "lost"))
		s.root = filepath.Join(s.outside, "lost", "web")
	}, "is a link to nothing"},
	"everybody may write to the root":               {func(s *scene) { s.chmod(s.root, 0o777) }, "may be changed by others"},
	"everybody may write to the root, it is sticky": {func(s *scene) { s.chmod(s.root, 0o777|fs.ModeSticky) }, "may be changed by others"},
	"a group may write to the root":                 {func(s *scene) { s.chmod(s.root, 0o775) }, "may be changed by others"},
	"the root belongs to another user":              {func(s *scene) { s.give(s.root) }, "belongs to user 65534"},
	"releases is a link out":                        {func(s *scene) { s.link(filepath.Join(s.outside, "releases"), s.in("releases")) }, "is a symbolic link"},
	"releases is a link inside": {func(s *scene) {
		s.dir(s.in("other"))
		s.link("other", s.in("releases"))
	}, "is a symbolic link"},
	"releases is a file": {func(s *scene) { s.file(s.in("releases"), "stranger's") }, "is not a directory"},
	"everybody may write to releases": {func(s *scene) {
		s.dir(s.in("releases"))
		s.chmod(s.in("releases"), 0o777)
	}, "may be changed by others"},
	"releases belongs to another user": {func(s *scene) {
		s.dir(s.in("releases"))
		s.give(s.in("releases"))
	}, "belongs to user 65534"},
	"current is a directory":       {func(s *scene) { s.file(s.in("current/bin/python3"), "stranger's") }, "it is no symbolic link"},
	"current is a file":            {func(s *scene) { s.file(s.in("current"), "stranger's") }, "it is no symbolic link"},
	"current leads out":            {func(s *scene) { s.link("/etc", s.in("current")) }, `it leads to "/etc"`},
	"current leads up":             {func(s *scene) { s.link("releases/../../x", s.in("current")) }, "it leads to"},
	"current is another program's": {func(s *scene) { s.link("releases/20260101", s.in("current")) }, "it leads to"},
	"current belongs to another user": {func(s *scene) {
		s.link("releases/sha256-"+strings.Repeat("a", 64), s.in("current"))
		s.give(s.in("current"))
	}, "it belongs to user 65534"},
	"the lock is a link out":    {func(s *scene) { s.link(filepath.Join(s.outside, "notes.json"), s.in("releases/.lock")) }, "is not a lock"},
	"the lock is a link to new": {func(s *scene) { s.link(filepath.Join(s.outside, "new"), s.in("releases/.lock")) }, "is not a lock"},
	"the lock is a FIFO":        {func(s *scene) { s.fifo(s.in("releases/.lock")) }, "is not a lock"},
	"the lock is a directory":   {func(s *scene) { s.dir(s.in("releases/.lock")) }, "is not a lock"},
	"others may take the lock": {func(s *scene) {
		s.file(s.in("releases/.lock"), "")
		s.chmod(s.in("releases/.lock"), 0o644)
	}, "is not a lock"},
	"the lock belongs to another user": {func(s *scene) {
		s.file(s.in("releases/.lock"), "")
		s.give(s.in("releases/.lock"))
	}, "is not a lock"},
	"the release is a link out":           {func(s *scene) { s.link(s.outside, s.in(s.release())) }, "no record says that an installation made it"},
	"the release is a file":               {func(s *scene) { s.file(s.in(s.release()), "stranger's") }, "no record says that an installation made it"},
	"the release is somebody's directory": {func(s *scene) { s.file(s.in(s.release()+"/bin/python3"), "stranger's") }, "no record says that an installation made it"},
	"the record is a link out":            {func(s *scene) { s.link(filepath.Join(s.outside, "notes.json"), s.in(s.release()+".json")) }, "is not a record"},
	"the record is a directory":           {func(s *scene) { s.dir(s.in(s.release() + ".json")) }, "is not a record"},
	"the record is a FIFO":                {func(s *scene) { s.fifo(s.in(s.release() + ".json")) }, "is not a record"},
	"the record is no JSON":               {func(s *scene) { s.file(s.in(s.release()+".json"), "stranger's") }, "is not a record"},
	"the record is something else":        {func(s *scene) { s.file(s.in(s.release()+".json"), `{"name":"x"}`) }, "is not a record"},
	"the record is about another release": {func(s *scene) {
		other := "sha256:" + strings.Repeat("b", 64)
		s.file(s.in(s.release()+".json"), fmt.Sprintf(`{"ref":"web@%s","digest":%q,"platform":"linux/amd64","tree":%q,"entries":{}}`, other, other, other))
	}, "is not a record"},
	"the record is huge": {func(s *scene) {
		s.file(s.in(s.release()+".json"), "{")
		s.must(os.Truncate(s.in(s.release()+".json"), maxRecord+1))
	}, "is not a record"},
	"the record belongs to another user": {func(s *scene) {
		s.file(s.in(s.release()+".json"), "{}")
		s.give(s.in(s.release() + ".json"))
	}, "is not a record"},
}

// What an installation did not make is neither used, nor replaced, nor removed, nor
// followed.
func TestHostileRootsAreRefused(t *testing.T) {
	t.Parallel()
	for name, h := range hostileRoots {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			h.set(s)
			if name != "the record is huge" {
				defer unchanged(t, s.outside, filepath.Dir(s.root))()
			}
			_, err := install(t, s.source, s.root)
			var refused *UnsafeError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), h.why) || refused.Hint() == "" {
				t.Errorf("error is %v, want an UnsafeError that says %q and what to do", err, h.why)
			}
		})
	}
}

// unchanged compares directories with what they hold now. What the installation makes
// for itself is left out.
func unchanged(t *testing.T, dirs ...string) func() {
	t.Helper()
	before := make([]map[string]string, len(dirs))
	for i, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			before[i] = snapshot(t, dir)
		}
	}
	return func() {
		t.Helper()
		for i, dir := range dirs {
			if before[i] == nil {
				continue
			}
			after := snapshot(t, dir)
			for name := range after {
				_, was := before[i][name]
				if base := filepath.Base(name); !was && (base == releasesName || base == lockName) {
					delete(after, name)
				}
			}
			if diff := cmp.Diff(before[i], after); diff != "" {
				t.Errorf("%s changed (-before +after):\n%s", dir, diff)
			}
		}
	}
}

// strangers are files that look like what an installation leaves, and are not.
func strangers(s *scene) {
	text := "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	other := "sha256-" + strings.Repeat("c", 64)
	s.file(s.in("releases/.tmp-mine/file"), "stranger's")
	s.file(s.in("releases/.tmp-"+text+"/file"), "stranger's")
	s.file(s.in("releases/.tmp-"+text+".json"), "stranger's")
	s.file(s.in("releases/.tmp-"+text[1:]+"2"), "a file")
	s.link("ampoule install .tmp-"+text, s.in("releases/.tmp-"+text[2:]+"23/"+markName)) // another one's mark
	s.link(mark(".tmp-"+text[3:]+"234"), filepath.Join(s.outside, "staging", markName))
	s.link(filepath.Join(s.outside, "staging"), s.in("releases/.tmp-"+text[3:]+"234"))
	s.link(s.outside, s.in(".tmp-"+text))
	s.file(s.in(".tmp-x"), "stranger's")
	s.file(s.in("releases/notes.json"), "stranger's")
	s.file(s.in("releases/"+other+".json"), `{"name":"stranger's"}`)
	s.file(s.in("releases/"+strings.ToUpper(other)+".json"), "stranger's")
	s.link(filepath.Join(s.outside, "notes.json"), s.in("releases/sha256-"+strings.Repeat("d", 64)+".json"))
	s.file(s.in("releases/old/bin/python3"), "stranger's")
	s.file(s.in("etc/web.conf"), "stranger's")
}

func TestStrangersFilesStay(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	strangers(s)
	before, outside := snapshot(t, s.root), snapshot(t, s.outside)
	for _, name := range []string{"1", "2"} {
		mustInstall(t, newSource(t, name, sample(t, name)), s.root)
	}
	after := snapshot(t, s.root)
	for name, was := range before {
		if name != "" && name != "/releases" && after[name] != was {
			t.Errorf("%s was %q, is %q", name, was, after[name])
		}
	}
	if diff := cmp.Diff(outside, snapshot(t, s.outside)); diff != "" {
		t.Errorf("outside (-before +after):\n%s", diff)
	}
}

// What an installation made and left is removed: a staging directory, also an empty
// one and one that holds links, and a record whose release is gone.
func TestLeftoversAreRemoved(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	first := mustInstall(t, s.source, s.root)
	mustInstall(t, newSource(t, "2", sample(t, "two")), s.root)
	s.must(removeTree(first.Release))
	staging, empty := newStagingName(), newStagingName()
	s.link(mark(staging), s.in("releases/"+staging+"/"+markName))
	s.link(s.outside, s.in("releases/"+staging+"/tree/out"))
	s.file(s.in("releases/"+staging+"/tree/locked/file"), "")
	s.chmod(s.in("releases/"+staging+"/tree/locked"), 0o555)
	s.dir(s.in("releases/" + empty))
	defer unchanged(t, s.outside)()
	mustInstall(t, newSource(t, "3", sample(t, "three")), s.root)
	checkNothingUnfinished(t, s.root)
	if _, err := os.Lstat(first.Release + ".json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record of a release that is gone: %v", err)
	}
	if current(t, s.root) != "three" {
		t.Errorf("current is %q", current(t, s.root))
	}
}

func removeTree(dir string) error {
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	return errors.Join(removeAll(parent, filepath.Base(dir)), parent.Close())
}

// Roots whose names mean something to a shell, or that stand in odd places.
func TestOddRoots(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(s *scene){
		"brackets":     func(s *scene) { s.root = filepath.Join(s.outside, "a[b") },
		"a pattern":    func(s *scene) { s.root = filepath.Join(s.outside, "*?[!x]{a,b}\\") },
		"a line's end": func(s *scene) { s.root = filepath.Join(s.outside, "a\nb c") },
		"a dash":       func(s *scene) { s.root = filepath.Join(s.outside, "-rf") },
		"dots":         func(s *scene) { s.root = filepath.Join(s.outside, "x", "..", "y", ".") },
		"a link above": func(s *scene) {
			s.link(s.outside, filepath.Join(s.outside, "up"))
			s.root = filepath.Join(s.outside, "up", "web")
		},
		"setgid":     func(s *scene) { s.chmod(s.root, 0o755|fs.ModeSetgid) },
		"private":    func(s *scene) { s.chmod(s.root, 0o700) },
		"not there":  func(s *scene) { s.root = filepath.Join(s.outside, "a", "b", "c", "web") },
		"a long one": func(s *scene) { s.root = filepath.Join(s.outside, strings.Repeat("n", 255)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			set(s)
			for range 2 {
				mustInstall(t, s.source, s.root)
			}
			if _, err := verify(t, s.root, s.source.description.Ref); err != nil || current(t, s.root) != "one" {
				t.Errorf("current is %q (%v)", current(t, s.root), err)
			}
			checkNothingUnfinished(t, s.root)
		})
	}
}

// A release that others own is not whole: they could change it after it was verified.
func TestReleaseOfAnotherUserIsReplaced(t *testing.T) {
	t.Parallel()
	systemtest.Root(t)
	for _, name := range []string{"", "lib", "lib/flask.py", "bin/python"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			done := mustInstall(t, s.source, s.root)
			s.give(filepath.Join(done.Release, name))
			var refused *VerificationError
			if _, err := verify(t, s.root, ""); !errors.As(err, &refused) || len(refused.Files) != 1 {
				t.Errorf("verified: %v", err)
			}
			if again := mustInstall(t, s.source, s.root); !again.Repaired {
				t.Errorf("installed again: %+v, want it repaired", again)
			}
			if _, err := verify(t, s.root, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where others could put another directory in the root's place, that is told.
func TestExposedRootIsTold(t *testing.T) {
	t.Parallel()
	told := func(t *testing.T, root string) string {
		t.Helper()
		done := mustInstall(t, newSource(t, "1", sample(t, "one")), root)
		return strings.Join(done.Warnings, "\n")
	}
	open := tempDir(t)
	if got := told(t, filepath.Join(open, "web")); got != "" {
		t.Errorf("below a directory of our own: %q", got)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if got := told(t, filepath.Join(open, "web")); !strings.Contains(got, "everybody may change "+open) {
		t.Errorf("below a directory of everybody: %q", got)
	}
	if err := os.Chmod(open, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if got := told(t, filepath.Join(open, "web")); got != "" {
		t.Errorf("below a sticky directory: %q", got)
	}
	systemtest.Root(t)
	if err := os.Chown(open, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if got := told(t, filepath.Join(open, "web")); !strings.Contains(got, "belongs to user 65534") {
		t.Errorf("below another user's directory: %q", got)
	}
}

// script is a tree whose interpreter is a program that any user can run.
func script(t testing.TB) *tree.Tree {
	t.Helper()
	return sample(t, "#!/bin/sh\necho ran\n")
}

// TestUmask installs with umasks that take and give everything, and runs what is
// installed as a user who owns nothing.
func TestUmask(t *testing.T) {
	t.Parallel()
	for _, mask := range []string{"077", "000", "027", "777"} {
		t.Run(mask, func(t *testing.T) {
			t.Parallel()
			if mask == "777" {
				systemtest.Root(t) // others could not write to what they make
			}
			base := tempDir(t)
			openUp(t, base)
			root := filepath.Join(base, "opt", "web")
			cmd := exec.Command(os.Args[0], "-test.run=^TestUmaskProcess$", "-test.count=1")
			cmd.Env = append(os.Environ(), "INSTALL_UMASK="+mask, "INSTALL_ROOT="+root)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			checkModes(t, base)
			for _, ref := range []string{"", newSource(t, "1", script(t)).description.Digest} {
				if v, err := verify(t, root, ref); err != nil || len(v.Warnings) > 0 {
					t.Errorf("verified: %v, %q", err, v.Warnings)
				}
			}
			systemtest.Root(t)
			run := exec.Command(filepath.Join(root, "current", "bin", "python3"))
			run.Dir, run.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			if out, err := run.CombinedOutput(); err != nil || string(out) != "ran\n" {
				t.Errorf("as another user the program says %q (%v)", out, err)
			}
		})
	}
}

// checkModes compares the modes of everything that an installation makes.
func checkModes(t *testing.T, base string) {
	t.Helper()
	release := releasesName + "/" + releaseName(newSource(t, "1", script(t)).description.Digest)
	want := map[string]fs.FileMode{
		"opt": 0o755, "opt/web": 0o755, "opt/web/releases": 0o755, "opt/web/releases/.lock": 0o600,
		"opt/web/" + release: 0o755, "opt/web/" + release + ".json": 0o644,
		"opt/web/" + release + "/bin": 0o755, "opt/web/" + release + "/lib": 0o755, "opt/web/" + release + "/lib/locked": 0o555,
		"opt/web/" + release + "/bin/python3": 0o555, "opt/web/" + release + "/lib/flask.py": 0o444,
		"opt/web/releases/.switch": 0o600, "opt/web/content": 0o755, "opt/web/content/layers": 0o755, "opt/web/journal": 0o644,
	}
	for name, mode := range want {
		info, err := os.Lstat(filepath.Join(base, name))
		if err != nil || info.Mode()&^fs.ModeDir != mode {
			t.Errorf("%s: %v (%v), want %04o", name, info.Mode(), err, mode)
		}
	}
}

// TestUmaskProcess is the other process of TestUmask: a umask is the whole process's.
func TestUmaskProcess(t *testing.T) {
	mask := os.Getenv("INSTALL_UMASK")
	if mask == "" {
		return
	}
	var bits int
	if _, err := fmt.Sscanf(mask, "%o", &bits); err != nil {
		t.Fatal(err)
	}
	syscall.Umask(bits)
	s := newSource(t, "1", script(t))
	mustInstall(t, s, os.Getenv("INSTALL_ROOT"))
	if again := mustInstall(t, s, os.Getenv("INSTALL_ROOT")); !again.Present {
		t.Errorf("installed again: %+v", again)
	}
}

// A release whose directory others cannot enter is not whole, though its tree is.
func TestClosedReleaseIsReplaced(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	done := mustInstall(t, s.source, s.root)
	s.chmod(done.Release, 0o700)
	if again := mustInstall(t, s.source, s.root); !again.Repaired {
		t.Errorf("installed again: %+v, want it repaired", again)
	}
	if info, err := os.Stat(done.Release); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v (%v)", info.Mode(), err)
	}
}

// A release without a record that holds exactly what it must is taken over.
func TestWholeReleaseWithoutRecord(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.source = newSource(t, "1", sample(t, "one").Select(func(e tree.Entry) bool { return e.Mode != 0o444 }))
	done := mustInstall(t, s.source, s.root)
	s.must(os.Remove(done.Release + ".json"))
	var refused *VerificationError
	if _, err := verify(t, s.root, ""); !errors.As(err, &refused) {
		t.Errorf("verified: %v", err)
	}
	if again := mustInstall(t, s.source, s.root); !again.Present {
		t.Errorf("installed again: %+v", again)
	}
	if _, err := verify(t, s.root, ""); err != nil {
		t.Error(err)
	}
}

func FuzzParseRecord(f *testing.F) {
	s := newSource(f, "1", sample(f, "one"))
	release := releaseName(s.description.Digest)
	want, _, err := plan(s.description, platform)
	if err != nil {
		f.Fatal(err)
	}
	want = want.with(sample(f, "one"))
	raw, err := want.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	want.Version = readOnlyVersion
	f.Add(encode(f, want))
	f.Add([]byte(`{"ref":"web@` + s.description.Digest + `","digest":"` + s.description.Digest + `","tree":"` + want.Tree + `","entries":{"a":"dir"}}`))
	f.Add([]byte(`{"version":5}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parseRecord(raw, release)
		if err != nil {
			return
		}
		if head, _, _ := bytes.Cut(raw, []byte("\n")); !json.Valid(head) || r.release() != release || !artifact.IsDigest(r.Tree) {
			t.Errorf("accepted %q as %+v", raw, r)
		}
		_, _ = r.follow(r.Digest, platform, &checks{})
		r.differences(sample(t, "one"))
	})
}
