package project

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// texts are the texts of what is required; what has no form as a requirement stands as
// it is said, in angle brackets.
func texts(all []Required) []string {
	var lines []string
	for _, r := range all {
		if r.Text == "" {
			lines = append(lines, "<"+r.Says+">")
			continue
		}
		lines = append(lines, r.Text)
	}
	return lines
}

func names(all []Named) []string {
	var lines []string
	for _, n := range all {
		lines = append(lines, n.Name)
	}
	return lines
}

// A setup.py is read without running it: literals, and names that stand for them.
func TestSetup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body                       string
		project                    string
		requires, extras, computed []string
	}{
		"literals":  {"import x\nsetup(\n  name=\"a\" 'b', # c\n  install_requires=['a>=1', \"\"\"b\n  c\"\"\", r'd'],\n  extras_require={'e': ['f'], \"g\": [\"h\"]})", "ab", []string{"a>=1", "b", "c", "d"}, []string{"e", "g"}, nil},
		"names":     {"REQ = (\n 'a',\n 'b')\nNAME = 'n'\nsetuptools.setup(name=NAME, install_requires=REQ)", "n", []string{"a", "b"}, nil, nil},
		"computed":  {"setup(name=f'x{y}', install_requires=read('r'), extras_require=make())", "", nil, nil, []string{"install_requires", "extras_require"}},
		"added":     {"setup(install_requires=['a'] + more)", "", nil, nil, []string{"install_requires"}},
		"grows":     {"REQ = ['a']\nif x:\n    REQ.append('b')\nsetup(install_requires=REQ)", "", nil, nil, []string{"install_requires"}},
		"grows by":  {"REQ = ['a']\nREQ += ['b']\nsetup(install_requires=REQ)", "", nil, nil, []string{"install_requires"}},
		"changed":   {"REQ = ['a']\nREQ = read()\nsetup(install_requires=REQ)", "", nil, nil, []string{"install_requires"}},
		"a mapping": {"setup(**{'name': 'm', 'install_requires': ['a']})", "m", []string{"a"}, nil, nil},
		"nested":    {"setup(ext_modules=[Extension(name='other', install_requires=['x'])], name='mine')", "mine", nil, nil, nil},
		"behind":    {"setup(name='mine')\nother(name='x', install_requires=['y'])", "mine", nil, nil, nil},
		"quoted":    {"'''setup(name='x')'''\n# setup(name='y')\n", "", nil, nil, nil},
		"broken":    {"setup(name='x\ninstall_requires=['a'", "", nil, nil, []string{"install_requires"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var m Metadata
			setupPy(text{name: "setup.py", body: c.body}, &m)
			got := map[string][]string{"name": {m.Name}, "requires": texts(m.Requires), "extras": names(m.Extras), "computed": names(m.Computed)}
			want := map[string][]string{"name": {c.project}, "requires": c.requires, "extras": c.extras, "computed": c.computed}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	r := write(t, "", map[string]string{"pyproject.toml": `[project]
name = "Shop"
dependencies = ["a>=1", "b"]
[project.optional-dependencies]
s3 = ["c", "d"]
[dependency-groups]
test = ["e", {include-group = "lint"}]
[tool.uv.sources]
B = {workspace = true}
a = {index = "x"}
[build-system]
build-backend = "hatchling.build"
`, "setup.py": "setup(name='other', install_requires=['z'])"})
	m := r.Metadata()
	if m.Name != "Shop" || m.From != "pyproject.toml" || m.Code == nil || m.Code.Line != 12 {
		t.Errorf("%+v", m)
	}
	got := [][]string{texts(m.Requires), names(m.Extras), names(m.Groups), names(m.Direct)}
	if diff := cmp.Diff([][]string{{"a>=1", "b"}, {"s3"}, {"test"}, {"b"}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A project may say that it is no distribution.
func TestNoDistribution(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"[tool.poetry]\npackage-mode = false", "[tool.uv]\npackage = false"} {
		r := write(t, "", map[string]string{"pyproject.toml": "[project]\nname = \"x\"\n[build-system]\nbuild-backend = \"y\"\n" + line})
		if m := r.Metadata(); m.Code != nil || m.Name != "x" {
			t.Errorf("%s: %+v", line, m)
		}
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	r := write(t, "", map[string]string{"pyproject.toml": `[tool.poetry.dependencies]
python = "^3.11"
a = "^1.2.3"
b = "^0.2.3"
c = "^0.0.3"
d = "~1.2"
e = "1.2"
f = ">=1, <2"
g = "*"
h = {version = "^1", extras = ["x", "y"], optional = true}
i = {git = "https://e/i"}
j = [{version = "1", python = "<3.12"}, {version = "2", python = ">=3.12"}]
k = {version = "1.5", markers = "sys_platform == 'linux'"}
l = "^1 || ^2"
`})
	want := []string{"a>=1.2.3,<2", "b>=0.2.3,<0.3", "c>=0.0.3,<0.0.4", "d>=1.2,<1.3", "e==1.2", "f>=1,<2", "g", "h[x,y]>=1,<2", "<i = git https://e/i>", "<j = 2 python >=3.12>", "k==1.5 ; sys_platform == 'linux'", "<l = ^1 || ^2>"}
	if diff := cmp.Diff(want, texts(r.Metadata().Requires)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	d := readDockerfile(text{name: "Dockerfile", shown: "Dockerfile", body: `FROM python:3.13-slim-trixie
RUN apt-get update \
 && apt-get -qq install -y --no-install-recommends -t stable \
    libpq-dev=15.1 "libmagic1" \
    # why
    libxml2:amd64 ${MORE} && rm -rf /var/lib/apt/lists/*; echo install nothing
RUN apt install curl; /usr/bin/apt-get install git
RUN <<EOF
apt-get install -y file
pip install -r requirements.txt
EOF
RUN --mount=type=cache,target=/x python -m pip --no-cache-dir install -c c.txt -r /app/base.txt 'gunicorn>=20' -e . --index-url https://e
RUN uv pip install --system flask==3.0
RUN pip uninstall x
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "x"]
`})
	var debian, pip []string
	for _, p := range d.Debian() {
		debian = append(debian, p.Name)
	}
	for _, p := range d.Pip() {
		pip = append(pip, p.Name)
	}
	if diff := cmp.Diff([]string{"libpq-dev", "libmagic1", "libxml2", "curl", "git", "file"}, debian); diff != "" {
		t.Errorf("Debian (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"-r requirements.txt", "-r /app/base.txt", "gunicorn>=20", "-e .", "flask==3.0"}, pip); diff != "" {
		t.Errorf("pip (-want +got):\n%s", diff)
	}
	if at := d.Debian()[1].String(); at != "Dockerfile:4:20" {
		t.Errorf("libmagic1 stands at %s", at)
	}
	if c, ok := d.Command(); !ok || len(c.Args) != 3 || c.Line != 16 {
		t.Errorf("%+v", c)
	}
	argument := readDockerfile(text{body: "ARG BASE=python:3.13-slim-bullseye\nFROM ${BASE}\n"})
	if d.Suite() != "trixie" || argument.Suite() != "bullseye" {
		t.Errorf("suites %q, %q", d.Suite(), argument.Suite())
	}
}

// Lists that stand in variables are what is installed, and values of options are not.
func TestDockerfileLists(t *testing.T) {
	t.Parallel()
	d := readDockerfile(text{name: "Dockerfile", shown: "Dockerfile", body: `ARG BUILD="\
  gcc \
  # for psycopg
  libpq-dev"
ENV RUNTIME='libmagic1 file' X="y"
RUN apt-get install -y ${BUILD} $RUNTIME $MORE && deps="libxml2-dev libxslt1-dev" && apt-get install $deps
RUN uv pip install --system --python-preference system --index-strategy unsafe-best-match --requirements a.txt
RUN pip install "x[${EXTRA}] @ https://e/x.whl" "y @ https://e/y.whl"
`})
	var debian, pip []string
	for _, p := range d.Debian() {
		debian = append(debian, p.String()+" "+p.Name)
	}
	for _, p := range d.Pip() {
		pip = append(pip, p.Name)
	}
	if diff := cmp.Diff([]string{"Dockerfile:2:3 gcc", "Dockerfile:4:3 libpq-dev", "Dockerfile:5:5 libmagic1", "Dockerfile:5:24 file", "Dockerfile:6:51 libxml2-dev", "Dockerfile:6:69 libxslt1-dev"}, debian); diff != "" {
		t.Errorf("Debian (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"-r a.txt", "y @ https://e/y.whl"}, pip); diff != "" {
		t.Errorf("pip (-want +got):\n%s", diff)
	}
}

func TestRequirementFiles(t *testing.T) {
	t.Parallel()
	r := write(t, "", map[string]string{
		"requirements.txt": "-r requirements/base.txt\n", "requirements/base.txt": "Flask>=3\n-r more.txt\n-c limits.txt\n", "requirements/more.txt": "x_y==1 # z\n-r base.txt\n", "requirements/dev.in": "pytest",
		"requirements/base.in": "flask", "notes.txt": "", "dev-requirements.txt": "-e .\n", ".venv/requirements.txt": "",
	})
	if diff := cmp.Diff([]string{"dev-requirements.txt", "requirements.txt", "requirements/base.txt", "requirements/dev.in", "requirements/more.txt"}, r.RequirementFiles()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"flask", "x-y"}, r.Names("requirements.txt")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if at, alone := r.OwnCode("dev-requirements.txt"); len(at) != 1 || !alone {
		t.Errorf("%v, %v", at, alone)
	}
}
