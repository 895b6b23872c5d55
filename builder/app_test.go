package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/builder/locking"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/workspace"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

// appWorld is a world whose recipe has first-party code, in a working tree without git.
type appWorld struct {
	*world
	dir string
	// made are the files of the wheel that the code's build gives, relative to
	// site-packages; metadata are further lines of its metadata.
	made     []tree.Entry
	metadata string
}

const webProject = "[project]\nname = \"web-app\"\nversion = \"1.0\"\ndependencies = [\"demo\"]\n"

func newAppWorld(t *testing.T, app string) *appWorld {
	t.Helper()
	w := &appWorld{world: newWorld(t), dir: t.TempDir(), metadata: "Requires-Dist: demo\n"}
	w.made = []tree.Entry{
		tree.FileEntry("web_app.py", 0o644, []byte("one = 1\n")),
		tree.FileEntry("web_app-1.0.data/scripts/web", 0o755, []byte("#!python\nimport web_app\n")),
	}
	w.write("pyproject.toml", webProject)
	w.write("web_app.py", "one = 1\n")
	w.write("ampoule.yaml", recipeText+"app: "+app+"\n")
	w.reread()
	w.lock.App = []recipes.LockedApp{{Source: ".", Name: "web-app", Version: recipes.VersionStatic, Requires: []string{"demo"}, Build: &recipes.BuildSet{}}}
	usual := w.step
	w.runner = fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if _, ours := s.Files().Lookup("ampoule-build/sdist/web-app.tar"); ours && strings.Contains(strings.Join(step.Args, " "), "driver.py wheel") {
			return w.buildApp(s)
		}
		return usual(ctx, s, step)
	})
	return w
}

func (w *appWorld) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// reread reads recipe and requirements again, and lets the lock answer them.
func (w *appWorld) reread() {
	w.t.Helper()
	var err error
	if w.recipe, err = recipes.ReadRecipe(filepath.Join(w.dir, "ampoule.yaml")); err != nil {
		w.t.Fatal(err)
	}
	if w.reqs, err = recipes.ReadRequirements(w.recipe); err != nil {
		w.t.Fatal(err)
	}
	w.lock.Answers = recipes.MakeAnswers(w.recipe, w.reqs)
}

// buildApp gives the wheel of the code.
func (w *appWorld) buildApp(s *fake.Sandbox) error {
	const file = "web_app-1.0-py3-none-any.whl"
	const info = "web_app-1.0.dist-info/"
	entries := append(slices.Clone(w.made),
		tree.FileEntry(info+"METADATA", 0o644, []byte("Metadata-Version: 2.1\nName: web-app\nVersion: 1.0\n"+w.metadata)),
		tree.FileEntry(info+"WHEEL", 0o644, []byte("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")))
	return s.Write(below(sandbox.WorkDir, []tree.Entry{
		tree.FileEntry("out/result.json", 0o644, []byte(`{"wheel": "`+file+`"}`)), tree.FileEntry("out/"+file, 0o644, pack(recorded(info, entries))), {Path: "debug", Kind: tree.Dir, Mode: 0o755},
	})...)
}

const allFiles = `{source: ., files: ["*"], command: [web, --port, "80"]}`

// layersByName are the layers of the artifact that was published last.
func (w *appWorld) layersByName() map[string]string {
	w.t.Helper()
	found := map[string]string{}
	for _, l := range w.artifacts[len(w.artifacts)-1].Layers {
		found[l.Name] = l.DiffID
	}
	return found
}

