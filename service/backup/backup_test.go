package backup_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/service/backup"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/system/systemtest"
)

// destination is the variable by which the test program writes backups there until it is killed.
const destination = "AMPOULE_TEST_BACKUP_TO"

func TestMain(m *testing.M) {
	if dest := os.Getenv(destination); dest != "" {
		fmt.Println("begins")
		_, err := backup.Make(context.Background(), backup.Place{Data: filepath.Join(filepath.Dir(dest), "data")}, dest)
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// service is a data directory that a process has open.
type service struct {
	t    testing.TB
	data string
	db   *database.DB
}

// serve makes a data directory with something of everything.
func serve(t testing.TB, data string) *service {
	t.Helper()
	s := &service{t, data, databasetest.Open(t, database.Options{Dir: data})}
	s.write("pages-key", "a secret")
	s.write("tmp/archive-1", "unfinished")
	s.write("logs/b1/output.log", "one\ntwo\nhal")
	s.write("store/format", "2\n")
	s.write("store/id", "[]")
	s.write("store/content/aa", "an input")
	s.write("store/kept/registry-token/t1", "a token")
	s.write("store/kept/inputs/k1", "names content")
	s.write("store/kept/channel/c1", "how far it was seen")
	s.write("store/registry/lock", "an address")
	s.write("store/registry/repositories/web/_uploads/u", "unfinished")
	s.publish(0)
	return s
}

func (s *service) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.data, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func contentOf(n int) (text, sum string) {
	text = fmt.Sprintf("artifact %d", n)
	hash := sha256.Sum256([]byte(text))
	return text, hex.EncodeToString(hash[:])
}

// publish has the registry get an artifact, and then the database a key that names it, as a
// worker does.
func (s *service) publish(n int) {
	s.t.Helper()
	text, sum := contentOf(n)
	s.write("store/registry/repositories/web/blobs/sha256/"+sum, text)
	s.write("store/registry/repositories/web/index.json", sum)
	err := s.db.Write(context.WithoutCancel(s.t.Context()), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO publications (build_key, recipe, digest, build, trusted, tagged, at) VALUES ($1, 'web', $2, 'b1', TRUE, TRUE, {now})",
			fmt.Sprintf("key %d", n), "sha256:"+sum)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) backup(dest string) (backup.Summary, error) {
	return backup.Make(s.t.Context(), backup.Place{Data: s.data, Version: "v1"}, dest)
}

// filesOf lists what is in a directory, with modes that are not as they should be.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %s", path, mode)
		}
		if d.IsDir() {
			return nil
		}
		name, _ := filepath.Rel(dir, path)
		text, err := os.ReadFile(path)
		if strings.HasPrefix(name, database.File) {
			text = nil
		}
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What is put back is all that was there and nobody makes again, and no more; nobody else may read
// it.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, filepath.Join(dir, "data"))
	dest, back := filepath.Join(dir, "backup"), filepath.Join(dir, "back")
	made, err := s.backup(dest)
	if err != nil {
		t.Fatal(err)
	}
	if made.Keys != 1 || made.Builds != 0 || made.Gone != 0 || !made.Registry || made.Version != "v1" || made.Dir != dest {
		t.Errorf("%+v", made)
	}
	restored, err := backup.Restore(t.Context(), dest, back)
	if err != nil || restored.Keys != 1 || restored.Dir != back || !restored.Created.Equal(made.Created) {
		t.Errorf("%+v, %v", restored, err)
	}
	text, sum := contentOf(0)
	want := map[string]string{
		database.File: "", "pages-key": "a secret", "logs/b1/output.log": "one\ntwo\n", "store/format": "2\n",
		"store/kept/registry-token/t1": "a token", "store/kept/channel/c1": "how far it was seen",
		"store/registry/repositories/web/index.json": sum, "store/registry/repositories/web/blobs/sha256/" + sum: text,
	}
	got := filesOf(t, back)
	delete(got, database.LockFile)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	filesOf(t, dest)
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", "cd "+dest+" && sha256sum --check --strict --quiet SHA256SUMS").CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %s", out)
	}
	if _, err := s.backup(dest); faults.Of(err) != faults.Usage {
		t.Errorf("a second one of that name: %v", err)
	}
	for _, wrong := range []string{filepath.Join(s.data, "backup"), filepath.Join(s.data, "store/x"), filepath.Join(dir, "none/backup")} {
		if _, err := s.backup(wrong); faults.Of(err) != faults.Usage || len(faults.Hints(err)) != 1 {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	databasetest.Open(t, database.Options{Dir: back})
}

// While it is written to, what is copied has each digest that it names.
func TestWritesDuringBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, filepath.Join(dir, "data"))
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
				s.publish(n)
			}
		}
	})
	most := 0
	for n := range 5 {
		dest := filepath.Join(dir, fmt.Sprintf("backup-%d", n))
		made, err := s.backup(dest)
		if err != nil {
			t.Fatal(err)
		}
		if made.Gone != 0 || made.Keys < most {
			t.Errorf("%+v", made)
		}
		most = made.Keys
		blobs, err := filepath.Glob(filepath.Join(dest, "data/store/registry/repositories/web/blobs/sha256/*"))
		if len(blobs) < made.Keys || err != nil {
			t.Errorf("%d artifacts for %d keys, %v", len(blobs), made.Keys, err)
		}
	}
	close(stop)
	writing.Wait()
	if most < 2 {
		t.Errorf("nothing was written meanwhile: %d keys", most)
	}
}

