package install

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ampoule/internal/basetime"
	"ampoule/internal/powerloss"
	"ampoule/registry"
	"ampoule/tree"
)

// How often a process is killed and the power goes in each deed, and where that is recorded (make
// powerloss, make kills).
var (
	kills  = flag.Int("kills", 10, "how often a process is killed in each deed")
	losses = flag.Int("losses", 10, "how often the power goes in each deed")
	result = flag.String("record", "", "the file of results: deeds that are in it are left out")
)

// machine is a root with two releases, the second of which is active, and a third one that is not
// installed. They share most files.
type machine struct {
	t             testing.TB
	dir, root     string
	one, two, new *source
}

func newMachine(t testing.TB, dir string) *machine {
	t.Helper()
	all := releases(t, "one", "two", "three")
	return &machine{t: t, dir: dir, root: filepath.Join(dir, "web"), one: all[0], two: all[1], new: all[2]}
}

func (m *machine) fill() {
	m.t.Helper()
	for _, s := range []*source{m.one, m.two} {
		mustAdd(m.t, s, m.root)
		mustActivate(m.t, s, m.root)
	}
}

// deed is one thing that is done below a root.
type deed struct {
	do func(ctx context.Context, m *machine) error
	// end is the release that is active then; gone one that is not there then.
	end, gone func(m *machine) *source
}

func theOne(m *machine) *source { return m.one }
func theTwo(m *machine) *source { return m.two }
func theNew(m *machine) *source { return m.new }

// deeds are what changes a root.
var deeds = map[string]deed{
	"installing": {do: func(ctx context.Context, m *machine) error {
		_, err := Install(ctx, m.new, "web", Options{Root: m.root, Platform: platform, Before: keepNote})
		return err
	}, end: theNew},
	"activating": {do: func(ctx context.Context, m *machine) error {
		_, err := Activate(ctx, m.root, m.one.digest(), SwitchOptions{Care: Whole})
		return err
	}, end: theOne},
	"going back": {do: func(ctx context.Context, m *machine) error {
		_, err := Rollback(ctx, m.root, m.one.digest(), SwitchOptions{Care: Skim, After: func(ctx context.Context, c Candidate) { _ = keepNote(ctx, c) }})
		return err
	}, end: theOne},
	"collecting": {do: func(ctx context.Context, m *machine) error {
		_, err := Collect(ctx, m.root, CollectOptions{Keep: 1})
		return err
	}, end: theTwo, gone: theOne},
	"uninstalling": {do: func(ctx context.Context, m *machine) error {
		_, err := Uninstall(ctx, m.root, UninstallOptions{Digests: []string{m.one.digest()}})
		if errors.As(err, new(*registry.NotFoundError)) {
			return nil // it is done again
		}
		return err
	}, end: theTwo, gone: theOne},
}

// keepNote keeps a note about a release, which names it.
func keepNote(_ context.Context, c Candidate) error { return c.WriteNote([]byte(c.record.Digest)) }

// process is another process that does a deed.
func (m *machine) process(name string) *exec.Cmd {
	cmd := exec.CommandContext(m.t.Context(), os.Args[0], "-test.run=^TestHostDeed$", "-test.count=1")
	cmd.Env = append(os.Environ(), "HOST_DIR="+m.dir, "HOST_DEED="+name, "TMPDIR="+m.t.TempDir(),
		basetime.Variable+"="+strconv.FormatInt(basetime.Of(m.t).Unix(), 10))
	return cmd
}

