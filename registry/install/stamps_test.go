package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ampoule/tree"
)

// changedContent lists the content that would be read before it is used.
func changedContent(t testing.TB, root string) []string {
	t.Helper()
	s, err := openExisting(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	changed := []string{}
	for _, file := range contentOf(t, root) {
		key := filepath.Base(file)
		if st, err := s.content.seen(key); err != nil || !s.content.unchanged(key, st) {
			changed = append(changed, key)
		}
	}
	return changed
}

// Content that is as it was when it was read is not read again, also when a release has come or
// gone. What a program has changed is, whatever time it gives the file.
func TestStamps(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two", "three")
	flask := filepath.Join(root, contentName, digestOf([]byte("flask"))[7:]+"-0444")
	want := func(when string, changed ...string) {
		t.Helper()
		if got := changedContent(t, root); fmt.Sprint(got) != fmt.Sprint(changed) {
			t.Errorf("%s: %v would be read, not %v", when, got, changed)
		}
	}
	for _, s := range all[:2] {
		mustAdd(t, s, root)
		mustActivate(t, s, root)
		want("installed")
	}
	if done, err := Collect(t.Context(), root, CollectOptions{Keep: 1}); err != nil || len(done.Removed) != 1 {
		t.Fatal(done, err)
	}
	want("collected")
	if err := errors.Join(os.Chmod(flask, 0o644), os.WriteFile(flask, []byte("fla5k"), 0o600), os.Chmod(flask, 0o444), os.Chtimes(flask, tree.Time, tree.Time)); err != nil {
		t.Fatal(err)
	}
	want("changed", filepath.Base(flask))
	mustAdd(t, all[2], root)
	want("mended")
	if err := os.Truncate(filepath.Join(root, contentName, stampsName), 90); err != nil {
		t.Fatal(err)
	}
	if got := changedContent(t, root); len(got) != len(contentOf(t, root)) {
		t.Errorf("stamps that are cut count: %d of %d would be read", len(got), len(contentOf(t, root)))
	}
	mustAdd(t, all[2], root)
	if got := changedContent(t, root); len(got) != len(contentOf(t, root)) {
		t.Errorf("a release that was there already stamps content: %v", got)
	}
	mustAdd(t, all[0], root)
	if got := changedContent(t, root); slices.Contains(got, filepath.Base(flask)) {
		t.Errorf("what was read again is read once more: %v", got)
	}
}

// A list of stamps that says that damaged content is right has it used: nothing else reads it then, but
// looking over the release does.
func TestStampsAreBelieved(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two")
	mustAdd(t, all[0], root)
	flask := filepath.Join(root, contentName, digestOf([]byte("flask"))[7:]+"-0444")
	if err := errors.Join(os.Chmod(flask, 0o644), os.WriteFile(flask, []byte("fla5k"), 0o600), os.Chmod(flask, 0o444), os.Chtimes(flask, tree.Time, tree.Time)); err != nil {
		t.Fatal(err)
	}
	s, err := openExisting(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.content.stampAgain(t.Context(), map[string]int64{filepath.Base(flask): 5}), s.content.writeStamps(), s.close()); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, all[1], root)
	if _, err := Verify(t.Context(), root, VerifyOptions{Release: all[1].digest(), Platform: platform}); !errors.As(err, new(*VerificationError)) {
		t.Errorf("verified: %v", err)
	}
	if _, err := Activate(t.Context(), root, all[1].digest(), SwitchOptions{Care: Whole}); !errors.As(err, new(*VerificationError)) {
		t.Errorf("activated: %v", err)
	}
}
