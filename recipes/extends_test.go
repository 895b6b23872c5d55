package recipes

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// writeFiles writes files below a new directory and returns it.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const sharedFile = `apiVersion: ampoule/v1
python:
  version: 3.13.5
  configure: [--enable-optimizations, --with-lto]
base: {debian: bookworm}
runtime:
  vm: {glibc: "2.36", host: [libcuda.so.1]}
packages:
  psycopg2: {build: [libpq-dev], env: {A: "1"}}
`

const webFile = `extends: ../python.yaml
name: web
python: {configure: [--with-lto]}
base: {image: registry.example/base@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}
requirements: [flask]
runtime:
  vm: {cpu: x86-64-v2}
  container: {base: {debian: bookworm}}
packages:
  psycopg2: {env: {B: "2"}}
  lxml: {build: [libxml2-dev]}
`

// A recipe that extends another file means what the same recipe means written whole, and
// has its key.
func TestExtends(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"python.yaml": sharedFile, "web/ampoule.yaml": webFile})
	got, err := ReadRecipe(filepath.Join(dir, "web", "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := ParseRecipe("ampoule.yaml", []byte(`apiVersion: ampoule/v1
name: web
python: {version: 3.13.5, configure: [--with-lto]}
base: {image: registry.example/base@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}
requirements: [flask]
runtime:
  vm: {glibc: "2.36", cpu: x86-64-v2, host: [libcuda.so.1]}
  container: {base: {debian: bookworm}}
packages:
  psycopg2: {build: [libpq-dev], env: {A: "1", B: "2"}}
  lxml: {build: [libxml2-dev]}
