package recipes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "My App")
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		files                       map[string]string
		name, version, requirements string
		notes                       []string
	}{
		"nearly nothing":       {map[string]string{"README": ""}, "my-app", "3.13.15", "", []string{"the newest known", "no requirements"}},
		"requirements.txt":     {map[string]string{"requirements.txt": "flask", ".python-version": "3.11\n"}, "my-app", "3.11.16", "requirements.txt", []string{".python-version wants Python 3.11; the recipe has 3.11.16"}},
		"full version":         {map[string]string{".python-version": "# pinned\n3.13.5\n", "runtime.txt": "python-3.13.5", "requirements.txt": ""}, "my-app", "3.13.5", "requirements.txt", nil},
		"unknown full version": {map[string]string{"runtime.txt": "python-3.12.4\n", "requirements.txt": ""}, "my-app", "3.12.4", "requirements.txt", nil},
		"directory of files":   {map[string]string{"requirements/base.txt": "a", "requirements/dev.txt": "b", "requirements.in": "c"}, "my-app", "3.13.15", "requirements/base.txt", []string{"not from requirements.in, requirements/dev.txt"}},
		"requirements.in":      {map[string]string{"requirements.in": "a"}, "my-app", "3.13.15", "requirements.in", nil},
		"pyproject":            {map[string]string{"pyproject.toml": "[project]\nname='Shop.API'\nrequires-python='>=3.9,<3.13'\ndependencies=['Flask>=3', 'x @ https://e/x']"}, "shop-api", "3.12.14", "", []string{"x is required from a URL; it is left out", "pyproject.toml wants Python >=3.9,<3.13"}},
		"compatible release":   {map[string]string{"pyproject.toml": "[project]\nname='x'\nrequires-python='~=3.11.1'"}, "x", "3.11.16", "", nil},
		"Pipfile":              {map[string]string{"Pipfile": "[requires]\npython_version='3.11'", "requirements.txt": "a"}, "my-app", "3.11.16", "requirements.txt", nil},
		"Poetry":               {map[string]string{"pyproject.toml": "[tool.poetry]\nname='p'\n[tool.poetry.dependencies]\npython='^3.9'\nflask='*'", "poetry.lock": ""}, "p", "3.13.15", "", []string{"python constraint, which is not read", "poetry export", "poetry.lock is not read"}},
		"only 3.12":            {map[string]string{"pyproject.toml": "[project]\nname='svc'\nrequires-python='>=3.12,<3.13'\ndependencies=['flask==3.0.3']"}, "svc", "3.12.14", "", []string{"the recipe has 3.12.14"}},
		"newer than tried":     {map[string]string{".python-version": "3.14", "requirements.txt": ""}, "my-app", "3.14.7", "requirements.txt", nil},
		"refused options":      {map[string]string{"requirements.txt": "--pre\nflask"}, "my-app", "3.13.15", "requirements.txt", []string{"--pre is not honoured"}},
		"odd names":            {map[string]string{"pyproject.toml": "[project]\nname='123'\ndependencies=[]"}, "123", "3.13.15", "", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, notes, err := Suggest(writeFiles(t, c.files))
			if err != nil {
				t.Fatal(err)
			}
			r, err := ParseRecipe("ampoule.yaml", text)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if r.Name != c.name || r.Python.Version != c.version || r.Requirements.File != c.requirements || !slices.Equal(r.Python.Optional, []string{"_tkinter"}) {
				t.Errorf("got\n%s", text)
			}
			if name == "pyproject" && !slices.Equal(r.Requirements.List, []string{"flask>=3"}) {
				t.Errorf("got %v", r.Requirements.List)
			}
			for _, note := range c.notes {
				if !strings.Contains(strings.Join(notes, "\n"), note) {
					t.Errorf("no note %q in %q", note, notes)
				}
			}
		})
	}
}

func TestSuggestDisagreements(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		files map[string]string
		want  []string
	}{
		"two files":       {map[string]string{".python-version": "3.11.2", "runtime.txt": "\npython-3.13.5"}, []string{"runtime.txt:2: ", "runtime.txt wants Python python-3.13.5", ".python-version wants Python 3.11.2"}},
		"two unknown":     {map[string]string{".python-version": "3.12.1", "runtime.txt": "python-3.12.2"}, []string{"3.12.1", "3.12.2"}},
		"project":         {map[string]string{".python-version": "3.11.2", "pyproject.toml": "[project]\nrequires-python='>=3.12'"}, []string{"pyproject.toml wants Python >=3.12", ".python-version wants Python 3.11.2"}},
		"Pipfile":         {map[string]string{"Pipfile": "[requires]\npython_full_version='3.11.2'", ".python-version": "3.13"}, []string{"Pipfile wants Python 3.11.2", ".python-version wants Python 3.13"}},
		"two in one":      {map[string]string{".python-version": "3.13.5\n3.11.2\n"}, []string{".python-version:2: ", "3.13.5", "3.11.2"}},
		"none known":      {map[string]string{".python-version": "3.98"}, []string{".python-version:1: .python-version wants Python 3.98, and no release that this Ampoule knows is that; the newest known are 3.11.16, 3.12.14, 3.13.15"}},
		"too old":         {map[string]string{"pyproject.toml": "[project]\nrequires-python='>=3.9,<3.11'"}, []string{"wants Python >=3.9,<3.11, and no release"}},
		"another Python":  {map[string]string{".python-version": "pypy3.10-7.3"}, []string{`"pypy3.10-7.3" is no version of CPython 3`}},
		"Python 2":        {map[string]string{"runtime.txt": "python-2.7.18"}, []string{"is no version of CPython 3"}},
		"odd specifier":   {map[string]string{"pyproject.toml": "[project]\nrequires-python='^3.9'"}, []string{"is no version of CPython 3"}},
		"broken TOML":     {map[string]string{"pyproject.toml": "[project]\nname="}, []string{"pyproject.toml:2:", "this is not TOML"}},
		"broken Pipfile":  {map[string]string{"Pipfile": "["}, []string{"Pipfile:1:", "this is not TOML"}},
		"none for them 2": {map[string]string{"pyproject.toml": "[project]\nrequires-python='>=4'"}, []string{"wants Python >=4"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := Suggest(writeFiles(t, c.files))
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}
