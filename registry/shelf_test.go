package registry_test

import (
	"context"
	"crypto/sha256"
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
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/ocidir"
)

// Names below the directory that loses its power.
const (
	registryDir = "registry"
	layoutDir   = "layout"
)

// shelf is a registry on a disk with an artifact in it, and with a second one beside it that
// is going to be published, from another disk.
type shelf struct {
	t        testing.TB
	dir      string
	old, new registry.Packed
}

// at is the time of all that is published here: another process makes the same bits.
var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newShelf(t testing.TB, dir string) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: dir}
	s.old, _ = sampleAt(t, key("1"), "old", at)
	s.new, _ = sampleAt(t, key("2"), "new", at)
	for _, a := range []*registry.Packed{&s.old, &s.new} {
		text := a.Key
		a.Evidence = func(context.Context, string, string) ([]registry.Evidence, error) {
			return []registry.Evidence{signature(text)}, nil
		}
	}
	return s
}

// open opens the registry, and returns what closes it.
func (s *shelf) open() (*embedded.Registry, *registry.Registry) {
	s.t.Helper()
	e := embedded.Open(filepath.Join(s.dir, registryDir))
	r, err := registry.Local(e)
	if err != nil {
		s.t.Fatal(err)
	}
	return e, r
}

// layout opens the layout.
func (s *shelf) layout() (*ocidir.Layout, *registry.Registry, error) {
	s.t.Helper()
	l, err := ocidir.Create(filepath.Join(s.dir, layoutDir))
	if err != nil {
		return nil, nil, err
	}
	r, err := registry.Layout(l, layoutDir)
	return l, r, err
}

// deeds are what changes a registry or a layout.
var deeds = map[string]func(context.Context, *shelf) error{
	"publishing": func(ctx context.Context, s *shelf) error {
		e, r := s.open()
		_, err := r.Publish(ctx, s.new)
		return errors.Join(err, e.Close())
	},
	"signing": func(ctx context.Context, s *shelf) error {
		e, r := s.open()
		done, err := r.Publish(ctx, s.old)
		if err == nil {
			bundle := signature("bundle")
			bundle.Kind, bundle.MediaType = registry.Bundle, artifact.BundleType
			err = r.AddEvidence(ctx, done.Ref, signature("second"), bundle)
		}
		return errors.Join(err, e.Close())
	},
	"copying to a registry": func(ctx context.Context, s *shelf) error {
		e, r := s.open()
		return errors.Join(s.copy(ctx, r), e.Close())
	},
	"copying to a layout": func(ctx context.Context, s *shelf) error {
		l, r, err := s.layout()
		if err != nil {
			return err
		}
		return errors.Join(s.copy(ctx, r), l.Close())
	},
	"collecting": func(ctx context.Context, s *shelf) error {
		e, _ := s.open()
		_, err := e.Collect(ctx, embedded.Keep{Unused: time.Nanosecond})
		return errors.Join(err, e.Close())
	},
}

// copy copies the second artifact from a registry of its own.
func (s *shelf) copy(ctx context.Context, to *registry.Registry) error {
	origin := embedded.Open(s.t.TempDir())
	from, err := registry.Local(origin)
	if err != nil {
		return err
	}
	done, err := from.Publish(ctx, s.new)
	if err == nil {
		_, err = registry.Copy(ctx, from, done.Ref, to, "web:v2")
	}
	return errors.Join(err, origin.Close())
}

// fill publishes the first artifact, under a tag too, in the registry and in the layout.
// A third one is old and has no other tag than its key's.
func (s *shelf) fill() {
	s.t.Helper()
	e, r := s.open()
	third, _ := sampleAt(s.t, key("3"), "third", at)
	_, err := r.Publish(s.t.Context(), third)
	s.must(err)
	done, err := r.Publish(s.t.Context(), s.old)
	s.must(err)
	_, err = registry.Copy(s.t.Context(), r, done.Ref, r, "web:v1")
	s.must(err)
	l, to, err := s.layout()
	s.must(err)
	_, err = registry.Copy(s.t.Context(), r, done.Ref, to, "web:v1")
	s.must(errors.Join(err, l.Close(), e.Close()))
	s.age()
}

// age makes everything so old that a collection takes it.
func (s *shelf) age() {
	s.t.Helper()
	long := time.Now().Add(-1000 * time.Hour)
	s.must(filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chtimes(path, long, long)
	}))
}

func (s *shelf) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// check looks at a disk on which a deed ended early: the first artifact is whole, and the
// second one is whole or is not there. Whole says that it has to be there.
func (s *shelf) check(ctx context.Context, whole bool, deed string) error {
	e, r := s.open()
	err := s.wholeIn(ctx, r, key("1"), "web:v1", true)
	if deed == "publishing" || deed == "copying to a registry" {
		err = errors.Join(err, s.wholeIn(ctx, r, key("2"), "", whole))
	}
	err = errors.Join(err, e.Close(), listsAreWhole(filepath.Join(s.dir, registryDir)), listsAreWhole(filepath.Join(s.dir, layoutDir)))
	l, inLayout, opened := s.layout()
	if opened != nil {
		return errors.Join(err, opened)
	}
	err = errors.Join(err, s.wholeIn(ctx, inLayout, key("1"), "web:v1", true))
	if deed == "copying to a layout" {
		err = errors.Join(err, s.wholeIn(ctx, inLayout, key("2"), "", whole))
	}
	return errors.Join(err, l.Close())
}