`))
	if err != nil {
		t.Fatal(err)
	}
	key := func(r *Recipe) string { return Key(r, goodLock(), "linux/amd64", "1", "") }
	if key(got) != key(want) {
		t.Errorf("the key is another one (-whole +extended):\n%s", cmp.Diff(string(canonical(want)), string(canonical(got))))
	}
	if diff := cmp.Diff(MakeAnswers(want, nil), MakeAnswers(got, nil)); diff != "" {
		t.Errorf("it has other answers (-whole +extended):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"../python.yaml"}, got.Extended()); diff != "" {
		t.Error(diff)
	}
	for at, want := range map[string]Position{
		"python.version":   {filepath.Join(dir, "python.yaml"), 3, 12},
		"python.configure": {filepath.Join(dir, "web", "ampoule.yaml"), 3, 10},
		"runtime.vm.glibc": {filepath.Join(dir, "python.yaml"), 7, 15},
	} {
		if pos := got.At(strings.Split(at, ".")...); pos != want {
			t.Errorf("%s stands at %s, want %s", at, pos, want)
		}
	}
}

// Paths lead from the file that they stand in.
func TestExtendedPaths(t *testing.T) {
	t.Parallel()
	shared := sharedFile + "  lxml: {patches: [patches/a.patch]}\nrequirements: all.txt\ndependency-groups: {test: tests/test.txt}\n"
	dir := writeFiles(t, map[string]string{
		"base/python.yaml": shared, "base/all.txt": "-r more.txt\n", "base/more.txt": "flask\n", "base/patches/a.patch": "shared", "base/tests/test.txt": "pytest\n",
		"services/python.yaml": "extends: ../base/python.yaml\n", "services/x/patches/a.patch": "own",
		"services/x/ampoule.yaml": "extends: ../python.yaml\nname: x\npackages: {psycopg2: {patches: [patches/a.patch]}}\n",
	})
	r, err := ReadRecipe(filepath.Join(dir, "services", "x", "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	reqs, err := ReadRequirements(r)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, q := range slices.Concat(reqs.Requirements, reqs.Groups["test"].Requirements) {
		names = append(names, q.Name)
	}
	if diff := cmp.Diff([]string{"flask", "pytest"}, names); diff != "" {
		t.Error(diff)
	}
	if want := filepath.Join(dir, "base", "more.txt"); reqs.Requirements[0].File != want {
		t.Errorf("flask stands in %s, want %s", reqs.Requirements[0].File, want)
	}
	patches := map[string]string{}
	for name, data := range reqs.Patches {
		patches[name] = string(data)
	}
	if diff := cmp.Diff(map[string]string{"../../base/patches/a.patch": "shared", "patches/a.patch": "own"}, patches); diff != "" {
		t.Error(diff)
	}
	for _, file := range slices.Collect(maps.Keys(patches)) {
		if !rules["locked patch"].allows(file) {
			t.Errorf("a lock cannot name %s", file)
		}
	}
}

// A requirements file leads nowhere but below its own directories.
func TestExtendedPathsEnd(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{
		"secret.txt": "flask\n", "base/python.yaml": sharedFile, "base/all.txt": "-r ../secret.txt\n",
		"x/ampoule.yaml": "extends: ../base/python.yaml\nname: x\nrequirements: all.txt\n", "x/all.txt": "-r ../secret.txt\n",
	})
	r, err := ReadRecipe(filepath.Join(dir, "x", "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRequirements(r); err == nil || !strings.Contains(err.Error(), "secret.txt") {
		t.Errorf("a file above all directories was read: %v", err)
	}
}

func TestExtendsFaults(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range maxExtended + 1 {
		many[fmt.Sprintf("%d.yaml", i)] = fmt.Sprintf("extends: %d.yaml\n", i+1)
	}
	many["ampoule.yaml"] = "extends: 0.yaml\n"
	const web = "extends: python.yaml\nname: web\n"
	cases := map[string]struct {
		files      map[string]string
		want, hint string
	}{
		"missing":       {map[string]string{"ampoule.yaml": "name: web\nextends: python.yaml\n"}, "ampoule.yaml:2:10: python.yaml does not exist", "relative to the file"},
		"itself":        {map[string]string{"ampoule.yaml": "extends: ampoule.yaml\n"}, "ampoule.yaml:1:10: this extends itself: ampoule.yaml → ampoule.yaml", "remove one"},
		"circle":        {map[string]string{"ampoule.yaml": "extends: a.yaml\n", "a.yaml": "extends: b.yaml\n", "b.yaml": "extends: a.yaml\n"}, "b.yaml:1:10: this extends itself: a.yaml → b.yaml → a.yaml", "remove one"},
		"too many":      {many, "7.yaml:1:10: more than 8 files extend each other", "fewer files"},
		"no YAML file":  {map[string]string{"ampoule.yaml": "extends: /python.yaml\n"}, `ampoule.yaml:1:10: extends: "/python.yaml" is not a file to extend`, ""},
		"a directory":   {map[string]string{"ampoule.yaml": web, "python.yaml/x": ""}, "ampoule.yaml:1:10: python.yaml cannot be read", ""},
		"list":          {map[string]string{"ampoule.yaml": "extends: [a.yaml]\n"}, "ampoule.yaml:1:10: extends is text, not a list", ""},
		"unknown key":   {map[string]string{"ampoule.yaml": web, "python.yaml": sharedFile + "nam: web\n"}, `python.yaml:10:1: "nam" is no key of a recipe`, `did you mean "name"?`},
		"bad value":     {map[string]string{"ampoule.yaml": web, "python.yaml": strings.Replace(sharedFile, "3.13.5", "3.13", 1)}, `python.yaml:3:12: python.version: "3.13" is not a full version`, "in full"},
		"no YAML":       {map[string]string{"ampoule.yaml": web, "python.yaml": "a: [\n"}, "python.yaml:1:4: this is not YAML", ""},
		"still missing": {map[string]string{"ampoule.yaml": web, "python.yaml": strings.Replace(sharedFile, "apiVersion: ampoule/v1\n", "", 1)}, "ampoule.yaml:1:1: apiVersion is missing", "apiVersion: ampoule/v1"},
		"app.files": {map[string]string{"ampoule.yaml": "extends: base/python.yaml\nname: web\n", "base/python.yaml": "extends: ../more/app.yaml\n" + sharedFile,
			"more/app.yaml": "app: {source: ., files: [../x]}\n"}, "app.yaml:1:26: app.files[0]", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeFiles(t, c.files)
			_, err := ReadRecipe(filepath.Join(dir, "ampoule.yaml"))
			if err == nil {
				t.Fatal("no fault")
			}
			told := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
			if !strings.Contains(told, c.want) {
				t.Errorf("it says\n%s\nwant\n%s", told, c.want)
			}
			faults, ok := errors.AsType[Faults](err)
			if !ok || !strings.Contains(faults.Hint(), c.hint) {
				t.Errorf("the hint is %q, want %q", faults.Hint(), c.hint)
			}
		})
	}
}

// Where no file is read, a recipe that extends one is refused.
func TestParseExtends(t *testing.T) {
	t.Parallel()
	if _, err := ParseRecipe("ampoule.yaml", []byte("extends: python.yaml\n"+goodRecipe)); err == nil || !strings.Contains(err.Error(), "ampoule.yaml:1:10: extends stands where no other file is read") {
		t.Errorf("got %v", err)
	}
}

// app.files of a file that stands above the recipe would take nothing.
func TestExtendedAppFiles(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{
		"python.yaml": sharedFile + "app: {source: src, files: [src]}\n", "web/ampoule.yaml": "extends: ../python.yaml\nname: web\n",
		"api/ampoule.yaml": "extends: ../python.yaml\nname: api\napp: {files: [src]}\n",
	})
	if _, err := ReadRecipe(filepath.Join(dir, "web", "ampoule.yaml")); err == nil || !strings.Contains(err.Error(), "python.yaml:10:28: app.files takes files below the recipe's directory") {
		t.Errorf("got %v", err)
	}
	r, err := ReadRecipe(filepath.Join(dir, "api", "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if r.App.Source != "../src" || !slices.Equal(r.App.Files, []string{"src"}) {
		t.Errorf("app is %+v", r.App)
	}
}