// A changed line of the code changes the key, the layer of the code and the one of the
// metadata, and nothing else.
func TestApp(t *testing.T) {
	t.Parallel()
	w := newAppWorld(t, allFiles)
	first, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	a := w.artifacts[0]
	if len(a.Config.Entrypoint) != 3 || !slices.Equal(a.Config.Cmd, []string{"web", "--port", "80"}) {
		t.Errorf("the image runs %q %q", a.Config.Entrypoint, a.Config.Cmd)
	}
	_, owners := publishedTree(t, w.world, a)
	for file, layer := range map[string]string{library + "site-packages/web_app.py": "app", "bin/web": "app", "share/ampoule/artifact.json": "metadata"} {
		if owners[file] != layer {
			t.Errorf("%s is in layer %q, not in %q", file, owners[file], layer)
		}
	}
	if names := []string{a.Layers[len(a.Layers)-2].Name, a.Layers[len(a.Layers)-1].Name}; !slices.Equal(names, []string{"app", "metadata"}) {
		t.Errorf("the last layers are %q", names)
	}
	var told Source
	if err := json.Unmarshal(a.Source, &told); err != nil || !told.Dirty || len(told.Projects) != 1 || told.Projects[0].Name != "web-app" || told.Projects[0].Version != "1.0" || told.Hash != first.Source.Hash {
		t.Errorf("it says of its code %s, %v", a.Source, err)
	}
	if data, err := os.ReadFile(filepath.Join(first.Logs, artifact.SourceFile)); err != nil || !bytes.Equal(data, a.Source) {
		t.Errorf("beside the logs: %s, %v", data, err)
	}
	if strings.Contains(fmt.Sprint(a.Config.Labels), "commit") {
		t.Errorf("the digest knows of a commit: %v", a.Config.Labels)
	}
	if inputs, err := w.builder().FetchInputs(t.Context(), w.request()); err != nil || inputs.Key != first.Key {
		t.Errorf("inputs of %s, %v", inputs.Key, err)
	}
	before := w.layersByName()
	if again, err := w.build(); err != nil || !again.Reused || again.Source == nil || again.Source.Hash != first.Source.Hash {
		t.Errorf("again: %+v, %v", again, err)
	}
	w.write("web_app.py", "one = 2\n")
	w.made[0] = tree.FileEntry("web_app.py", 0o644, []byte("one = 2\n"))
	second, err := w.build()
	if err != nil || second.Key == first.Key || second.Reused {
		t.Fatalf("with a changed line: %+v, %v", second, err)
	}
	after := w.layersByName()
	var changed []string
	for name := range before {
		if before[name] != after[name] {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	if diff := cmp.Diff([]string{"app", "metadata"}, changed); diff != "" || len(before) != len(after) {
		t.Errorf("layers that changed (-want +got):\n%s", diff)
	}
	w.checkClosed()
}

// Without first-party code nothing asks for a working tree.
func TestWithoutApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipe.App = nil
	got, err := w.build()
	if err != nil || got.Source != nil || w.artifacts[0].Source != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// A dependency that the wheel states and the lock does not know makes the lock stale.
func TestAppStale(t *testing.T) {
	t.Parallel()
	w := newAppWorld(t, allFiles)
	w.metadata = "Requires-Dist: demo\nRequires-Dist: six>=1; python_version >= \"3\"\nRequires-Dist: nothing; extra == \"x\"\n"
	_, err := w.build()
	var stale recipes.Faults
	if !errors.As(err, &stale) || !strings.Contains(err.Error(), "the lock has that web-app requires demo, and its wheel requires demo, six>=1") || stale.Hint() != "run `ampoule lock`" {
		t.Errorf("got %v", err)
	}
	w.write("pyproject.toml", webProject+"[project.optional-dependencies]\n")
	w.write("pyproject.toml", strings.Replace(webProject, `"demo"`, `"demo", "six"`, 1))
	answers := w.lock.Answers
	w.reread()
	w.lock.Answers = answers
	started := len(w.runner.Sandboxes())
	if _, err := w.build(); !errors.As(err, &stale) || stale[0].Line != 4 || !strings.Contains(err.Error(), "the lock does not know six") || len(w.runner.Sandboxes()) != started {
		t.Errorf("got %v", err)
	}
	if len(w.artifacts) != 0 {
		t.Error("it was published")
	}
}

// The code may not have a file of what it requires.
func TestAppShadows(t *testing.T) {
	t.Parallel()
	w := newAppWorld(t, allFiles)
	w.made = append(w.made, tree.FileEntry("demo/__init__.py", 0o644, []byte("answer = 43\n")))
	_, err := w.build()
	if faults.Of(err) != faults.Build || !strings.Contains(fmt.Sprint(err), "demo and web-app both install lib/python3.13/site-packages/demo/__init__.py") || len(w.artifacts) != 0 {
		t.Errorf("got %v", err)
	}
}

// A command that the image could not run is refused before the gate.
func TestAppCommand(t *testing.T) {
	t.Parallel()
	for command, says := range map[string]string{
		"web": "", "python3.13": "", "/opt/ampoule/bin/web": "",
		"wob":                     "app.command: wob is in no directory of the image's PATH",
		"/opt/ampoule/bin/wob":    "app.command: /opt/ampoule/bin/wob is not in the image",
		"/etc/os-release":         "app.command: /etc/os-release is not executable",
		"/usr/bin/env":            "app.command: /usr/bin/env is not in the image",
		"usr/lib64/../../bin/web": "is not in the image",
	} {
		t.Run(strings.ReplaceAll(command, "/", "_"), func(t *testing.T) {
			t.Parallel()
			w := newAppWorld(t, `{source: ., files: ["*"], command: [`+command+`]}`)
			_, err := w.build()
			if says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var wrong recipes.Faults
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), says) || wrong[0].Line != 12 || wrong[0].Column < 40 || !strings.Contains(wrong.Hint(), "bin has web;") || len(w.artifacts) != 0 {
				t.Errorf("got %v, hint %q", err, wrong.Hint())
			}
			for _, s := range w.runner.Sandboxes() {
				if strings.HasPrefix(s.Spec.Name, "gate-") {
					t.Error("the gate was asked")
				}
			}
		})
	}
}