// wholeIn reads all of an artifact that a key, and perhaps a tag, names.
func (s *shelf) wholeIn(ctx context.Context, r *registry.Registry, key, tag string, must bool) error {
	digest, found, err := r.FindKey(ctx, "web", key, artifact.Beside{Always: []string{s.old.Referrers[0].ArtifactType, s.old.Referrers[1].ArtifactType}})
	if err != nil || !found {
		if err == nil && must {
			err = fmt.Errorf("%s is gone", key)
		}
		return err
	}
	if tag != "" {
		if named, err := r.Resolve(ctx, tag); err != nil || named.Digest != digest {
			return fmt.Errorf("%s: %s, %w", tag, named.Digest, err)
		}
	}
	d, err := r.Resolve(ctx, "web@"+digest)
	if err != nil {
		return err
	}
	for _, l := range d.Images[0].Layers {
		content, err := r.OpenLayer(ctx, l)
		if err == nil {
			_, err = io.Copy(io.Discard, content)
			err = errors.Join(err, content.Close())
		}
		if err != nil {
			return fmt.Errorf("%s: layer %s: %w", key, l.Digest, err)
		}
	}
	signed, err := r.Evidence(ctx, "web@"+digest)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(signed, func(e registry.Evidence) bool { return e.Err == nil && string(e.Data) == key }) {
		return fmt.Errorf("%s has lost its signature: %v", key, signed)
	}
	return nil
}

// listsAreWhole wants everything that the lists of a registry or a layout lead to.
func listsAreWhole(dir string) error {
	var all error
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "blobs":
			return fs.SkipDir
		case d.Name() == "index.json":
			raw, err := os.ReadFile(path)
			if err == nil {
				err = leadsToAll(filepath.Dir(path), raw)
			}
			if err != nil {
				all = errors.Join(all, fmt.Errorf("%s: %w", path, err))
			}
		}
		return nil
	})
	return errors.Join(err, all)
}

// leadsToAll follows a manifest or a list.
func leadsToAll(dir string, raw []byte) error {
	type entry struct {
		Digest      string            `json:"digest"`
		MediaType   string            `json:"mediaType"`
		Annotations map[string]string `json:"annotations"`
	}
	var m struct {
		Config    *entry  `json:"config"`
		Layers    []entry `json:"layers"`
		Manifests []entry `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	parts := append(m.Layers, m.Manifests...)
	if m.Config != nil {
		parts = append(parts, *m.Config)
	}
	for _, e := range parts {
		data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(e.Digest, "sha256:")))
		if err != nil {
			return fmt.Errorf("entry %v: %w", e, err)
		}
		if sum := sha256.Sum256(data); fmt.Sprintf("sha256:%x", sum) != e.Digest {
			return fmt.Errorf("entry %v has %d other bytes", e, len(data))
		}
		if strings.HasSuffix(e.MediaType, "+json") && strings.Contains(e.MediaType, "image.") && !strings.Contains(e.MediaType, "config") {
			if err := leadsToAll(dir, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyFrom is a shelf like another one, on a disk of its own.
func copyFrom(t testing.TB, full *shelf, dir string) *shelf {
	t.Helper()
	s := newShelf(t, dir)
	s.must(os.CopyFS(filepath.Join(dir, registryDir), os.DirFS(filepath.Join(full.dir, registryDir))))
	s.must(os.CopyFS(filepath.Join(dir, layoutDir), os.DirFS(filepath.Join(full.dir, layoutDir))))
	s.age()
	return s
}

// process is another process that does a deed.
func (s *shelf) process(deed string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), os.Args[0], "-test.run=^TestDeed$", "-test.count=1")
	cmd.Env = append(os.Environ(), "SHELF_DIR="+s.dir, "SHELF_DEED="+deed, "TMPDIR="+s.t.TempDir())
	return cmd
}

// TestDeed does a deed in a process of its own.
func TestDeed(t *testing.T) {
	dir := os.Getenv("SHELF_DIR")
	if dir == "" {
		return
	}
	_, _ = os.Stdout.WriteString("\n" + deedBegins)
	if err := deeds[os.Getenv("SHELF_DEED")](t.Context(), newShelf(t, dir)); err != nil {
		t.Fatal(err)
	}
}

// deedBegins is what another process says before its deed.
const deedBegins = "begins\n"

// endsWell looks at a disk on which a deed ended early, does it again, and looks at all that is
// there then. Whole says that it was not so early.
func (s *shelf) endsWell(ctx context.Context, deed string, whole bool) error {
	if err := s.check(ctx, whole, deed); err != nil {
		return err
	}
	if err := deeds[deed](ctx, s); err != nil {
		return fmt.Errorf("%s again: %w", deed, err)
	}
	if err := s.check(ctx, true, deed); err != nil {
		return fmt.Errorf("after %s again: %w", deed, err)
	}
	e, _ := s.open()
	report, err := e.Verify(ctx, false)
	if err == nil && len(report.Faults) > 0 {
		err = fmt.Errorf("faults are left: %v", report.Faults)
	}
	return errors.Join(err, e.Close(), s.nothingUnfinished())
}

// nothingUnfinished wants no file of a writer that is gone.
func (s *shelf) nothingUnfinished() error {
	return filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (strings.HasPrefix(d.Name(), ".") || !d.IsDir() && strings.Contains(path, "/_uploads/")) {
			err = fmt.Errorf("%s is left", path)
		}
		return err
	})
}
