package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"ampoule/artifact"
)

// TestTornList loses power while a list is replaced: the one before it counts, with tags that
// are no key's.
func TestTornList(t *testing.T) {
	t.Parallel()
	for name, tear := range map[string]func(list string) error{
		"empty": func(list string) error { return os.WriteFile(list, nil, 0o644) },
		"torn":  func(list string) error { return os.WriteFile(list, []byte(`{"schemaVersion":2,"manif`), 0o644) },
		"gone":  os.Remove,
	} {
		s := newShelf(t)
		m := s.publish("a", noise(100))
		tagged := s.manifest(manifest{MediaType: artifact.ManifestType, Config: &m.config, Layers: []descriptor{m.layer}, Annotations: map[string]string{"x": "1"}}, "prod")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(s.dir, rootName, "web")
		list := filepath.Join(dir, indexName)
		if _, err := os.Stat(filepath.Join(dir, previousName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a list that is on disk has a second name: %v", err)
		}
		raw, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(filepath.Join(dir, previousName), raw, 0o644), tear(list)); err != nil {
			t.Fatal(err)
		}
		s = &shelf{Open(s.dir), t, s.dir}
		t.Cleanup(func() { _ = s.Close() })
		s.blob("application/json", noise(10)) // what is sent next mends the list
		all, err := s.Artifacts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tags := map[string]string{}
		for _, a := range all {
			for _, tag := range a.Tags {
				tags[tag] = a.Digest
			}
		}
		if tags["prod"] != tagged.Digest || tags[m.tag] != m.index.Digest {
			t.Errorf("%s: tags are %v", name, tags)
		}
		s.check(false, nil, nil)
	}
}

// copyOf copies a registry's directory as it is.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "registry")
	// Files that are replaced meanwhile are told, and are no fault.
	_ = exec.CommandContext(t.Context(), "cp", "-a", dir, to).Run()
	return to
}

// TestCopiesAreWhole copies the directory again and again while artifacts are published, and
// verifies each copy.
func TestCopiesAreWhole(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	first := s.publish("0", noise(1000))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if i > 0 && i < 16 {
				s.publish(fmt.Sprintf("%x", i), noise(1000))
			}
			payload := s.blob("application/json", fmt.Append(nil, i))
			s.manifest(manifest{MediaType: artifact.ManifestType, Config: &payload, Layers: []descriptor{payload}}, fmt.Sprint("t", i))
		}
	})
	for range 6 {
		verifyCopy(t, copyOf(t, s.dir), first)
	}
	cancel()
	all.Wait()
}

// verifyCopy verifies a copy, which has an artifact, and returns what was found.
func verifyCopy(t *testing.T, dir string, has made) Report {
	t.Helper()
	r := Open(dir)
	defer r.Close()
	report, err := r.Verify(t.Context(), false)
	if err != nil || len(report.Faults) > 0 {
		t.Errorf("the copy has faults: %v, %v", report.Faults, err)
	}
	all, err := r.Artifacts(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, a := range all {
		if !a.Whole {
			t.Errorf("%s is not whole in the copy", a.Digest)
		}
		if a.Digest == has.index.Digest {
			return report
		}
	}
	t.Error("the copy lacks what was there before")
	return report
}

// TestListIsCopiedLast copies content first, and the lists when more was published.
func TestListIsCopiedLast(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	first := s.publish("1", noise(1000))
	to := copyOf(t, s.dir)
	second := s.publish("2", noise(1000))
	// One more referrer of what is in the copy, and of what is not.
	payload := s.blob("application/json", []byte("late"))
	for _, subject := range []descriptor{first.index, second.index} {
		s.manifest(manifest{MediaType: artifact.ManifestType, ArtifactType: "test/late", Config: &payload, Layers: []descriptor{payload}, Subject: &subject}, "")
	}
	list, err := os.ReadFile(filepath.Join(s.dir, rootName, "web", indexName))
	if err == nil {
		err = os.WriteFile(filepath.Join(to, rootName, "web", indexName), list, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	report := verifyCopy(t, to, first)
	if len(report.LeftOut) != 1 || report.LeftOut[0] != "web:"+second.tag {
		t.Errorf("left out: %v", report.LeftOut)
	}
	c := &shelf{Open(to), t, to}
	defer c.Close()
	g := func() *guard { answers(t, c.Registry); return c.current.(*holder).guard }()
	repo, _ := g.repository("web")
	if d, ok := repo.referrers(first.index.Digest); !ok || repo.check(d) != nil {
		t.Error("what refers to the first artifact is not listed any more")
	}
	if report, err := c.Verify(t.Context(), true); err != nil || len(report.LeftOut) != 1 {
		t.Errorf("repairing: %v, %v", report.LeftOut, err)
	}
	if report, err := c.Verify(t.Context(), false); err != nil || len(report.LeftOut) != 0 {
		t.Errorf("after repairing: %v, %v", report.LeftOut, err)
	}
	// The original is where it was, and complete.
	s.check(false, nil, nil)
	// Moving is no copy.
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	moved := to + ".moved"
	if err := os.Rename(to, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(moved, rootName, "web", blobsName, hashName, first.layer.Digest[len("sha256:"):])); err != nil {
		t.Fatal(err)
	}
	m := Open(moved)
	defer m.Close()
	if report, err := m.Verify(t.Context(), false); err != nil || len(report.Faults) == 0 || len(report.LeftOut) != 0 {
		t.Errorf("what is lost where it was is left out: %+v, %v", report, err)
	}
}

// TestCopiesWithHardLinks copies the directory with hard links while it is served and while it is
// not: who uses the copy does not get to the one that it was copied from.
func TestCopiesWithHardLinks(t *testing.T) {
	t.Parallel()
	for name, served := range map[string]bool{"served": true, "not served": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			s.publish("a", noise(100))
			if !served {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			to := filepath.Join(t.TempDir(), "registry")
			if out, err := exec.CommandContext(t.Context(), "cp", "-al", s.dir, to).CombinedOutput(); err != nil {
				t.Fatalf("copying with hard links: %s", out)
			}
			other := &shelf{Open(to), t, to}
			t.Cleanup(func() { _ = other.Close() })
			other.publish("b", noise(100))
			if !served {
				s = &shelf{Open(s.dir), t, s.dir}
				t.Cleanup(func() { _ = s.Close() })
			}
			s.publish("c", noise(100))
			if _, ok := other.current.(*holder); !ok {
				t.Errorf("the copy's registry is %T, not its own", other.current)
			}
			for of, want := range map[*shelf]int{s: 2, other: 2} {
				all, err := of.Artifacts(t.Context())
				if err != nil || len(all) != want {
					t.Errorf("%s has %d artifacts, %v; want %d", of.dir, len(all), err, want)
				}
				of.check(false, nil, nil)
			}
			third := Open(to)
			defer third.Close()
			answers(t, third)
			if _, ok := third.current.(*peer); !ok {
				t.Errorf("beside the copy's holder this is %T, not a peer", third.current)
			}
		})
	}
}
