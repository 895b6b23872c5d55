package project

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes a repository of files and opens it at a directory of it.
func write(t *testing.T, at string, files map[string]string) *Repository {
	t.Helper()
	root := t.TempDir()
	for name, body := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{".git", at} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(filepath.Join(root, at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// said are statements as NAME:LINE:COLUMN SAYS, with = for one that stands for itself and
// ? for one that does not apply.
func said(all []Statement) []string {
	var lines []string
	for _, s := range all {
		mark := ""
		if s.Group == "" {
			mark += " ="
		}
		if !s.Applies {
			mark += " ?"
		}
		lines = append(lines, fmt.Sprintf("%s:%d:%d %s%s", s.Name, s.Line, s.Column, s.Says, mark))
	}
	return lines
}

// told are what was told, without the directory.
func told(r *Repository) []string {
	var lines []string
	for _, f := range r.Told() {
		lines = append(lines, strings.TrimPrefix(f.String(), r.dir+"/"))
	}
	return lines
}

func TestPythons(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at    string
		files map[string]string
		want  []string
		told  []string
	}{
		"nothing": {"", map[string]string{"README": "python 3.9"}, nil, nil},
		"pyenv": {
			"", map[string]string{".python-version": "# pinned\n3.13.5  3.12\n  system\npypy3.10-7.3.12\n3.13-dev\n3.13t\n3.11.2/envs/web\ncpython-3.12.1-linux-x86_64-gnu\ncpython@3.12\n>=3.11\nweb\n"},
			[]string{
				".python-version:2:1 3.13.5", ".python-version:2:9 3.12", ".python-version:4:1 pypy3.10-7.3.12", ".python-version:5:1 3.13-dev", ".python-version:6:1 3.13t",
				".python-version:7:1 3.11.2/envs/web", ".python-version:8:1 cpython-3.12.1-linux-x86_64-gnu", ".python-version:9:1 cpython@3.12", ".python-version:10:1 >=3.11",
			},
			[]string{".python-version:11:1: what it says about Python is not understood: web"},
		},
		"runtime.txt": {"", map[string]string{"runtime.txt": "\n python-3.13.x\n"}, []string{"runtime.txt:2:2 python-3.13.x ="}, nil},
		"Pipfile": {
			"", map[string]string{"Pipfile": "[requires]\npython_version = \"3.12\"\npython_full_version='3.12.4'\n", "Pipfile.lock": "{\n \"_meta\": {\"requires\": {\n  \"python_version\": \"3.12\"}, \"sources\": []},\n \"default\": {\"x\": {\"python_version\": \"2.7\"}}}"},
			[]string{"Pipfile:2:18 python_version 3.12 =", "Pipfile:3:21 python_full_version 3.12.4 =", "Pipfile.lock:3:22 python_version 3.12 ="}, nil,
		},
		"pyproject": {
			"", map[string]string{"pyproject.toml": "[project]\nrequires-python = \">=3.11\"\n[tool.poetry.dependencies]\npython = {version = \"^3.11\"}\n[tool.black]\ntarget-version = [\"py38\"]\n[tool.ruff]\ntarget-version = \"py38\"\n"},
			[]string{"pyproject.toml:2:19 requires-python >=3.11 =", "pyproject.toml:4:21 python ^3.11 ="}, nil,
		},
		"no TOML": {"", map[string]string{"pyproject.toml": "[project]\nrequires-python = \"\"x\n"}, nil, []string{"pyproject.toml:2:21: this is not TOML"}},
		"setup": {
			"", map[string]string{
				"setup.cfg": "[metadata]\nname = x\n[options]\npython_requires = >=3.11 # not older\n[tox:tox]\nenvlist = py311, py313\n",
				"setup.py":  "from setuptools import setup\n# python_requires='>=2'\n\"\"\"python_requires='>=2'\"\"\"\nPY = '>=3.11'\nsetup(name='x',\n  python_requires=PY,\n)",
			},
			[]string{"setup.cfg:4:19 python_requires >=3.11 =", "setup.py:4:6 python_requires >=3.11 =", "setup.cfg:6:11 tox py311", "setup.cfg:6:18 tox py313"}, nil,
		},
		"tox": {
			"", map[string]string{"tox.ini": "[tox]\nenvlist = py{312,313}-django{4,5}, lint\n  pypy310\n  py3.11\n[testenv:lint]\nbasepython = python3.13\n[testenv]\ncommands = python -m x\n"},
			[]string{"tox.ini:2:11 tox py312-django4", "tox.ini:2:11 tox py312-django5", "tox.ini:2:11 tox py313-django4", "tox.ini:2:11 tox py313-django5", "tox.ini:4:3 tox py3.11", "tox.ini:6:14 basepython python3.13"}, nil,
		},
		"asdf and mise": {
			"", map[string]string{".tool-versions": "nodejs 20\npython 3.13.5 3.12.1 # two\n", "mise.toml": "[tools]\nnode = \"20\"\npython = [\"3.13\", \"3.12\"]\n"},
			[]string{".tool-versions:2:8 python 3.13.5", ".tool-versions:2:15 python 3.12.1", "mise.toml:3:11 python 3.13", "mise.toml:3:19 python 3.12"}, nil,
		},
		"Dockerfile": {
			"", map[string]string{"Dockerfile": "# syntax=docker/dockerfile:1\nARG PYTHON_VERSION=3.13.5\nFROM --platform=linux/amd64 python:${PYTHON_VERSION}-slim AS build\nRUN echo \\\n  # python:2.7\n  FROM python:2.7\nFROM ghcr.io/astral-sh/uv:python3.12-bookworm\nFROM registry.example:5000/team/python:3.11.2@sha256:00\nFROM build\nFROM python\nFROM python:slim\nFROM node:20\nFROM python:$UNKNOWN\n"},
			[]string{"Dockerfile:2:5 FROM python:3.13.5-slim =", "Dockerfile:7:6 FROM ghcr.io/astral-sh/uv:python3.12-bookworm =", "Dockerfile:8:6 FROM registry.example:5000/team/python:3.11.2@sha256:00 ="}, nil,
		},
		"GitHub": {
			"", map[string]string{".github/workflows/test.yml": "jobs:\n  test:\n    strategy:\n      matrix:\n        python-version: [\"3.11\", '3.12', 3.13, pypy-3.10] # three\n        include:\n          - python-version: \"3.14\"\n    steps:\n      - run: |\n          python-version: 2.7\n      - uses: actions/setup-python@v5\n        with: {python-version: 3.10, cache: pip}\n      - with:\n          python-version: ${{ matrix.python-version }}\n      - with:\n          python-version: |\n            3.12.1\n            3.x\n      - with:\n          python-version:\n          - 3.9\n          cache: pip\n", ".github/workflows/more.yaml": "env:\n  PYTHON_VERSION: '>=3.11 <3.14'\n  x: [\n  ]\n  python: [\n    \"3.12\",\n    ]\n"},
			[]string{
				".github/workflows/more.yaml:2:20 python >=3.11 <3.14", ".github/workflows/more.yaml:6:6 python 3.12",
				".github/workflows/test.yml:5:27 python 3.11", ".github/workflows/test.yml:5:35 python 3.12", ".github/workflows/test.yml:5:42 python 3.13", ".github/workflows/test.yml:7:30 python 3.14",
				".github/workflows/test.yml:12:32 python 3.10", ".github/workflows/test.yml:17:13 python 3.12.1", ".github/workflows/test.yml:18:13 python 3.x", ".github/workflows/test.yml:21:13 python 3.9",
			}, nil,
		},
		"GitLab": {
			"", map[string]string{".gitlab-ci.yml": "image: python:3.13-slim\ntest:\n  image:\n    name: \"registry.example/python:3.12\"\n  parallel:\n    matrix:\n      - PYTHON_VERSION: [\"3.11\"]\n"},
			[]string{".gitlab-ci.yml:1:8 image python:3.13-slim", ".gitlab-ci.yml:4:11 image registry.example/python:3.12", ".gitlab-ci.yml:7:27 python 3.11"}, nil,
		},
		"lock files": {
			"", map[string]string{
				"uv.lock":     "version = 1\nrequires-python = \">=3.12\"\n[[package]]\nname = \"x\"\n",
				"poetry.lock": "[[package]]\nname = \"x\"\npython-versions = \">=2\"\n[metadata]\npython-versions = \"^3.11\"\n",
				"pdm.lock":    "[[metadata.targets]]\nrequires_python = \"==3.12.*\"\n[[metadata.targets]]\nrequires_python = \"==3.13.*\"\n",
				"pylock.toml": "lock-version = \"1.0\"\nrequires-python = \">=3.11\"\n",
			},
			[]string{"uv.lock:2:19 requires-python >=3.12 =", "pylock.toml:2:19 requires-python >=3.11 =", "poetry.lock:5:19 python-versions ^3.11 =", "pdm.lock:2:19 requires_python ==3.12.*", "pdm.lock:4:19 requires_python ==3.13.*"}, nil,
		},
		"above": {
			"services/web", map[string]string{
				".python-version": "3.12\n", "pyproject.toml": "[project]\nrequires-python='>=3.12'\n", "uv.lock": "requires-python='>=3.12'\n", "Dockerfile": "FROM python:3.9\n", "poetry.lock": "",
				".tool-versions": "python 3.11.1", "services/web/.tool-versions": "python 3.13.5", "setup.py": "setup(python_requires='>=3.8')",
				".github/workflows/a.yml": "python-version: 3.13", "services/other/Dockerfile": "FROM python:3.8",
			},
			[]string{
				"../../pyproject.toml:2:17 requires-python >=3.12 = ?", "../../.python-version:1:1 3.12", ".tool-versions:1:8 python 3.13.5", "../../uv.lock:1:17 requires-python >=3.12 =",
				"../../.github/workflows/a.yml:1:17 python 3.13",
			}, nil,
		},
		"workspace": {
			"api", map[string]string{"pyproject.toml": "[project]\nrequires-python='>=3.12'\n[tool.uv.workspace]\nmembers=['api']\n"},
			[]string{"../pyproject.toml:2:17 requires-python >=3.12 ="}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := write(t, c.at, c.files)
			if diff := cmp.Diff(c.want, said(r.Pythons())); diff != "" {
				t.Errorf("statements (-want +got):\n%s", diff)
			}
			got := strings.Join(told(r), "\n")
			if len(c.told) == 0 && got != "" {
				t.Errorf("told:\n%s", got)
			}
			for _, want := range c.told {
				if !strings.Contains(got, want) {
					t.Errorf("told %q, want %q", got, want)
				}
			}
		})
	}
}

func TestAdmits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		read    func(string) (Wanted, bool)
		text    string
		in, out string
		pinned  string
	}{
		{byNumber, "3.13.5", "3.13.5", "3.13.15", "3.13.5"},
		{byNumber, "3.13", "3.13.5", "3.12.5", ""},
		{byNumber, "3.1", "3.1.5", "3.13.5", ""},
		{byNumber, "3.13.x", "3.13.5", "3.12.5", ""},
		{byNumber, "3", "3.13.5", "2.7.18", ""},
		{byName, "pypy3.10-7.3", "", "3.10.1", ""},
		{byName, "python3.13", "3.13.5", "3.12.1", ""},
		{byName, "3.14.0rc1", "3.14.0rc1", "3.14.0", "3.14.0rc1"},
		{byRange, ">=3.12,<3.13", "3.12.0", "3.13.0", ""},
		{byRange, "==3.12.4", "3.12.4", "3.12.5", "3.12.4"},
		{byConstraint, "^3.11", "3.13.5", "3.10.0", ""},
		{byConstraint, "~3.11", "3.11.2", "3.12.0", ""},
		{byConstraint, "~3.11.2", "3.11.9", "3.12.0", ""},
		{byConstraint, "~3", "3.13.0", "4.0.0", ""},
		{byConstraint, "3.11", "3.11.9", "3.12.0", ""},
		{byConstraint, "3.11.*", "3.11.9", "3.12.0", ""},
		{byConstraint, ">=3.9 <3.13", "3.12.1", "3.13.0", ""},
		{byConstraint, ">=3.9,<3.13", "3.12.1", "3.13.0", ""},
		{byConstraint, "~2.7 || ^3.12", "3.12.1", "3.11.0", ""},
		{byConstraint, "*", "3.12.1", "", ""},
		{byConstraint, "3.x", "3.12.1", "2.7.0", ""},
		{byConstraint, "!=3.12.*", "3.13.1", "3.12.5", ""},
	} {
		w, ok := c.read(c.text)
		if !ok {
			t.Errorf("%q is not understood", c.text)
			continue
		}
		if c.in != "" && !w.Admits(c.in) || w.Admits(c.out) || w.Pinned != c.pinned {
			t.Errorf("%q admits %s: %v, %s: %v, pins %q", c.text, c.in, w.Admits(c.in), c.out, w.Admits(c.out), w.Pinned)
		}
	}
	for _, text := range []string{"", "x", "3.", "^", "3.13 or so", "||", "3.13|", "latest", "3.13.5.1.2", strings.Repeat("^3|", 1000) + "^3"} {
		for _, read := range []func(string) (Wanted, bool){byNumber, byName, byConstraint} {
			if w, ok := read(text); ok {
				t.Errorf("%.20q is taken for %v", text, w)
			}
		}
	}
}

// Nothing outside of the repository is read, and nothing that is no file.
func TestBounds(t *testing.T) {
	t.Parallel()
	r := write(t, "web", map[string]string{"setup.cfg": strings.Repeat("#", maxFile+1), "web/Pipfile": "[requires]\npython_version = \"\xff\"", "web/setup.cfg": "[options]\n" + strings.Repeat("#", maxFile)})
	outside := filepath.Join(t.TempDir(), ".python-version")
	if err := os.WriteFile(outside, []byte("3.9"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(r.dir, ".python-version")); err != nil {
		t.Fatal(err)
	}
	if got := said(r.Pythons()); got != nil {
		t.Errorf("got %v", got)
	}
	got := strings.Join(told(r), "\n")
	for _, want := range []string{".python-version: it cannot be read: ", "Pipfile: it is not UTF-8 text", "setup.cfg: it cannot be read: it has more than 1048576 bytes"} {
		if !strings.Contains(got, want) {
			t.Errorf("told %s, want %q", got, want)
		}
	}
}