// A digest that was collected is told; if none is there, the registry is another one.
func TestGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, filepath.Join(dir, "data"))
	_, sum := contentOf(0)
	if err := os.Remove(filepath.Join(s.data, "store/registry/repositories/web/blobs/sha256", sum)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.backup(filepath.Join(dir, "none")); faults.Of(err) != faults.NotFound || !strings.Contains(strings.Join(faults.Hints(err), " "), "--store") {
		t.Errorf("without the registry: %v", err)
	}
	s.publish(1)
	damagedText, damaged := contentOf(1)
	s.write("store/registry/repositories/web/blobs/sha256/"+damaged, damagedText+"!")
	made, err := s.backup(filepath.Join(dir, "some"))
	if err != nil || made.Gone != 1 || made.Keys != 2 || len(made.Damaged) != 1 {
		t.Errorf("%+v, %v", made, err)
	}
	// A registry elsewhere is not looked for, and another store's is taken with its records.
	made, err = backup.Make(t.Context(), backup.Place{Data: s.data, Elsewhere: true}, filepath.Join(dir, "elsewhere"))
	if err != nil || made.Registry || made.Gone != 0 {
		t.Errorf("%+v, %v", made, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "elsewhere/data/store/registry")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its registry: %v", err)
	}
}

// The registry and its records may be in a store of their own; tokens never are.
func TestOtherStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, filepath.Join(dir, "data"))
	other := serve(t, filepath.Join(dir, "other"))
	other.publish(7)
	other.write("store/kept/registry-token/t2", "not the service's")
	other.write("store/kept/channel/c2", "seen there")
	dest := filepath.Join(dir, "backup")
	if _, err := backup.Make(t.Context(), backup.Place{Data: s.data, Store: filepath.Join(other.data, "store")}, dest); err != nil {
		t.Fatal(err)
	}
	got := filesOf(t, filepath.Join(dest, "data/store"))
	_, sum := contentOf(7)
	for name, want := range map[string]bool{
		"kept/registry-token/t1": true, "kept/registry-token/t2": false, "kept/channel/c2": true,
		"registry/repositories/web/blobs/sha256/" + sum: true,
	} {
		if _, found := got[name]; found != want {
			t.Errorf("%s: %t", name, found)
		}
	}
}

// A backup that was cut off or changed anywhere is refused, and nothing of it is put back.
func TestDamagedBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, filepath.Join(dir, "data"))
	whole := filepath.Join(dir, "backup")
	if _, err := s.backup(whole); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range filesOf(t, whole) {
		names = append(names, name)
	}
	n := 0
	for _, name := range names {
		for what, do := range map[string]func(path string) error{
			"cut":     func(path string) error { return os.Truncate(path, 1) },
			"changed": func(path string) error { return os.WriteFile(path, []byte("other bytes"), 0o600) },
			"gone":    os.Remove,
		} {
			n++
			damaged, back := filepath.Join(dir, fmt.Sprintf("damaged-%d", n)), filepath.Join(dir, fmt.Sprintf("back-%d", n))
			if err := errors.Join(os.CopyFS(damaged, os.DirFS(whole)), do(filepath.Join(damaged, name))); err != nil {
				t.Fatal(err)
			}
			_, err := backup.Restore(t.Context(), damaged, back)
			var wrong *backup.DamagedError
			isNone := name == backup.Description && what == "gone" && faults.Of(err) == faults.NotFound
			if !isNone && (!errors.As(err, &wrong) || faults.Of(err) != faults.Refused) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			if _, err := os.Lstat(back); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, %s: something was put back: %v", name, what, err)
			}
		}
	}
}

