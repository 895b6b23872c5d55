package recipes

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// goodLock is a lock of goodRecipe with one package of each kind.
func goodLock() *Lock {
	deb := func(name, version string) Deb {
		return Deb{Name: name, Version: version, Arch: "amd64", File: "pool/main/x/" + name + "_1_amd64.deb", SHA256: hash}
	}
	return &Lock{
		APIVersion: APIVersion,
		Answers:    Answers{Recipe: []string{"base.debian: bookworm", "python.version: 3.13.5"}, Requirements: []string{"flask>=3", `psycopg2; sys_platform == "linux"`}},
		Python:     LockedPython{Version: "3.13.5", File: "Python-3.13.5.tar.xz", SHA256: hash},
		Debian:     map[string]Suite{"bookworm": {deb("zlib1g", "1:1.2.13.dfsg-1"), deb("libc6", "2.36-9+deb12u10"), deb("gcc", "12"), deb("libpq-dev", "15.0~rc1")}},
		Base:       LockedBase{Suite: "bookworm", Packages: []string{"zlib1g", "libc6"}},
		Toolchain:  []string{"gcc"},
		Targets: map[string]LockedBase{
			"container": {Image: "registry.example/a@" + digest},
			"vm":        {Suite: "bookworm", Packages: []string{"libc6"}},
		},
		Requirements: []string{"psycopg2==2.9.10", "flask==3.1.0"},
		Dists: []Dist{
			{Name: "psycopg2", Version: "2.9.10", File: "psycopg2-2.9.10.tar.gz", SHA256: hash, Build: &BuildSet{
				Requires: []string{"setuptools>=40", "wheel"}, Added: []string{"cython<4"}, Dynamic: []string{}, Dists: []string{"wheel==0.45", "setuptools==80.1"},
				Packages: []string{"libpq-dev"}, Env: map[string]string{"B": "", "A": "x y"},
				ConfigSettings: map[string]Setting{"setup-args": {List: []string{"-Dx=y", "1"}}, "builddir": {Text: "b"}},
				Patches:        []Patch{{File: "patches/z.patch", SHA256: hash}, {File: "overrides/a.patch", SHA256: hash}},
				Crates:         []Crate{{Name: "itoa", Version: "1.0.15", SHA256: hash}, {Name: "anyhow", Version: "1.0.75+x.1", SHA256: hash}},
				Overrides:      []Applied{{Name: "psycopg2", Revision: "3", Why: "pg_config tells"}},
			}},
			{Name: "flask", Version: "3.1.0", File: "Flask-3.1.0-py3-none-any.whl", SHA256: strings.Repeat("1", 64)},
			{Name: "setuptools", Version: "80.1", File: "setuptools-80.1-py3-none-any.whl", SHA256: strings.Repeat("12345e67", 8)},
			{Name: "wheel", Version: "0.45", File: "wheel-0.45-py3-none-any.whl", SHA256: hash},
		},
	}
}

const goodLockText = "# Written by `ampoule lock`. Change the recipe or the requirements and run it again.\n" + `apiVersion: ampoule/v1
answers:
  recipe:
    - "base.debian: bookworm"
    - "python.version: 3.13.5"
  requirements:
    - "flask>=3"
    - "psycopg2; sys_platform == \"linux\""
python:
  version: 3.13.5
  file: Python-3.13.5.tar.xz
  sha256: HASH
base:
  suite: bookworm
  packages:
    - libc6
    - zlib1g
toolchain:
  - gcc
targets:
  container:
    image: "registry.example/a@sha256:HASH"
  vm:
    suite: bookworm
    packages:
      - libc6
debian:
  bookworm:
    - {name: gcc, version: "12", arch: amd64, file: pool/main/x/gcc_1_amd64.deb, sha256: HASH}
    - {name: libc6, version: 2.36-9+deb12u10, arch: amd64, file: pool/main/x/libc6_1_amd64.deb, sha256: HASH}
    - {name: libpq-dev, version: 15.0~rc1, arch: amd64, file: pool/main/x/libpq-dev_1_amd64.deb, sha256: HASH}
    - {name: zlib1g, version: "1:1.2.13.dfsg-1", arch: amd64, file: pool/main/x/zlib1g_1_amd64.deb, sha256: HASH}
requirements:
  - flask==3.1.0
  - psycopg2==2.9.10
dists:
  - {name: flask, version: 3.1.0, file: Flask-3.1.0-py3-none-any.whl, sha256: "1111111111111111111111111111111111111111111111111111111111111111"}
  - name: psycopg2
    version: 2.9.10
    file: psycopg2-2.9.10.tar.gz
    sha256: HASH
    build:
      requires: ["setuptools>=40", wheel]
      added: ["cython<4"]
      dynamic: []
      dists: [setuptools==80.1, wheel==0.45]
      packages: [libpq-dev]
      env:
        A: "x y"
        B: ""
      config-settings:
        builddir: b
        setup-args: ["-Dx=y", "1"]
      patches:
        - {file: patches/z.patch, sha256: HASH}
        - {file: overrides/a.patch, sha256: HASH}
      crates:
        - {name: anyhow, version: 1.0.75+x.1, sha256: HASH}
        - {name: itoa, version: 1.0.15, sha256: HASH}
      overrides:
        - {name: psycopg2, revision: "3", why: "pg_config tells"}
  - {name: setuptools, version: "80.1", file: setuptools-80.1-py3-none-any.whl, sha256: 12345e6712345e6712345e6712345e6712345e6712345e6712345e6712345e67}
  - {name: wheel, version: "0.45", file: wheel-0.45-py3-none-any.whl, sha256: HASH}
`