// TestHostDeed does a deed in a process of its own.
func TestHostDeed(t *testing.T) {
	dir := os.Getenv("HOST_DIR")
	if dir == "" {
		return
	}
	m := newMachine(t, dir)
	_, _ = os.Stdout.WriteString("\n" + deedBegins)
	if err := deeds[os.Getenv("HOST_DEED")].do(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// deedBegins is what another process says before its deed.
const deedBegins = "begins\n"

// check looks at a root where a deed ended early: each release that can be seen is whole, and one
// of the two states is there. Done says that the deed came to its end.
func (m *machine) check(name string, done bool) error {
	d := deeds[name]
	found, err := List(m.t.Context(), m.root)
	if err != nil {
		return err
	}
	active := ""
	for _, r := range found.Releases {
		s := m.named(r.Digest)
		if s == nil || r.Broken != "" {
			return fmt.Errorf("release %+v", r)
		}
		if err := holds(r.Path, s.whole); err != nil {
			return err
		}
		if err := m.noted(r); err != nil {
			return err
		}
		if r.Active {
			active = r.Digest
		}
	}
	want := []string{d.end(m).digest()}
	if !done {
		want = append(want, m.two.digest())
	}
	if !slices.Contains(want, active) {
		return fmt.Errorf("%s is active", active)
	}
	there := func(s *source) bool {
		return slices.ContainsFunc(found.Releases, func(r Release) bool { return r.Digest == s.digest() })
	}
	if !there(m.two) || d.gone == nil && !there(m.one) || done && (d.gone != nil && there(d.gone(m)) || !there(d.end(m))) {
		return fmt.Errorf("releases %+v", found.Releases)
	}
	_, err = History(m.root)
	return err
}

// noted looks at the note about a release: it is whole, or it is none.
func (m *machine) noted(r Release) error {
	s, err := lookAt(m.root)
	if err != nil {
		return err
	}
	note := string(s.noted(filepath.Base(r.Path)))
	if note != "" && note != r.Digest {
		err = fmt.Errorf("the note of %s is %q", r.Digest, note)
	}
	return errors.Join(err, s.closeDirs())
}

func (m *machine) named(digest string) *source {
	for _, s := range []*source{m.one, m.two, m.new} {
		if s.digest() == digest {
			return s
		}
	}
	return nil
}

// endsWell looks at a root where a deed ended early, does it again, and then installs something:
// what is left of the root is as good as new.
func (m *machine) endsWell(name string, done bool) error {
	if err := m.check(name, done); err != nil {
		return err
	}
	if err := deeds[name].do(m.t.Context(), m); err != nil {
		return fmt.Errorf("%s again: %w", name, err)
	}
	if err := m.check(name, true); err != nil {
		return fmt.Errorf("after %s again: %w", name, err)
	}
	for _, s := range []*source{m.new, m.one} {
		if _, err := Install(m.t.Context(), s, "web", Options{Root: m.root, Platform: platform}); err != nil {
			return fmt.Errorf("installing then: %w", err)
		}
		if _, err := Verify(m.t.Context(), m.root, VerifyOptions{Ref: s.digest(), Platform: platform}); err != nil {
			return err
		}
	}
	left, err := filepath.Glob(filepath.Join(m.root, releasesName, ".tmp-*"))
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("left %v", left)
	}
	return err
}

// Processes are killed at any moment of each deed. The old state or the new one is there, whole,
// and the deed can be done again.
func TestHostKilled(t *testing.T) {
	t.Parallel()
	book, err := powerloss.OpenBook(*result)
	if err != nil {
		t.Fatal(err)
	}
	full := filled(t)
	for _, name := range slices.Sorted(maps.Keys(deeds)) {
		if book.Has("host: "+name, *kills) {
			t.Logf("%s: it is recorded", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			took := copyOf(t, full).runDeed(name, time.Minute)
			r := powerloss.Result{Name: "host: " + name, Kills: *kills}
			for range *kills {
				m := copyOf(t, full)
				after := rand.N(took) //nolint:gosec // any moment will do
				m.runDeed(name, after)
				if err := m.endsWell(name, false); err != nil {
					t.Errorf("killed after %s of %s: %v", after, took, err)
					r.Failed++
				}
				_ = removeTree(m.root)
			}
			if err := book.Put(r); err != nil {
				t.Error(err)
			}
		})
	}
}

func filled(t testing.TB) *machine {
	t.Helper()
	m := newMachine(t, tempDir(t))
	m.fill()
	return m
}

// copyOf is a machine like another one, with files that are one staying one.
func copyOf(t testing.TB, full *machine) *machine {
	t.Helper()
	m := newMachine(t, tempDir(t))
	if out, err := exec.Command("cp", "--archive", full.root, m.root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return m
}

// runDeed has another process do a deed, and kills it after a time. It returns how long that took.
func (m *machine) runDeed(name string, after time.Duration) time.Duration {
	m.t.Helper()
	cmd := m.process(name)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	lines := bufio.NewReader(out)
	for line := ""; err == nil && line != deedBegins; {
		line, err = lines.ReadString('\n')
	}
	if err != nil {
		m.t.Fatal(err)
	}
	begun := time.Now()
	killer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	for err == nil {
		_, err = lines.ReadString('\n')
	}
	took := time.Since(begun)
	undisturbed := killer.Stop()
	if err := cmd.Wait(); undisturbed && err != nil {
		m.t.Fatal(err)
	}
	return took
}

// The power goes at moments of each deed. The old state or the new one is there, whole, and the
// deed can be done again.
func TestHostPowerLoss(t *testing.T) {
	t.Parallel()
	book, err := powerloss.OpenBook(*result)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(deeds)) {
		if book.Has("host: "+name, *losses) {
			t.Logf("%s: it is recorded", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := filled(t)
			recording, err := powerloss.Record(t.Context(), m.dir, m.process(name))
			if err != nil {
				t.Fatal(err)
			}
			end := recording.Len() - 1
			r := powerloss.Result{Name: "host: " + name, Calls: end, Losses: *losses}
			for i := range *losses {
				moment, loss := end*(i+1) / *losses, powerloss.Losses[i%len(powerloss.Losses)]
				if err := lose(t, recording, name, moment, loss, uint64(i)); err != nil {
					t.Errorf("behind call %d of %d, %s is lost: %v", moment, end, loss, err)
					r.Failed++
				}
			}
			if err := book.Put(r); err != nil {
				t.Error(err)
			}
		})
	}
}

// lose has the power go at a moment, looks at the disk, and does the deed again.
func lose(t *testing.T, recording *powerloss.Recording, name string, moment int, loss powerloss.Loss, seed uint64) error {
	t.Helper()
	m := newMachine(t, tempDir(t))
	defer func() { _ = removeTree(m.root) }() // a thousand of them would be many at the end
	if err := recording.Crash(moment, loss, seed, m.dir); err != nil {
		return err
	}
	if err := m.attributes(); err != nil {
		return err
	}
	return m.endsWell(name, moment == recording.Len()-1)
}

// attributes gives what a recording has made the modes and times that it knows nothing of. They
// are on disk with a file's content, or nothing of it is.
func (m *machine) attributes() error {
	return filepath.WalkDir(m.root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() && !d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(m.root, file)
		if err != nil {
			return err
		}
		parts := strings.SplitN(rel, string(filepath.Separator), 3)
		mode, isContent := keyMode(d.Name())
		switch {
		case parts[0] == contentName && isContent:
			return errors.Join(os.Chmod(file, mode), os.Chtimes(file, tree.Time, tree.Time))
		case len(parts) == 3 && parts[0] == releasesName && releaseForm.MatchString(parts[1]):
			s := m.named(digestOfRelease(parts[1]))
			e, ok := s.whole.Lookup(parts[2])
			if !ok {
				return nil
			}
			if e.Kind == tree.Dir {
				return os.Chmod(file, e.Mode)
			}
			return errors.Join(os.Chmod(file, onDisk(e.Mode)), os.Chtimes(file, tree.Time, tree.Time))
		}
		return nil
	})
}
