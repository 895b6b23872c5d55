package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/internal/basetime"
	"ampoule/tree"
)

func start(t *testing.T, handler fake.Handler) (sandbox.Sandbox, *fake.Sandbox) {
	t.Helper()
	r := fake.New(handler)
	id, err := r.Load(t.Context(), sandboxtest.Config(), sandboxtest.TarLayer(t, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	sb, err := r.Start(t.Context(), sandbox.Spec{Image: id, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return sb, r.Sandboxes()[0]
}

func newTree(t *testing.T, entries ...tree.Entry) *tree.Tree {
	t.Helper()
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// listed lists a sandbox's entries with owner and mode.
func listed(s *fake.Sandbox) []string {
	var list []string
	for _, e := range s.Files().Entries() {
		list = append(list, fmt.Sprintf("%d:%d %v %s", e.UID, e.GID, e.Mode, e.Path))
	}
	return list
}

func TestImportTree(t *testing.T) {
	t.Parallel()
	sb, files := start(t, nil)
	tr := newTree(t, tree.FileEntry("b/tool", 0o755, []byte("text")))
	if err := sandbox.ImportTree(t.Context(), sb, "/box/in", tr); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1000:1000 -rwxr-xr-x box", "1000:1000 -rwxr-xr-x box/in", "1000:1000 -rwxr-xr-x box/in/b", "1000:1000 -rwxr-xr-x box/in/b/tool",
	}
	if diff := cmp.Diff(want, listed(files)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if e, _ := tr.Lookup("b/tool"); e.UID != 0 {
		t.Error("the caller's tree changed its owner")
	}
}

func TestImportTreeFails(t *testing.T) {
	t.Parallel()
	sb, _ := start(t, nil)
	e := tree.FileEntry("a", 0o644, []byte("text"))
	e.Content = tree.Bytes("te")
	if err := sandbox.ImportTree(t.Context(), sb, "/box", newTree(t, e)); err == nil || !strings.Contains(err.Error(), "writing tar: ") {
		t.Errorf("a file that is shorter than it says: %v", err)
	}
	// A sandbox that does not read: the writer of the tar must end all the same.
	sb.Close()
	big := newTree(t, tree.FileEntry("a", 0o644, make([]byte, 1<<20)))
	if err := sandbox.ImportTree(t.Context(), sb, "/box", big); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("into a closed sandbox: %v", err)
	}
}

func TestMakeDirs(t *testing.T) {
	t.Parallel()
	sb, files := start(t, nil)
	if err := sandbox.MakeDirs(t.Context(), sb, "/opt/ampoule", "/opt", "/w/home"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1000:1000 -rwxr-xr-x opt", "1000:1000 -rwxr-xr-x opt/ampoule", "1000:1000 -rwxr-xr-x w", "1000:1000 -rwxr-xr-x w/home",
	}
	if diff := cmp.Diff(want, listed(files)); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
	for _, dirs := range [][]string{{"/a/../b"}, {"/"}, {"/a", "/a"}} {
		if err := sandbox.MakeDirs(t.Context(), sb, dirs...); err == nil {
			t.Errorf("%q are made", dirs)
		}
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	exit := &sandbox.ExitError{Args: []string{"false"}, Code: 1}
	sb, _ := start(t, func(_ context.Context, _ *fake.Sandbox, step sandbox.Step) error {
		if step.Args[0] == "false" {
			return exit
		}
		for _, part := range step.Args[1:] {
			if n, err := io.WriteString(step.Stdout, part); err != nil || n != len(part) {
				return fmt.Errorf("wrote %d of %q: %w", n, part, err)
			}
		}
		return nil
	})
	for _, c := range []struct {
		args  []string
		limit int
		want  string
		ok    bool
	}{
		{[]string{"echo"}, 0, "", true},
		{[]string{"echo", "ab", "c"}, 3, "abc", true},
		{[]string{"echo", "ab", "cd"}, 3, "", false},
		// What comes after the limit does not count again when it would fit.
		{[]string{"echo", "ab", "cd", "e"}, 3, "", false},
	} {
		data, err := sandbox.Output(t.Context(), sb, sandbox.Step{Args: c.args}, c.limit)
		if string(data) != c.want || (err == nil) != c.ok {
			t.Errorf("%q with limit %d gives %q, %v", c.args, c.limit, data, err)
		}
		if err != nil && !strings.Contains(err.Error(), "running echo: it wrote more than 3 bytes") {
			t.Errorf("error %v", err)
		}
	}
	if _, err := sandbox.Output(t.Context(), sb, sandbox.Step{Args: []string{"false"}}, 9); !errors.Is(err, exit) {
		t.Errorf("a step that fails: %v", err)
	}
}

// TestEnv: a step sees the same on every machine, and what is added counts.
func TestEnv(t *testing.T) {
	t.Setenv("PATH", "/home/someone/bin")
	t.Setenv("LANG", "tlh")
	t.Setenv("SOURCE_DATE_EPOCH", strconv.FormatInt(basetime.Of(t).Unix(), 10))
	env := sandbox.Env("CC=gcc", "TERM=xterm")
	if last := env[len(env)-2:]; !slices.Equal(last, []string{"CC=gcc", "TERM=xterm"}) {
		t.Errorf("the last variables are %q", last)
	}
	given := slices.DeleteFunc(slices.Clone(env), func(v string) bool { return !strings.HasPrefix(v, "SOURCE_DATE_EPOCH=") })
	if !slices.Equal(given, []string{"SOURCE_DATE_EPOCH=1577836800"}) || !slices.Contains(env, "HOME=/ampoule-build/home") {
		t.Errorf("environment %q", env)
	}
	if text := strings.Join(env, "\n"); strings.Contains(text, "someone") || strings.Contains(text, "tlh") {
		t.Errorf("the machine's variables are in %q", env)
	}
}

func TestExitError(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*sandbox.ExitError{
		"running make -j2: exit code 2":                           {Args: []string{"make", "-j2"}, Code: 2},
		"running make -j2: exit code 137, SIGKILL, out of memory": {Args: []string{"make", "-j2"}, Code: 137, OutOfMemory: true},
	} {
		if err.Error() != want {
			t.Errorf("Error() = %q, want %q", err, want)
		}
	}
}

func TestImageWith(t *testing.T) {
	t.Parallel()
	lower := sandbox.Image{Layers: make([]sandbox.Layer, 1, 4)}
	first, second := lower.With(sandbox.Layer{DiffID: "a"}), lower.With(sandbox.Layer{DiffID: "b"})
	if len(lower.Layers) != 1 || first.Layers[1].DiffID != "a" || second.Layers[1].DiffID != "b" {
		t.Errorf("images share layers: %v, %v, %v", lower, first, second)
	}
}