func TestEncodeLock(t *testing.T) {
	t.Parallel()
	want := strings.ReplaceAll(goodLockText, "HASH", hash)
	got := string(goodLock().Encode())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	l, err := ParseLock("ampoule.lock", []byte(got))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, string(l.Encode())); diff != "" {
		t.Errorf("encoded again (-first +second):\n%s", diff)
	}
	if d, ok := l.Dist("psycopg2==2.9.10"); !ok || !slices.Equal(d.Build.Dists, []string{"setuptools==80.1", "wheel==0.45"}) {
		t.Errorf("got %v", d)
	}
}

// The source of a dist is written where it is not the public index.
func TestLockSource(t *testing.T) {
	t.Parallel()
	l := goodLock()
	before := string(l.Encode())
	l.Dists[0].Source, l.Dists[3].Source = "company", "my.other"
	text := string(l.Encode())
	for _, want := range []string{"    sha256: " + hash + "\n    source: company\n    build:", "sha256: " + hash + ", source: my.other}\n"} {
		if !strings.Contains(text, want) || strings.Contains(before, "source:") {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	got, err := ParseLock("ampoule.lock", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if d, _ := got.Dist("psycopg2==2.9.10"); d.Source != "company" {
		t.Errorf("got %+v", d)
	}
	if _, err := ParseLock("ampoule.lock", []byte(strings.Replace(text, "my.other", "https://u:p@h/", 1))); err == nil {
		t.Error("an address is the name of a source")
	}
}

func TestLockOrderMeansNothing(t *testing.T) {
	t.Parallel()
	l := goodLock()
	slices.Reverse(l.Dists)
	slices.Reverse(l.Debian["bookworm"])
	slices.Reverse(l.Requirements)
	if diff := cmp.Diff(string(goodLock().Encode()), string(l.Encode())); diff != "" {
		t.Error(diff)
	}
}

func TestScalar(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a": "a", "1.0": `"1.0"`, "1": `"1"`, "1e5": `"1e5"`, "3.13.5": "3.13.5", "true": `"true"`, "No": `"No"`, "": `""`, "0x1f": `"0x1f"`,
		"a: b": `"a: b"`, "a #b": `"a #b"`, "-a": `"-a"`, "2026-01-02": `"2026-01-02"`, "é<": `"é<"`, `a"b`: `"a\"b"`, "null": `"null"`, "~": `"~"`,
	} {
		if got := scalar(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

func TestLockFaults(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(l *Lock)
		want   string
	}{
		"dist missing":         {func(l *Lock) { l.Dists = l.Dists[:3] }, "the lock has no dist wheel==0.45"},
		"dist unused":          {func(l *Lock) { l.Requirements = l.Requirements[:1] }, "nothing uses the dist flask==3.1.0"},
		"dist twice":           {func(l *Lock) { l.Dists = append(l.Dists, l.Dists[1]) }, "flask==3.1.0 stands twice"},
		"no build set":         {func(l *Lock) { l.Dists[0].Build = nil; l.Dists = l.Dists[:2] }, "no build requirements recorded"},
		"wheel with build set": {func(l *Lock) { l.Dists[1].Build = &BuildSet{} }, "has build requirements"},
		"file of another":      {func(l *Lock) { l.Dists[1].File = "flask_x-3.1.0-py3-none-any.whl" }, "is not a file of flask"},
		"odd file":             {func(l *Lock) { l.Dists[1].File = "../flask-3.1.0-py3-none-any.whl" }, "is not the plain name"},
		"cycle": {func(l *Lock) {
			l.Dists[0].Build.Dists = []string{"psycopg2==2.9.10", "setuptools==80.1", "wheel==0.45"}
		}, "building psycopg2==2.9.10 takes"},
		"two versions": {func(l *Lock) {
			l.Dists = append(l.Dists, Dist{Name: "flask", Version: "2", File: "flask-2-py3-none-any.whl", SHA256: hash})
			l.Requirements = append(l.Requirements, "flask==2")
		}, "cannot be installed together"},
		"own package missing": {func(l *Lock) { l.Dists[0].Build.Packages = []string{"make", "libpq-dev"} }, "the lock has no package make of bookworm"},
		"own package unused":  {func(l *Lock) { l.Dists[0].Build.Packages = nil }, "nothing uses the package libpq-dev"},
		"crate":               {func(l *Lock) { l.Dists[0].Build.Crates[0].Name = "../x" }, "the name of a crate"},
		"crate's version":     {func(l *Lock) { l.Dists[0].Build.Crates[0].Version = "1.0/.." }, "is not a version"},
		"patch":               {func(l *Lock) { l.Dists[0].Build.Patches[0].File = "x/../../y.patch" }, "ends in .patch"},
		"variable":            {func(l *Lock) { l.Dists[0].Build.Env["LD_PRELOAD"] = "x" }, "a variable that a recipe may set"},
		"package missing":     {func(l *Lock) { l.Toolchain = append(l.Toolchain, "make") }, "the lock has no package make of bookworm"},
		"package unused":      {func(l *Lock) { l.Toolchain = nil }, "nothing uses the package gcc of bookworm"},
		"package twice":       {func(l *Lock) { l.Debian["bookworm"] = append(l.Debian["bookworm"], l.Debian["bookworm"][0]) }, "bookworm has zlib1g twice"},
		"bad hash":            {func(l *Lock) { l.Dists[3].SHA256 = hash[1:] }, "is not a sha256"},
		"bad path":            {func(l *Lock) { l.Debian["bookworm"][0].File = "pool/../x.deb" }, "clean path"},
		"absolute path":       {func(l *Lock) { l.Debian["bookworm"][0].File = "/pool/x.deb" }, "clean path"},
		"architecture":        {func(l *Lock) { l.Debian["bookworm"][0].Arch = "arm64" }, "architecture"},
		"image by tag":        {func(l *Lock) { l.Targets["container"] = LockedBase{Image: "a:1"} }, "an image by digest"},
		"empty base":          {func(l *Lock) { l.Targets["container"] = LockedBase{} }, "targets.container"},
		"odd target":          {func(l *Lock) { l.Targets["lambda"] = l.Targets["vm"] }, "a runtime target"},
		"archive of other":    {func(l *Lock) { l.Python.File = "Python-3.13.4.tar.xz" }, "is not the archive of CPython 3.13.5"},
		"flags missing":       {func(l *Lock) { l.Python.Version, l.Python.File = "3.12.1", "Python-3.12.1.tgz" }, "flags of CPython 3.12.1 are not recorded"},
		"no answers":          {func(l *Lock) { l.Answers.Recipe = nil }, "answers.recipe is missing"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := goodLock()
			c.change(l)
			_, err := ParseLock("ampoule.lock", l.Encode())
			faults, ok := errors.AsType[Faults](err)
			if !ok || !strings.Contains(err.Error(), c.want) || faults[0].Line < 2 || !strings.Contains(faults.Hint(), "ampoule lock") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestLockIsStrict(t *testing.T) {
	t.Parallel()
	text := string(goodLock().Encode())
	for name, change := range map[string][2]string{
		"unknown key":     {"toolchain:", "tools: []\ntoolchain:"},
		"unknown in dist": {"{name: flask,", "{name: flask, url: x,"},
		"duplicate":       {"toolchain:", "apiVersion: ampoule/v1\ntoolchain:"},
		"second document": {"toolchain:", "---\ntoolchain:"},
		"missing":         {"version: 3.1.0, ", ""},
		"empty":           {text, ""},
	} {
		changed := strings.Replace(text, change[0], change[1], 1)
		if changed == text {
			t.Errorf("%s: nothing changed", name)
		}
		if _, err := ParseLock("l", []byte(changed)); err == nil {
			t.Errorf("%s: no fault", name)
		}
	}
}

func TestDebs(t *testing.T) {
	t.Parallel()
	l := goodLock()
	debs, err := l.Debs("bookworm", l.Base.Packages, l.Toolchain, []string{"libc6"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range debs {
		names = append(names, d.Name)
	}
	if diff := cmp.Diff([]string{"gcc", "libc6", "zlib1g"}, names); diff != "" {
		t.Error(diff)
	}
	if _, err := l.Debs("trixie", l.Toolchain); err == nil || !strings.Contains(err.Error(), "gcc") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseLock(f *testing.F) {
	f.Add(goodLock().Encode())
	f.Add([]byte("apiVersion: ampoule/v1\nanswers: {recipe: [a]}\npython: {version: 3.13.5, file: Python-3.13.5.tgz, sha256: " + hash + "}\nbase: {image: a@" + digest + "}\ntargets: {vm: {image: a@" + digest + "}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseLock("l", data)
		if err != nil {
			return
		}
		first := l.Encode()
		again, err := ParseLock("l", first)
		if err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		if diff := cmp.Diff(string(first), string(again.Encode())); diff != "" {
			t.Fatal(diff)
		}
	})
}