// A backup goes into an empty directory that no service has open, and one that was not put back to the
// end is opened by none.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, filepath.Join(dir, "data"))
	dest := filepath.Join(dir, "backup")
	if _, err := s.backup(dest); err != nil {
		t.Fatal(err)
	}
	var locked *database.LockedError
	if _, err := backup.Restore(t.Context(), dest, s.data); !errors.As(err, &locked) {
		t.Errorf("over a service that runs: %v", err)
	}
	other := filepath.Join(dir, "other")
	if err := errors.Join(os.Mkdir(other, 0o700), os.WriteFile(filepath.Join(other, "x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Restore(t.Context(), dest, other); faults.Of(err) != faults.Usage || !strings.Contains(err.Error(), "it has x") {
		t.Errorf("over something else: %v", err)
	}
	half := filepath.Join(dir, "half")
	if err := os.MkdirAll(filepath.Join(half, database.RestoringDir), 0o700); err != nil {
		t.Fatal(err)
	}
	var unfinished *database.UnfinishedError
	if _, err := backup.Restore(t.Context(), dest, half); !errors.As(err, &unfinished) {
		t.Errorf("over half a backup: %v", err)
	}
	if _, err := database.Open(t.Context(), database.Options{Dir: half}); !errors.As(err, &unfinished) || len(faults.Hints(err)) == 0 {
		t.Errorf("a service of half a backup: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	empty := filepath.Join(dir, "empty")
	if _, err := backup.Restore(ended, dest, empty); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := backup.Make(t.Context(), backup.Place{Data: empty}, filepath.Join(dir, "none")); faults.Of(err) != faults.NotFound || !strings.Contains(strings.Join(faults.Hints(err), " "), "pg_dump") {
		t.Errorf("of no service: %v", err)
	}
}

// A process that is killed leaves nothing under the backup's name, and the next one is whole.
func TestKilledBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, filepath.Join(dir, "data"))
	for n := range 200 {
		s.write(fmt.Sprintf("store/registry/repositories/web/blobs/sha256/%064d", n), strings.Repeat("x", 100_000))
	}
	dest := filepath.Join(dir, "backup")
	victim := exec.CommandContext(t.Context(), os.Args[0])
	victim.Env = append(os.Environ(), destination+"="+dest)
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	said.Scan()
	// It is in the middle when it has begun with the registry.
	for range 10_000 {
		if found, _ := filepath.Glob(filepath.Join(dir, ".backup.partial/data/store/registry/repositories/web/blobs/sha256/*")); len(found) > 3 {
			break
		}
	}
	if _, err := s.backup(dest); faults.Of(err) != faults.Machine || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second process: %v", err)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := victim.Wait(); err == nil || said.Scan() {
		t.Errorf("it ended before it was killed: %v, %s", err, said.Text())
	}
	if _, err := os.Lstat(dest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
	if _, err := s.backup(dest); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A full disk is told as that, and leaves nothing.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, filepath.Join(dir, "data"))
	s.write("logs/b1/progress.log", strings.Repeat("{}\n", 700_000))
	whole := filepath.Join(dir, "backup")
	if _, err := s.backup(whole); err != nil {
		t.Fatal(err)
	}
	for _, size := range []string{"64k", "2m"} {
		small := systemtest.Disk(t, size)
		if _, err := s.backup(filepath.Join(small, "backup")); !errors.Is(err, syscall.ENOSPC) || faults.Of(err) != faults.Machine {
			t.Errorf("%s: a backup: %v", size, err)
		}
		if _, err := backup.Restore(t.Context(), whole, filepath.Join(small, "data")); !errors.Is(err, syscall.ENOSPC) || faults.Of(err) != faults.Machine {
			t.Errorf("%s: putting it back: %v", size, err)
		}
		left := filesOf(t, small)
		delete(left, "data/"+database.LockFile)
		if len(left) != 0 {
			t.Errorf("%s: left: %v", size, left)
		}
	}
}
