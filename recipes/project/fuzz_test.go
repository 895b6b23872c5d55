package project

import (
	"slices"
	"testing"
)

// FuzzReaders gives foreign text to every reader: none hangs or breaks, and every place
// that is told is in the file.
func FuzzReaders(f *testing.F) {
	for _, seed := range []string{
		"3.13.5\npython-3.13.x\n", "[requires]\npython_version='3.12'\n[packages]\nx={version='^1',extras=['a']}\n",
		"[project]\nname='x'\nrequires-python='>=3.12'\ndependencies=['a>=1']\n[tool.poetry.dependencies]\npython='^3.9'\n",
		"[tox]\nenvlist = py{311,312}-{a,b}\n[testenv]\nbasepython=python3\n[options]\ninstall_requires =\n  a\n",
		"from setuptools import setup\nX = ['a', \"\"\"b\"\"\" 'c']\nsetup(name='x', install_requires=X, extras_require={'a': [1]}, **{'python_requires': '>=3'})\n",
		"ARG A=3.13\nFROM python:${A} AS x\nRUN apt-get update && apt-get install -y \\\n  # why\n  libpq-dev; pip install -r a.txt\nRUN <<EOF\napt-get install x\nEOF\nCMD [\"a\", \"b\"]\n",
		"on: x\njobs:\n  a:\n    python-version: [3.12,\n     '3.13']\n    image: python:3.12\n    run: |\n      x\n",
		"{\"_meta\": {\"requires\": {\"python_version\": \"3.12\"}}, \"default\": {\"a\": {}}}",
		"a>=1\n-r b.txt\n-e .\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := &Repository{dir: "d"}
		file := text{name: "f", shown: "f", body: body}
		all := slices.Concat(pythonVersion(r, file), r.runtime(file), r.pipfile(file), toolVersions(r, file), mise(r, file), r.requiresPython(file, true), r.tox(file), r.pipfileLock(file))
		d := readDockerfile(file)
		s := &yamlScan{text: file}
		all = append(all, d.pythons()...)
		all = append(all, s.scan()...)
		for _, installed := range slices.Concat(d.Debian(), d.Pip()) {
			if installed.Line < 1 || installed.Column < 1 || installed.Name == "" {
				t.Errorf("%+v", installed)
			}
		}
		d.Command()
		var m Metadata
		r.pyproject(file, &m)
		setupCfg(file, &m)
		m = Metadata{}
		setupPy(file, &m)
		m = Metadata{}
		r.pipfilePackages(file, &m)
		for _, statement := range all {
			if statement.Line < 1 || statement.Column < 1 || statement.Text == "" {
				t.Errorf("%+v", statement)
			}
		}
	})
}
