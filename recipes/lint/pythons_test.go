package lint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/recipes"
)

const begin = `apiVersion: ampoule/v1
name: web
python:
  version: 3.13.15
`

const rest = "base: {debian: bookworm}\nruntime: {container: {base: {debian: bookworm}}}\n"

func TestPythons(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		// except is what the recipe excepts.
		except string
		// faults are parts of the error, a list of lines; told are parts of what is told.
		faults, told []string
	}{
		"nothing":           {nil, "", nil, nil},
		"agree":             {map[string]string{".python-version": "3.13", "Dockerfile": "FROM python:3.13.15-slim", "pyproject.toml": "[project]\nrequires-python='>=3.11'"}, "", nil, nil},
		"another release":   {map[string]string{".python-version": "3.13.5"}, "", []string{".python-version:1:1: .python-version wants Python 3.13.5, and ", "ampoule.yaml:4:12 has 3.13.15"}, nil},
		"another series":    {map[string]string{"Dockerfile": "FROM python:3.11-slim"}, "", []string{"Dockerfile:1:6: FROM python:3.11-slim wants Python 3.11, and ", "except:\n    - {files: [Dockerfile], why: it is about another Python}"}, nil},
		"a range":           {map[string]string{"setup.py": "setup(python_requires='>=3.11,<3.12')"}, "", []string{"setup.py:1:23: setup.py wants Python >=3.11,<3.12"}, nil},
		"another Python":    {map[string]string{".python-version": "pypy3.10"}, "", []string{"wants Python pypy3.10"}, nil},
		"all at once":       {map[string]string{".python-version": "3.12", "runtime.txt": "python-3.11.x"}, "", []string{".python-version:1:1:", "runtime.txt:1:1:"}, nil},
		"a matrix that has": {map[string]string{".github/workflows/a.yml": "python-version: ['3.11', '3.12', '3.13']", "tox.ini": "[tox]\nenvlist=py311,py313"}, "", nil, nil},
		"a matrix without":  {map[string]string{".github/workflows/a.yml": "python-version: ['3.11', '3.12']", ".github/workflows/b.yml": "python-version: '3.12'"}, "", []string{".github/workflows/a.yml:1:19: .github/workflows/a.yml wants Python 3.11 or 3.12, and ", "files: [.github/workflows/a.yml, .github/workflows/b.yml]"}, nil},
		"tox without":       {map[string]string{"tox.ini": "[tox]\nenvlist=py311,py312"}, "", []string{"tox.ini:2:9: tox py311 wants Python 3.11 or 3.12"}, nil},
		"excepted":          {map[string]string{"Dockerfile": "FROM python:3.11-slim"}, "{files: [Dockerfile], why: documentation}", nil, nil},
		"excepted pattern":  {map[string]string{"docker/Dockerfile": "FROM python:3.11-slim"}, "{files: [docker/*], why: documentation}", nil, nil},
		"excepted one":      {map[string]string{".github/workflows/a.yml": "python-version: '3.13'", ".github/workflows/b.yml": "python-version: '3.12'"}, "{files: [.github/workflows/a.yml], why: documentation}", []string{"b.yml:1:18: "}, nil},
		"excepted nothing":  {nil, "{files: [docs/Dockerfile], why: documentation}", []string{"ampoule.yaml:5:", "docs/Dockerfile says nothing about the version of Python"}, nil},
		"not understood":    {map[string]string{"runtime.txt": "python-x"}, "", nil, []string{"runtime.txt:1:1: what it says about Python is not understood: python-x"}},
		"other recipes":     {map[string]string{"old.yaml": strings.Replace(begin, "3.13.15", "3.11.2", 1) + rest, "same.yaml": begin + rest, "broken.yaml": "apiVersion: ampoule/v1\nname: ["}, "", nil, []string{"old.yaml:4:12: this recipe has Python 3.11.2, and "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			recipe := begin
			if c.except != "" {
				recipe += "  except: [" + c.except + "]\n"
			}
			files := map[string]string{"ampoule.yaml": recipe + rest, ".git": ""}
			for file, body := range c.files {
				files[file] = body
			}
			for file, body := range files {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r, err := recipes.ReadRecipe(filepath.Join(dir, "ampoule.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			told, err := Pythons(r)
			var faults recipes.Faults
			if err != nil && !errors.As(err, &faults) {
				t.Fatal(err)
			}
			same(t, "faults", faults, c.faults)
			same(t, "told", told, c.told)
		})
	}
}

// same compares faults with the parts that their text and their hint must have.
func same(t *testing.T, what string, got recipes.Faults, want []string) {
	t.Helper()
	text := got.Error() + "\n" + got.Hint()
	if len(want) == 0 && len(got) > 0 {
		t.Errorf("%s: %s", what, text)
	}
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("%s: no %q in\n%s", what, part, text)
		}
	}
}

// What a hint says can be pasted.
func TestHint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, body := range map[string]string{"ampoule.yaml": begin + rest, "Dockerfile": "FROM python:3.11"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := recipes.ReadRecipe(filepath.Join(dir, "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Pythons(r)
	var faults recipes.Faults
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(faults.Hint(), "\n")
	pasted := "apiVersion: ampoule/v1\nname: web\n" + block + "\n" + rest
	if err := os.WriteFile(r.File(), []byte(pasted), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err = recipes.ReadRecipe(r.File()); err != nil {
		t.Fatalf("%v\n%s", err, pasted)
	}
	if _, err := Pythons(r); err != nil {
		t.Error(err)
	}
}