// What changes between reading and packing is not built.
func TestAppChanges(t *testing.T) {
	t.Parallel()
	w := newAppWorld(t, allFiles)
	req, err := withWorkspace(t.Context(), w.request(), w.builder().d.Environ)
	if err != nil {
		t.Fatal(err)
	}
	w.write("web_app.py", "two = 2\n")
	_, err = w.builder().Build(t.Context(), req)
	var changed *workspace.ChangedError
	if !errors.As(err, &changed) || path.Base(changed.Path) != "web_app.py" || len(w.artifacts) != 0 {
		t.Errorf("got %v", err)
	}
}

// A version that tags gave is told to the code's build, and is no part of the lock.
func TestAppVersion(t *testing.T) {
	t.Parallel()
	l := &recipes.Lock{App: []recipes.LockedApp{{Name: "web-app", Build: &recipes.BuildSet{Env: map[string]string{"A": "b"}}}}}
	got := ownDists(l, []locking.Code{{SHA256: "s", Env: map[string]string{"PBR_VERSION": "1.2"}}})
	want := recipes.Dist{Name: "web-app", File: "web-app.tar", SHA256: "s", Own: true, Build: &recipes.BuildSet{Env: map[string]string{"A": "b", "PBR_VERSION": "1.2"}}}
	if diff := cmp.Diff([]recipes.Dist{want}, got); diff != "" || len(l.App[0].Build.Env) != 1 {
		t.Errorf("the lock has %v (-want +got):\n%s", l.App[0].Build.Env, diff)
	}
}

// The archive of the code holds one directory, as sdists do, and is the same each time.
func TestAppArchive(t *testing.T) {
	t.Parallel()
	w := newAppWorld(t, allFiles)
	req, err := withWorkspace(t.Context(), w.request(), w.builder().d.Environ)
	if err != nil {
		t.Fatal(err)
	}
	first, err := w.builder().keepCode(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.builder().keepCode(t.Context(), req)
	if err != nil || first[0].SHA256 != again[0].SHA256 {
		t.Errorf("%v is %v again, %v", first, again, err)
	}
	f, err := w.st.Open(first[0].SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := tree.FromTar(bytes.NewReader(data), int64(len(data)), tree.Limits{Entries: 100, Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range packed.Entries() {
		names = append(names, e.Path)
	}
	if diff := cmp.Diff([]string{"app", "app/pyproject.toml", "app/web_app.py"}, names); diff != "" {
		t.Errorf("it holds (-want +got):\n%s", diff)
	}
}

// setuptools-scm is told that all files of the code are tracked: it finds package data by that.
func TestAppTracked(t *testing.T) {
	t.Parallel()
	own := tree.FileEntry(trackedFile, 0o644, []byte("its own"))
	for name, c := range map[string]struct {
		requires []string
		entries  []tree.Entry
		want     string
	}{
		"with it":         {[]string{"setuptools", "Setuptools_SCM[toml]>=8"}, nil, trackedText},
		"without it":      {[]string{"setuptools"}, nil, ""},
		"with one of its": {[]string{"setuptools-scm"}, []tree.Entry{own}, "its own"},
	} {
		files, err := tree.New(c.entries)
		if err != nil {
			t.Fatal(err)
		}
		marked, err := markTracked(files, recipes.Project{BuildRequires: c.requires})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if e, ok := marked.Lookup(trackedFile); ok {
			data, err := e.ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			got = string(data)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A second build of the code, of all or of its wheel alone, takes the same files.
func TestAppCheck(t *testing.T) {
	t.Parallel()
	for _, only := range []string{"", "web-app"} {
		w := newAppWorld(t, allFiles)
		w.needs.Publisher = &digester{}
		checked, err := w.builder().Check(t.Context(), w.request(), only, func(*store.Store) (Publisher, io.Closer, error) {
			return &digester{}, &digester{}, nil
		})
		if err != nil {
			t.Errorf("%q: %v", only, err)
			continue
		}
		want := "everything"
		if only != "" {
			want = only
		}
		if checked.What != want || !checked.Same() {
			t.Errorf("%q: %+v", only, checked)
		}
	}
}
