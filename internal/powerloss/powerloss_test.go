package powerloss

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// childVariable makes the test binary the program that is recorded.
const childVariable = "POWERLOSS_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := child(dir); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child replaces a file without a sync, then one with all syncs, and adds a name and a directory.
func child(dir string) error {
	replace := func(name string, sync bool) error {
		f, err := os.CreateTemp(dir, "new-*")
		if err != nil {
			return err
		}
		_, err = f.WriteString("new " + name)
		if sync {
			err = errors.Join(err, f.Sync())
		}
		return errors.Join(err, f.Close(), os.Rename(f.Name(), filepath.Join(dir, name)))
	}
	if err := errors.Join(replace("safe", true), syncDir(dir), replace("unsafe", false)); err != nil {
		return err
	}
	return errors.Join(os.Link(filepath.Join(dir, "safe"), filepath.Join(dir, "second")), os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755), os.Remove(filepath.Join(dir, "old")))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// filesIn reads all files of a directory; a directory has the content "/".
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		found[name] = "/"
		if !d.IsDir() {
			data, err := os.ReadFile(path)
			found[name] = string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// record has the child run in a directory with files.
func record(t *testing.T) *Recording {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"safe", "unsafe", "old"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("before"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	r, err := Record(t.Context(), dir, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCrash(t *testing.T) {
	t.Parallel()
	r := record(t)
	crash := func(moment int, loss Loss, seed uint64) map[string]string {
		dir := filepath.Join(t.TempDir(), "disk")
		if err := r.Crash(moment, loss, seed, dir); err != nil {
			t.Fatal(err)
		}
		return filesIn(t, dir)
	}
	before := map[string]string{"safe": "before", "unsafe": "before", "old": "before"}
	end := r.Len() - 1
	for name, c := range map[string]struct {
		moment int
		loss   Loss
		want   map[string]string
	}{
		"at first": {0, Some, before},
		// What was synced with its name is there, and the rest is not.
		"everything": {end, Everything, map[string]string{"safe": "new safe", "unsafe": "before", "old": "before"}},
		// A name that came before its content: what a careless program meets.
		"content": {end, Content, map[string]string{"safe": "new safe", "second": "new safe", "unsafe": "", "a": "/", "a/b": "/"}},
	} {
		if diff := cmp.Diff(c.want, crash(c.moment, c.loss, 1)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	seen := map[string]bool{}
	for seed := range uint64(60) {
		disk := crash(end, Some, seed)
		if disk["safe"] != "new safe" {
			t.Errorf("with seed %d what was synced is %q", seed, disk["safe"])
		}
		if _, ok := disk["old"]; !ok && disk["a"] != "/" {
			t.Errorf("with seed %d a later change of a directory is there without an earlier one: %v", seed, disk)
		}
		seen[disk["unsafe"]] = true
	}
	for _, want := range []string{"before", "", "new unsafe", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if !seen[want] {
			t.Errorf("never is it %q: %v", want, seen)
		}
	}
}

// A call that is not recorded is noticed, and so is a program that fails.
func TestRecordingIsCompared(t *testing.T) {
	t.Parallel()
	r := record(t)
	dir := t.TempDir()
	if err := r.Crash(r.Len()-1, Content, 1, filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	if err := r.compare(filepath.Join(dir, "other")); !errors.Is(err, errDiffers) {
		t.Errorf("another directory: %v", err)
	}
	if _, err := Record(t.Context(), dir, exec.CommandContext(t.Context(), "false")); err == nil {
		t.Error("a program that fails is recorded")
	}
	for name, text := range map[string]string{
		"a file without a name": `1 openat(AT_FDCWD<\x2f>, "\x2f\x64", O_RDWR|O_TMPFILE, 0600) = 3<\x2f\x64\x2f\x78>`,
		"an unknown call":       `1 openat(AT_FDCWD<\x2f>, "\x2f\x64\x2f\x78", O_RDWR|O_CREAT, 0600) = 3<\x2f\x64\x2f\x78>` + "\n" + `1 fallocate(3<\x2f\x64\x2f\x78>, 0, 0, 5) = 0`,
		"a file from elsewhere": `1 rename("\x2f\x78", "\x2f\x64\x2f\x78") = 0`,
	} {
		if _, err := parse("/d", &inode{dir: true}, []byte(text)); err == nil {
			t.Errorf("%s is not noticed", name)
		}
	}
}
