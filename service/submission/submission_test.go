package submission

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/workspace"
	"ampoule/faults"
	"ampoule/recipes"
)

const recipeText = `apiVersion: ampoule/v1
extends: ../python.yaml
name: web
requirements: requirements.txt
dependency-groups:
  test: test/requirements.txt
packages:
  six: {patches: [six.patch]}
`

// written writes a recipe that extends a file above it, and reads it.
func written(t *testing.T, more map[string]string) Input {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"python.yaml":                   "apiVersion: ampoule/v1\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime: {container: {base: {debian: bookworm}}}\n",
		"web/ampoule.yaml":              recipeText,
		"web/requirements.txt":          "-r more/extra.txt\nsix\n",
		"web/more/extra.txt":            "idna\n",
		"web/test/requirements.txt":     "pytest\n",
		"web/six.patch":                 "--- a/six.py\n+++ b/six.py\n@@ -1 +1 @@\n-a\n+b\n",
		"web/notread.txt":               "canary\n",
		"web/deep/also/not/read/at.all": "canary\n",
	}
	for name, text := range more {
		files[name] = text
	}
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return readInput(t, filepath.Join(dir, "web", "ampoule.yaml"))
}

func readInput(t *testing.T, file string) Input {
	t.Helper()
	r, err := recipes.ReadRecipe(file)
	if err != nil {
		t.Fatal(err)
	}
	set, err := recipes.ReadRequirements(r)
	if err != nil {
		t.Fatal(err)
	}
	return Input{Recipe: r, Requirements: set}
}

func pack(t *testing.T, in Input) Archive {
	t.Helper()
	a, err := Pack(in)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func opened(t *testing.T, data []byte) (Submission, error) {
	t.Helper()
	return Open(t.Context(), bytes.NewReader(data), t.TempDir(), Usual)
}

// What a server reads is what its client read, byte for byte, and nothing else is sent.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	in := written(t, nil)
	a := pack(t, in)
	if again := pack(t, in); !bytes.Equal(a.Data, again.Data) {
		t.Error("the same files give another archive")
	}
	s, err := opened(t, a.Data)
	if err != nil {
		t.Fatal(err)
	}
	if s.Recipe.Name != "web" || s.Lock != nil || s.Workspace != nil {
		t.Errorf("%+v", s)
	}
	for what, pair := range map[string][2]any{
		"files":   {in.Requirements.Files, s.Requirements.Files},
		"patches": {in.Requirements.Patches, s.Requirements.Patches},
		"groups":  {in.Requirements.Groups["test"].Files, s.Requirements.Groups["test"].Files},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-sent +read):\n%s", what, diff)
		}
	}
	names := members(t, a.Data)
	want := []string{manifestName, "python.yaml", "web/ampoule.yaml", "web/more/extra.txt", "web/requirements.txt", "web/six.patch", "web/test/requirements.txt"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if got, want := a.Place("web/ampoule.yaml"), in.Recipe.File(); got != want {
		t.Errorf("the recipe is placed at %s, want %s", got, want)
	}
}

func members(t *testing.T, data []byte) []string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// The code of an application crosses with its hash, which is part of the key.
func TestApplication(t *testing.T) {
	t.Parallel()
	const app = "app: {source: ., command: [python3, -m, web]}\n"
	in := written(t, map[string]string{
		"web/ampoule.yaml":   recipeText + app,
		"web/pyproject.toml": "[build-system]\nrequires = [\"setuptools\"]\n[project]\nname = \"web\"\nversion = \"1\"\n",
		"web/web.py":         "print(1)\n",
		"web/run.sh":         "#!/bin/sh\n",
	})
	dir := filepath.Dir(in.Recipe.File())
	if err := os.Chmod(filepath.Join(dir, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "pyproject.toml", "web.py", "run.sh", "ampoule.yaml"}} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var err error
	in.Workspace, err = workspace.Read(t.Context(), workspace.Spec{
		Dir: dir, Sources: []workspace.Source{{Dir: "."}}, Except: []string{"ampoule.yaml", "ampoule.lock", "../python.yaml"},
	}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	a := pack(t, in)
	s, err := opened(t, a.Data)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Workspace.Hash(), in.Workspace.Hash(); got != want {
		t.Errorf("the code has hash %s, sent was %s", got, want)
	}
	if diff := cmp.Diff(in.Workspace.State, s.Workspace.State); diff != "" {
		t.Errorf("state (-sent +read):\n%s", diff)
	}
	// Somebody changes the code on the way.
	changed := rewrite(t, a.Data, func(name string, data []byte) []byte {
		if name == "web/web.py" {
			return []byte("print(2)\n")
		}
		return data
	})
	if _, err := opened(t, changed); faults.Of(err) != faults.Input || !strings.Contains(err.Error(), "not what") {
		t.Errorf("changed code: %v", err)
	}
	// Another program's archive, without a manifest, has all files as code.
	plain := rewrite(t, a.Data, func(name string, data []byte) []byte {
		if name == manifestName {
			return nil
		}
		return data
	})
	if _, err := opened(t, plain); faults.Of(err) != faults.Input {
		t.Errorf("the recipe is not at the top: %v", err)
	}
}

// rewrite gives an archive with other contents; nil leaves a member out.
func rewrite(t *testing.T, data []byte, change func(name string, data []byte) []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var all []*tar.Header
	var contents [][]byte
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if content = change(h.Name, content); content != nil {
			h.Size = int64(len(content))
			all, contents = append(all, h), append(contents, content)
		}
	}
	return tarOf(t, all, contents)
}

