package trials

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/bench/internal/drive"
	"ampoule/store"
)

// What kills look for is told: containers of the store and no others, what a writer was
// writing, and blobs that are not whole.
func TestLeft(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	id, err := st.ID(t.Context())
	// The lock's file is none of what is looked for here.
	if err := errors.Join(err, os.RemoveAll(filepath.Join(dir, "locks"))); err != nil {
		t.Fatal(err)
	}
	docker := drive.Program{Path: "/bin/sh", Args: []string{"-c", `case "$*" in *label=ampoule.store=` + id + `*) echo ampoule-wheel-x;; *) echo another;; esac`, "docker"}}
	k := &killer{t: &Trials{Docker: docker}}
	left := func() []string {
		t.Helper()
		got, err := k.left(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	const container = "container ampoule-wheel-x"
	if diff := cmp.Diff([]string{container}, left()); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	blobs := filepath.Join("registry", "repositories", "web", "blobs", "sha256")
	const whole = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" // of "foo"
	torn := strings.Repeat("0", 64)
	for path, content := range map[string]string{
		filepath.Join(blobs, whole): "foo", filepath.Join(blobs, torn): "fo",
		"tmp/writer-x": "", "owners/engine-1": "", "registry/upload": "",
		"content/00/" + torn: "content is verified when it is read",
	} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	// Opening sweeps what a killed writer left: one that lives holds it.
	held, err := st.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Abort()
	got := left()
	if len(got) != 5 || !strings.HasPrefix(got[1], "tmp/writer-") || got[1] == "tmp/writer-x" {
		t.Fatalf("left %q", got)
	}
	got = append(got[:1], got[2:]...)
	if diff := cmp.Diff([]string{container, "owners/engine-1", filepath.Join(blobs, torn), "registry/upload"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
