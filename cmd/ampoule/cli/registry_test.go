package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/builder/progress"
	"ampoule/builder/progress/progresstest"
	"ampoule/config"
	"ampoule/registry/embedded"
	"ampoule/registry/install"
	"ampoule/store"
	"ampoule/wiring"
)

// warned lists the warnings that were told.
func warned(r *progresstest.Recorder) []string {
	var all []string
	for _, e := range r.Events() {
		if e.Kind == progress.Warned {
			all = append(all, e.Message)
		}
	}
	return all
}

// blobsOf lists the registry's content.
func blobsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "registry", "repositories", "web", "blobs", "sha256", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files
}

// kindOf says what a file of a publication is.
func kindOf(raw []byte) string {
	has := func(text string) bool { return bytes.Contains(raw, []byte(text)) }
	switch {
	case bytes.HasPrefix(raw, []byte{0x1f, 0x8b}):
		return "layer"
	case has(`"subject"`):
		return "referrer"
	case has(`"manifests"`) && has(`"artifactType"`):
		return "list of referrers"
	case has(`"manifests"`):
		return "index"
	case has(`"layers":[`):
		return "image"
	case has(`"rootfs"`):
		return "configuration"
	}
	return "file of a referrer"
}

// TestRotIsMended damages each file of a publication in turn: verifying tells it, the key is
// not found, nothing is installed from it, and publishing again gives the same digest.
func TestRotIsMended(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	sealed := sampleTree(t)
	seen := map[string]int{}
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		digest := publish(ctx, t, w, sealed)
		reg, err := w.Registry()
		if err != nil {
			return err
		}
		for i, file := range blobsOf(t, s.Store) {
			raw, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				continue // a list of referrers that was made anew
			}
			if err != nil {
				return err
			}
			kind := kindOf(raw)
			seen[kind]++
			damage(t, file)
			verify := func(repair bool) int {
				out.Reset()
				return ExitCode(StoreVerify(ctx, s, repair, w.Own, w.Store.Check))
			}
			if code := verify(false); code != codeRefused || !strings.Contains(out.String(), filepath.Base(file)) {
				t.Errorf("%s: verifying ends with code %d, and tells %s", kind, code, out)
			}
			watch := progresstest.New()
			_, found, err := wiring.Publisher{Registry: reg, Store: w.Store}.FindKey(watch.Context(ctx), "web", "sha256:"+sumA)
			// Lists of referrers are made anew when they are asked for.
			derived := kind == "list of referrers"
			told := warned(watch)
			if err != nil || found != derived || len(told) == 0 != derived {
				t.Errorf("%s: the key is found: %v, %v, told %q", kind, found, err, told)
			}
			root := filepath.Join(t.TempDir(), fmt.Sprint(i))
			want := codeDone
			if slices.Contains([]string{"layer", "index", "image", "configuration"}, kind) {
				want = codeRefused
			}
			if err := Install(ctx, s, reg, "web@"+digest, installBelow(root)); ExitCode(err) != want {
				t.Errorf("%s: installing ends with code %d, %v, want %d", kind, ExitCode(err), err, want)
			}
			if i%2 == 0 {
				verify(true)
			}
			if again := publish(ctx, t, w, sealed); again != digest {
				t.Errorf("%s: published again it is %s, not %s", kind, again, digest)
			}
			// The list that had one referrer is replaced: only repairing looks at it.
			if code := verify(derived); code != codeDone && !derived {
				t.Errorf("%s: after publishing again verifying ends with code %d, and tells %s", kind, code, out)
			}
			if code := verify(false); code != codeDone {
				t.Errorf("%s: afterwards verifying ends with code %d, and tells %s", kind, code, out)
			}
			if err := Install(ctx, s, reg, "web@"+digest, installBelow(root)); err != nil {
				t.Errorf("%s: installing afterwards: %v", kind, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	for _, kind := range []string{"layer", "referrer", "list of referrers", "index", "image", "configuration", "file of a referrer"} {
		if seen[kind] == 0 {
			t.Errorf("no %s was damaged", kind)
		}
	}
}

// damage changes one bit of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		raw[len(raw)/2] ^= 1
		err = os.WriteFile(path, raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRegistryVerbs takes one artifact through the verbs that look after it.
func TestRegistryVerbs(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	result := func() string {
		defer out.Reset()
		return strings.TrimSpace(out.String())
	}
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		digest := publish(ctx, t, w, sampleTree(t))
		ref := "web@" + digest
		reg, err := w.Registry()
		if err != nil {
			return err
		}
		do := func(f func(Shelf, context.Context, embedded.Target) error, refs ...string) error {
			return RegistryTargets(ctx, s, reg, w.Own, refs, f)
		}
		if err := do(Shelf.Hold, ref); err != nil || result() != ref {
			t.Errorf("holding: %v", err)
		}
		if err := RegistryList(ctx, s, w.Own); err != nil {
			t.Error(err)
		}
		if text := result(); !strings.HasPrefix(text, ref) || !strings.HasSuffix(text, "held") {
			t.Errorf("listed: %q", text)
		}
		if err := do(Shelf.Remove, ref); ExitCode(err) != codeRefused {
			t.Errorf("removing what is held: %v", err)
		}
		if err := do(Shelf.Unhold, ref); err != nil || result() != ref {
			t.Errorf("letting go: %v", err)
		}
		for wrong, code := range map[string]int{"web": codeUsage, "other.example/web:x": codeUsage, "web:x": codeNotFound, "api@" + digest: codeNotFound} {
			if err := do(Shelf.Remove, wrong); ExitCode(err) != code {
				t.Errorf("removing %s: %v, want code %d", wrong, err, code)
			}
		}
		if err := do(Shelf.Remove, ref); err != nil || result() != ref {
			t.Errorf("removing: %v", err)
		}
		if err := Install(ctx, s, reg, ref, installBelow(t.TempDir())); ExitCode(err) != codeNotFound {
			t.Errorf("installing what is removed: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
}

// TestCollectRegistry collects the registry with the store.
func TestCollectRegistry(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	var digest string
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		digest = publish(ctx, t, w, sampleTree(t))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		then := time.Now().Add(-100 * 24 * time.Hour)
		if err := filepath.WalkDir(filepath.Join(s.Store, "registry"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return os.Chtimes(path, then, then)
		}); err != nil {
			return err
		}
		collect := func(published string, bound store.Keep) embedded.Collected {
			t.Helper()
			_, keep, err := keeping("", "", published, config.Bounds{})
			if err != nil {
				t.Fatal(err)
			}
			reg := &RegistryCollection{Tell: s.tell, Registry: w.Own, Keep: keep}
			bound.Unused = time.Hour
			if err := StoreCollect(ctx, s, w.Store, bound, reg, func(context.Context) (int, error) { return 0, nil }); err != nil {
				t.Fatal(err)
			}
			return reg.Did
		}
		if did := collect("", store.Keep{Limit: 1 << 40}); did.Left == 0 || len(did.Artifacts) != 0 || strings.Contains(errs.String(), "what is published takes") {
			t.Errorf("without an age: %+v, told %s", did, errs)
		}
		if did := collect("", store.Keep{Limit: 10}); did.Left == 0 || !strings.Contains(errs.String(), "what is published takes") {
			t.Errorf("beyond the limit: %+v, told %s", did, errs)
		}
		if did := collect("90d", store.Keep{Dry: true}); len(did.Artifacts) != 1 || !strings.Contains(errs.String(), "would remove web@"+digest) {
			t.Errorf("dry: %+v, told %s", did, errs)
		}
		if did := collect("101d", store.Keep{}); len(did.Artifacts) != 0 {
			t.Errorf("younger than the age: %+v", did)
		}
		s.Output = JSON
		defer func() { s.Output = Text }()
		out.Reset()
		did := collect("90d", store.Keep{})
		if did.Left != 0 || len(did.Artifacts) != 1 {
			t.Errorf("older than the age: %+v", did)
		}
		var told struct {
			Left     int
			Registry embedded.Collected
		}
		if err := json.Unmarshal(out.Bytes(), &told); err != nil || told.Registry.Removed != did.Removed {
			t.Errorf("told %s, %v", out, err)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	for _, wrong := range []string{"0d", "0s", "soon", "-1h"} {
		if _, _, err := keeping("", "", wrong, config.Bounds{}); err == nil {
			t.Errorf("%q is taken for an age", wrong)
		}
	}
}

// installBelow are the options of an installation below a root.
func installBelow(root string) InstallOptions {
	return InstallOptions{Options: install.Options{Root: root, Platform: platform()}, Activate: true}
}