func tarOf(t *testing.T, all []*tar.Header, contents [][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i, h := range all {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(contents[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// one is a tar with one member.
func one(t *testing.T, h tar.Header, content string) []byte {
	t.Helper()
	h.Size = int64(len(content))
	return tarOf(t, []*tar.Header{&h}, [][]byte{[]byte(content)})
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(data)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Nothing of an archive gets out of its directory, and each kind of one has its message.
func TestHostileArchives(t *testing.T) {
	t.Parallel()
	file := func(name string) []byte {
		return one(t, tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, "x")
	}
	twice := tarOf(t, []*tar.Header{{Name: "a", Size: 1, Mode: 0o644}, {Name: "a", Size: 1, Mode: 0o644}}, [][]byte{[]byte("x"), []byte("y")})
	through := tarOf(t, []*tar.Header{{Name: "a", Size: 1, Mode: 0o644}, {Name: "a/b", Size: 1, Mode: 0o644}}, [][]byte{[]byte("x"), []byte("y")})
	whole := gzipped(t, file("ampoule.yaml"))
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":               {nil, "empty"},
		"no file":               {one(t, tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o755}, ""), "no file"},
		"text":                  {[]byte(strings.Repeat("hello ", 200)), "reading the archive"},
		"half a gzip":           {whole[:len(whole)/2], "reading the archive"},
		"no gzip":               {[]byte{0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, "gzip"},
		"a damaged gzip":        {append(bytes.Clone(whole[:len(whole)-8]), make([]byte, 8)...), "its end"},
		"a parent":              {file("../x"), "leaves"},
		"a parent inside":       {file("a/../../x"), "leaves"},
		"an absolute path":      {file("/etc/passwd"), "leaves"},
		"an unclean path":       {file("a//b"), "leaves"},
		"a backslash":           {file(`a\b`), "backslash"},
		"a drive":               {file("c:b"), "colon"},
		"a line":                {file("a\nb"), "shown"},
		"a terminal's commands": {file("a\x1b[2J"), "shown"},
		"no UTF-8":              {file("a\xff"), "shown"},
		"a right-to-left sign":  {file("a\u202eb"), "shown"},
		"a long name":           {file(strings.Repeat("a", 256)), "longer"},
		"a long path":           {file(strings.Repeat("a/", 600) + "b"), "longer"},
		"a symbolic link":       {one(t, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""), "link"},
		"a hard link":           {one(t, tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}, ""), "link"},
		"a device":              {one(t, tar.Header{Name: "a", Typeflag: tar.TypeChar, Devmajor: 1}, ""), "no plain file"},
		"a pipe":                {one(t, tar.Header{Name: "a", Typeflag: tar.TypeFifo}, ""), "no plain file"},
		"a name twice":          {twice, "twice"},
		"below a file":          {through, "below"},
	} {
		for _, form := range []string{"", "gzip"} {
			data := test.data
			if form == "gzip" {
				if data == nil || data[0] == 0x1f || name == "text" {
					continue
				}
				data = gzipped(t, data)
			}
			dir := t.TempDir()
			err := Unpack(t.Context(), bytes.NewReader(data), filepath.Join(dir, mkdir(t, dir)), Usual)
			if faults.Of(err) != faults.Input || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s %s: %v, want it to say %q", form, name, err, test.want)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Errorf("%s: something got out", name)
			}
		}
	}
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	return "in"
}

// A small archive that becomes large, and one of many members, end at the limit.
func TestBombs(t *testing.T) {
	t.Parallel()
	limits := Limits{Files: 10, Bytes: 1 << 20}
	large := gzipped(t, one(t, tar.Header{Name: "a", Mode: 0o644}, strings.Repeat("\x00", 2<<20)))
	var headers []*tar.Header
	var contents [][]byte
	for range 11 {
		headers, contents = append(headers, &tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o755}), append(contents, nil)
	}
	for name, data := range map[string][]byte{"bytes": large, "members": tarOf(t, headers, contents)} {
		dir := t.TempDir()
		err := Unpack(t.Context(), bytes.NewReader(data), dir, limits)
		var limit *LimitError
		if !errors.As(err, &limit) || limit.Status() != http.StatusRequestEntityTooLarge || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if info, infoErr := d.Info(); infoErr == nil && info.Mode().IsRegular() && info.Size() > 1<<20 {
				t.Errorf("%s: %d bytes were written", name, info.Size())
			}
			return err
		})
	}
	// What follows the tar's end is bounded too.
	tail := gzipped(t, append(one(t, tar.Header{Name: "a", Mode: 0o644}, "x"), make([]byte, 2<<20)...))
	if err := Unpack(t.Context(), bytes.NewReader(tail), t.TempDir(), Usual); faults.Of(err) != faults.Input {
		t.Errorf("a long tail: %v", err)
	}
}

