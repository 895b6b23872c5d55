//go:build docker

package endtoend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// service is a working tree with an application and its recipe.
type service struct {
	t   *testing.T
	dir string
}

func (s service) write(files map[string]string) {
	s.t.Helper()
	for name, text := range files {
		file := filepath.Join(s.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s service) git(args ...string) string {
	s.t.Helper()
	return run(s.t, "git", append([]string{"-C", s.dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
}

func (s service) recipe() string { return filepath.Join(s.dir, "ampoule.yaml") }

// built is what `ampoule build --output json` says.
type built struct {
	Ref    string `json:"ref"`
	Key    string `json:"key"`
	Reused bool   `json:"reused"`
	Logs   string `json:"logs"`
	Source struct {
		Commit   string   `json:"commit"`
		Dirty    bool     `json:"dirty"`
		Changed  []string `json:"changed"`
		Projects []struct{ Source, Name, Version string }
	} `json:"source"`
}

func (s service) build() built {
	s.t.Helper()
	var b built
	if err := json.Unmarshal([]byte(ampoule(s.t, "-f", s.recipe(), "build", "--output", "json")), &b); err != nil {
		s.t.Fatal(err)
	}
	return b
}

// layersOf are the layers of an artifact, by name.
func layersOf(t *testing.T, ref string) map[string]string {
	t.Helper()
	var info struct {
		Images []struct {
			Entrypoint, Command []string
			Layers              []struct{ Name, Digest string }
		}
	}
	if err := json.Unmarshal([]byte(ampoule(t, "inspect", ref, "--output", "json")), &info); err != nil || len(info.Images) != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	if len(info.Images[0].Entrypoint) != 3 || !slices.Equal(info.Images[0].Command, []string{"hello", "there"}) {
		t.Errorf("the image runs %q %q", info.Images[0].Entrypoint, info.Images[0].Command)
	}
	found := map[string]string{}
	for _, l := range info.Images[0].Layers {
		found[l.Name] = l.Digest
	}
	return found
}

const helloProject = `[build-system]
requires = ["setuptools>=61", "setuptools-scm"]
[project]
name = "Hello.App"
dynamic = ["version"]
dependencies = [
    "itsdangerous==2.2.0",
    "helper",
]
[project.scripts]
hello = "hello:main"
[tool.setuptools]
py-modules = ["hello"]
packages = ["greetings"]
[tool.setuptools_scm]
`

const helloRecipe = `apiVersion: ampoule/v1
name: %s
` + quickstartPython + `base: {debian: bookworm}
app: {source: ., members: [libs/helper], command: [hello, there]}
runtime:
  container: {base: {debian: bookworm}}
test:
  imports: [hello, helper]
`

func hello(greeting string) string {
	return "import sys\nfrom importlib.resources import files\nimport helper, itsdangerous\n" +
		"def main():\n    print(" + fmt.Sprintf("%q", greeting) + ", sys.argv[1], helper.answer, itsdangerous.__name__, files('greetings').joinpath('data.txt').read_text())\n"
}

// TestApplication builds first-party code into an artifact, and changes a line of it: its
// layer and the one with the metadata are others, and nothing else is, nor the lock.
func TestApplication(t *testing.T) {
	beside(t)
	name := fmt.Sprintf("hello-%d", time.Now().UnixNano())
	s := service{t, t.TempDir()}
	s.write(map[string]string{
		"ampoule.yaml": fmt.Sprintf(helloRecipe, name), "pyproject.toml": helloProject, "hello.py": hello("hello"),
		// Its name is known to its build alone.
		"libs/helper/setup.py": "from setuptools import setup\nsetup(name='helper', version='0.1', py_modules=['helper'])\n", "libs/helper/helper.py": "answer = 42\n",
		// setuptools takes what setuptools-scm calls tracked.
		"greetings/__init__.py": "", "greetings/data.txt": "data",
	})
	s.git("init", "--quiet", "--initial-branch=main")
	s.git("add", "--all")
	s.git("commit", "--quiet", "-m", "first")
	if _, errs, code := attempt(t, "-f", s.recipe(), "lock"); code != 3 || !strings.Contains(errs, "pyproject.toml:4:8: the version comes from tags, and no tag") {
		t.Fatalf("without a tag: code %d\n%s", code, errs)
	}
	s.git("tag", "v1.2.0")
	ampoule(t, "-f", s.recipe(), "lock")
	lock, err := os.ReadFile(filepath.Join(s.dir, "ampoule.lock"))
	if err != nil {
		t.Fatal(err)
	}
	s.git("add", "--all")
	s.git("commit", "--quiet", "-m", "lock")
	commit := s.git("rev-parse", "HEAD")
	first := s.build()
	if first.Source.Commit != commit || first.Source.Dirty || first.Reused || len(first.Source.Projects) != 2 ||
		first.Source.Projects[0].Name != "hello-app" || first.Source.Projects[0].Version != "1.2.1.dev1+g"+commit[:12] || first.Source.Projects[1].Version != "0.1" {
		t.Errorf("built %+v", first)
	}
	if got := ampoule(t, "run", first.Ref); got != "hello there 42 itsdangerous data" {
		t.Errorf("the image's command prints %q", got)
	}
	if told, err := os.ReadFile(filepath.Join(first.Logs, "source.json")); err != nil || !strings.Contains(string(told), commit) {
		t.Errorf("beside the logs: %s, %v", told, err)
	}
	saved := t.TempDir()
	ampoule(t, "save", first.Ref, "source", "--to", saved)
	if told, err := os.ReadFile(filepath.Join(saved, "source.json")); err != nil || !strings.Contains(string(told), commit) {
		t.Errorf("beside the artifact: %s, %v", told, err)
	}
	before := layersOf(t, first.Ref)
	if again := s.build(); !again.Reused || again.Ref != first.Ref || again.Source.Commit != commit {
		t.Errorf("again: %+v", again)
	}

	s.write(map[string]string{"hello.py": hello("goodbye")})
	begun := time.Now()
	second := s.build()
	t.Logf("a changed line was built in %s", time.Since(begun).Round(100*time.Millisecond))
	if !second.Source.Dirty || second.Source.Commit != commit || !slices.Equal(second.Source.Changed, []string{"hello.py"}) || second.Key == first.Key {
		t.Errorf("with a changed line: %+v", second)
	}
	if got := ampoule(t, "run", second.Ref); got != "goodbye there 42 itsdangerous data" {
		t.Errorf("the image's command prints %q", got)
	}
	after := layersOf(t, second.Ref)
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
	ampoule(t, "-f", s.recipe(), "lock")
	if now, err := os.ReadFile(filepath.Join(s.dir, "ampoule.lock")); err != nil || !bytes.Equal(now, lock) {
		t.Errorf("the lock changed, or %v", err)
	}

	for what, c := range map[string]struct {
		files map[string]string
		says  string
	}{
		"another dependency":         {map[string]string{"pyproject.toml": strings.Replace(helloProject, "2.2.0", "2.1.2", 1)}, "the lock answers itsdangerous==2.2.0, not itsdangerous==2.1.2"},
		"another one of the backend": {map[string]string{"libs/helper/setup.py": "from setuptools import setup\nsetup(name='helper', version='0.1', py_modules=['helper'], install_requires=['six'])\n"}, "the lock has that helper requires nothing, and its wheel requires six"},
		"no such program":            {map[string]string{"ampoule.yaml": strings.Replace(fmt.Sprintf(helloRecipe, name), "[hello, there]", "[helo]", 1)}, "ampoule.yaml:9:52: app.command: helo is in no directory of the image's PATH"},
	} {
		t.Run(what, func(t *testing.T) {
			changed := service{t, t.TempDir()}
			run(t, "cp", "-a", s.dir+"/.", changed.dir)
			changed.write(c.files)
			out, errs, code := attempt(t, "-f", changed.recipe(), "build")
			if code != 3 || !strings.Contains(errs, c.says) || !strings.Contains(errs, "hint: ") || out != "" {
				t.Errorf("code %d\n%s", code, last(errs, 4000))
			}
		})
	}
}
