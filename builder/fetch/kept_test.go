package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/store"
)

// A directory that inputs were kept in serves a store that knows no mirror.
func TestKept(t *testing.T) {
	t.Parallel()
	content := noise(7, 300_000)
	item := deb(content)
	dir := Directory(filepath.Join(t.TempDir(), "kept"))
	from := openStore(t)
	if _, _, err := from.Put(t.Context(), strings.NewReader(string(content))); err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(string(dir), item.SHA256)
	for _, want := range []bool{true, false} {
		if added, err := dir.Keep(t.Context(), from, item.SHA256); err != nil || added != want {
			t.Fatalf("added %t, want %t: %v", added, want, err)
		}
	}
	if err := os.WriteFile(place+".new", []byte("damage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(place+".new", place); err != nil {
		t.Fatal(err)
	}

	f := impatient(openStore(t), nil)
	f.config.Keepers = []Keeper{Directory(t.TempDir()), dir}
	var remote *RemoteError
	if err := f.Fetch(t.Context(), item); !errors.As(err, &remote) || !strings.Contains(err.Error(), string(dir)) {
		t.Errorf("a damaged file: %v", err)
	}
	if added, err := dir.Keep(t.Context(), from, item.SHA256); err != nil || !added {
		t.Fatalf("mending: added %t, %v", added, err)
	}
	if err := f.Fetch(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	checkStored(t, f, item, content)
	// What is being kept elsewhere stays, what a killed run left long ago does not.
	for name, age := range map[string]time.Duration{keepingPrefix + "now": 0, keepingPrefix + "old": 2 * abandoned} {
		path, then := filepath.Join(string(dir), name), time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	if err := dir.Settle(); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(string(dir), keepingPrefix+"now")); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(string(dir), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// What a mirror has is asked of it when no keeper has it, or one is out of order.
func TestKeptElsewhere(t *testing.T) {
	t.Parallel()
	content := noise(8, 1000)
	s := serve(t, whole(content))
	f := fromDebian(t, s.URL)
	pipe := t.TempDir()
	if err := os.Mkdir(filepath.Join(pipe, deb(content).SHA256), 0o755); err != nil {
		t.Fatal(err)
	}
	f.config.Keepers = []Keeper{Directory(filepath.Join(t.TempDir(), "none")), Directory(pipe), broken{}}
	if err := f.Fetch(t.Context(), deb(content)); err != nil {
		t.Fatal(err)
	}
	checkStored(t, f, deb(content), content)
}

// broken is a place that fails in the middle.
type broken struct{}

func (broken) String() string { return "broken" }

func (broken) Open(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("a"), failing{})), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cable cut") }

func TestKeepDamaged(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	sum, _, err := st.Put(t.Context(), strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(st.Path(sum), 0o644), os.WriteFile(st.Path(sum), []byte("damage"), 0o644)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var damaged *store.MismatchError
	if _, err := Directory(dir).Keep(t.Context(), st, sum); !errors.As(err, &damaged) {
		t.Errorf("damaged content: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Profiles have no mirror of their own: one that is kept nowhere is missing, and no server failed.
func TestMissingProfile(t *testing.T) {
	t.Parallel()
	f := impatient(openStore(t), nil)
	content := noise(31, 1000)
	profile := Item{Source: Profiles, Name: "python", Version: "3.13.5", File: "python-3.13.5.profile.tar", SHA256: deb(content).SHA256}
	for _, keepers := range [][]Keeper{nil, {Directory(t.TempDir())}} {
		f.config.Keepers = keepers
		err := f.Fetch(t.Context(), profile)
		if faults.Of(err) != faults.NotFound || !strings.Contains(strings.Join(faults.Hints(err), ""), "ampoule pgo-profile --write") {
			t.Errorf("with %d keepers: %v, hints %q", len(keepers), err, faults.Hints(err))
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, profile.SHA256), content, 0o644); err != nil {
		t.Fatal(err)
	}
	f.config.Keepers = []Keeper{Directory(dir)}
	if err := f.Fetch(t.Context(), profile); err != nil {
		t.Error(err)
	}
	checkStored(t, f, profile, content)
}

// A directory of what is kept is found where a server has it, too.
func TestServedProfile(t *testing.T) {
	t.Parallel()
	content := noise(32, 1000)
	profile := Item{Source: Profiles, Name: "python", Version: "3.13.5", File: "python-3.13.5.profile.tar", SHA256: deb(content).SHA256}
	dir := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	f := impatient(openStore(t), map[string]Source{Profiles: {Mirrors: []string{server.URL}}})
	if err := f.Fetch(t.Context(), profile); faults.Of(err) != faults.NotFound {
		t.Errorf("of an empty directory: %v", err)
	}
	writeFile(t, filepath.Join(dir, profile.SHA256), content)
	if err := f.Fetch(t.Context(), profile); err != nil {
		t.Fatal(err)
	}
	checkStored(t, f, profile, content)
}

// Profiles that ship are asked for profiles alone.
func TestShippedProfile(t *testing.T) {
	t.Parallel()
	f := impatient(openStore(t), nil)
	content := noise(33, 1000)
	profile := Item{Source: Profiles, Name: "python", Version: "3.13.5", File: "python-3.13.5.profile.tar", SHA256: deb(content).SHA256}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, profile.SHA256), content, 0o644); err != nil {
		t.Fatal(err)
	}
	f.config.Keepers, f.config.Profiles = []Keeper{Directory(t.TempDir())}, Directory(dir)
	if err := f.Fetch(t.Context(), profile); err != nil {
		t.Fatal(err)
	}
	checkStored(t, f, profile, content)
	if got := f.config.keepers(deb(content)); len(got) != 1 {
		t.Errorf("a package is sought in %v", got)
	}
}