// Faults of files have the names of the archive, and nothing of where it was unpacked.
func TestFaultsAreRelative(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ recipe, want string }{
		"no YAML":            {"{", "ampoule.yaml:1:"},
		"an unknown key":     {"apiVersion: ampoule/v1\nname: web\ncanary: 1\n", "ampoule.yaml:3:1: "},
		"a missing file":     {"apiVersion: ampoule/v1\nname: web\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime: {container: {base: {debian: bookworm}}}\nrequirements: none.txt\n", "ampoule.yaml:6:"},
		"a path that leaves": {"apiVersion: ampoule/v1\nname: web\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime: {container: {base: {debian: bookworm}}}\nrequirements: ../../../etc/passwd\n", "ampoule.yaml:6:"},
		"an app that leaves": {"apiVersion: ampoule/v1\nname: web\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime: {container: {base: {debian: bookworm}}}\napp: {source: ../.., command: [python3, -m, web]}\n", "ampoule.yaml:6:"},
		"an extended passwd": {"apiVersion: ampoule/v1\nextends: ../../../../etc/passwd\nname: web\n", "ampoule.yaml:2:"},
	} {
		dir := t.TempDir()
		_, err := Open(t.Context(), bytes.NewReader(one(t, tar.Header{Name: "./ampoule.yaml", Mode: 0o644}, test.recipe)), dir, Usual)
		var wrong recipes.Faults
		if !errors.As(err, &wrong) || !strings.Contains("\n"+err.Error(), "\n"+test.want) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A file beside the directory that another archive may be unpacked into.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret.yaml"), []byte("apiVersion: ampoule/v1\npython: {version: canary}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), bytes.NewReader(one(t, tar.Header{Name: "ampoule.yaml", Mode: 0o644}, "apiVersion: ampoule/v1\nextends: ../secret.yaml\nname: web\n")), filepath.Join(dir, mkdir(t, dir)), Usual)
	if err == nil || !strings.Contains(err.Error(), "out of the directory") || strings.Contains(err.Error(), "canary") {
		t.Errorf("an extended file of another archive: %v", err)
	}
	_, err = opened(t, one(t, tar.Header{Name: "other.yaml", Mode: 0o644}, "x"))
	if faults.Of(err) != faults.Input || len(faults.Hints(err)) == 0 {
		t.Errorf("no recipe: %v", err)
	}
}

func TestManifestIsStrict(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "[]", `{"version":2,"recipe":"a"}`, `{"version":1,"recipe":"../a"}`, `{"version":1,"recipe":"a","more":1}`, `{"version":1,"recipe":"ampoule.yaml"} {}`} {
		if _, err := opened(t, one(t, tar.Header{Name: manifestName, Mode: 0o644}, text)); faults.Of(err) != faults.Input {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Who is cancelled, and who is gone, is not told that the archive is wrong.
func TestInterruptedUpload(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := faults.New(faults.Interrupted, "", "the server ends")
	cancel(cause)
	err := Unpack(ctx, bytes.NewReader(one(t, tar.Header{Name: "a", Mode: 0o644}, "x")), t.TempDir(), Usual)
	if faults.Of(err) != faults.Interrupted {
		t.Errorf("%v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	var small bytes.Buffer
	w := tar.NewWriter(&small)
	_ = w.WriteHeader(&tar.Header{Name: "a/b", Mode: 0o644, Size: 1})
	_, _ = w.Write([]byte("x"))
	_ = w.Close()
	f.Add(small.Bytes())
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		in := filepath.Join(dir, "in")
		if err := os.Mkdir(in, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = Unpack(t.Context(), bytes.NewReader(data), in, Limits{Files: 20, Bytes: 1 << 16})
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Fatalf("something got out: %v, %v", entries, err)
		}
	})
}
