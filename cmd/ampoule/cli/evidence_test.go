package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/contents"
	"ampoule/faults"
	"ampoule/internal/basetime"
	"ampoule/sbom"
	"ampoule/tree"
	"ampoule/wiring"
)

// publishWhole publishes an artifact with what a build gives one: a record in its tree and a
// bill of materials. It holds many files for each unit of size.
func publishWhole(t *testing.T, s *Session, key string, size int) (ref string) {
	t.Helper()
	record := audit.ArtifactRecord{
		Name:   "web",
		Python: audit.PythonRecord{Version: "3.13.5", Key: key[7:], Fingerprint: audit.Fingerprint{Version: "3.13.5", Machine: "x86-64"}},
		Wheels: []audit.WheelMade{{Name: "idna", Version: fmt.Sprint("3.", size), File: "idna-3-py3-none-any.whl", SHA256: sumA}},
	}
	told, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(p, owner, text string) tree.Entry {
		e := tree.FileEntry(p, 0o644, []byte(text))
		e.Owner = owner
		return e
	}
	const site = "lib/python3.13/site-packages/"
	more := []tree.Entry{
		entry(artifact.RecordFile, "metadata", string(told)), entry("lib/libz.so.1", "native", "z"), entry(site+"idna-3.dist-info/RECORD", "wheel:idna", "idna/__init__.py,,\n"),
		entry("lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py", "interpreter", "build_time_vars = {'CFLAGS': '-O"+fmt.Sprint(size)+"'}\n"),
	}
	for i := range 30 * size {
		more = append(more, entry(fmt.Sprintf("share/many/%d", i), "metadata", "x"))
	}
	sealed, err := sampleTree(t).With(more...)
	if err != nil {
		t.Fatal(err)
	}
	about := sampleLabels(sealed)
	about.Key = key
	labels, err := about.Encode()
	if err != nil {
		t.Fatal(err)
	}
	err = s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		reg, err := w.Registry()
		if err != nil {
			return err
		}
		parts, err := layers.SaveParts(ctx, w.Store, progress.StagePublish, layers.Split(sealed), artifact.Prefix)
		if err != nil {
			return err
		}
		digest, err := wiring.Publisher{Registry: reg, Store: w.Store}.Publish(ctx, artifact.Artifact{
			Name: "web", Key: key, Platform: "linux/" + runtime.GOARCH, Created: basetime.Of(t), Layers: parts,
			Config: artifact.Config{Architecture: runtime.GOARCH, Labels: labels}, Verdict: []byte(`{"passed":true}`),
			SBOM: func(digest string) ([]byte, error) {
				return sbom.Make(sbom.Input{
					Name: "web", Digest: digest, Key: key, Platform: "linux/" + runtime.GOARCH, Record: &record, Tree: sealed,
					Carried: map[string]sbom.Package{"lib/libz.so.1": {Name: "zlib1g", Version: "1.2.13", Arch: "amd64", Source: "zlib", SourceVersion: "1.2.13"}},
				})
			},
		})
		ref = w.Reference("web", digest)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// ampoule runs the command line in a session, and returns what it prints.
func ampoule(t *testing.T, s *Session, args ...string) (string, error) {
	t.Helper()
	out := &bytes.Buffer{}
	own := &Session{In: strings.NewReader(""), Out: out, Err: &bytes.Buffer{}, Environ: s.Environ}
	root := Root(own)
	root.SetArgs(append([]string{"--store", s.Store, "--progress", "plain"}, args...))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

const otherKey = "sha256:" + "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

func TestInspectFile(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	ref := publishWhole(t, s, "sha256:"+sumA, 1)
	text, err := ampoule(t, s, "inspect", ref, "--file", "lib/libz.so.1")
	words := strings.Join(strings.Fields(text), " ")
	for _, want := range []string{"path /opt/ampoule/lib/libz.so.1 ", " from the Debian package zlib1g 1.2.13 ", " source zlib 1.2.13 ", " layer native sha256:"} {
		if err != nil || !strings.Contains(words, want) {
			t.Errorf("%v, lacks %q:\n%s", err, want, text)
		}
	}
	text, err = ampoule(t, s, "inspect", "web", "--file", "/opt/ampoule/lib/python3.13/site-packages/idna/__init__.py", "--output", "json")
	var got fileAnswer
	if err := errors.Join(err, json.Unmarshal([]byte(text), &got)); err != nil || got.From.Kind != contents.FromDistribution || got.From.Name != "idna" || !strings.HasPrefix(ref, "web@"+got.Digest) {
		t.Errorf("%v: %s", err, text)
	}
	if _, err := ampoule(t, s, "inspect", ref, "--file", "nothing"); faults.Of(err) != faults.NotFound {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	a, b := publishWhole(t, s, "sha256:"+sumA, 1), publishWhole(t, s, otherKey, 2)
	text, err := ampoule(t, s, "diff", a, b)
	for _, want := range []string{
		"- " + a + "\n+ " + b + "\n", "\ndistributions\n  ~ idna  3.1 sha256:" + sumA[:12] + " → 3.2 sha256:" + sumA[:12] + "\n",
		"  ~ interpreter's key  " + sumA[:12] + " → bbbbbbbbbbbb\n", "\nsysconfig\n  ~ CFLAGS  -O1 → -O2\n",
		"files: 30 added, 0 removed, 2 changed", "  … and 10 more: --all shows them\n", "  + share/many/30\n",
	} {
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%v, lacks %q:\n%s", err, want, text)
		}
	}
	for line := range strings.Lines(text) {
		if len([]rune(line)) > 200 {
			t.Errorf("a line of %d characters: %s", len([]rune(line)), line)
		}
	}
	all, err := ampoule(t, s, "diff", a, b, "--all")
	if err != nil || strings.Count(all, "\n  + share/many/") != 30 || strings.Contains(all, "--all") {
		t.Errorf("%v:\n%s", err, all)
	}
	told, err := ampoule(t, s, "diff", a, b, "--output", "json", "--exit-code")
	if faults.Of(err) != faults.Refused {
		t.Errorf("with --exit-code: %v", err)
	}
	validate(t, "diff", []byte(told))
	same, err := ampoule(t, s, "diff", a, a, "--exit-code")
	if err != nil || !strings.Contains(same, "they are the same") {
		t.Errorf("%v: %s", err, same)
	}
	if _, err := ampoule(t, s, "diff", a, "web@sha256:"+strings.Repeat("0", 64)); faults.Of(err) != faults.NotFound {
		t.Errorf("with nothing: %v", err)
	}
}

// Metadata under another version is told once, and what is in it no more.
func TestDiffOfRenamedMetadata(t *testing.T) {
	t.Parallel()
	d := &contents.Diff{Files: contents.Files{
		Added:   []string{"site/a-2.dist-info/METADATA", "site/a-2.dist-info/RECORD", "site/b-2.dist-info/METADATA", "site/b-2.dist-info/more", "site/new.py"},
		Removed: []string{"site/a-1.dist-info/METADATA", "site/a-1.dist-info/RECORD", "site/b-1.dist-info/METADATA", "site/c-1.dist-info/METADATA"},
		Changed: []string{"site/a.py"},
	}}
	want := `
files: 3 added, 2 removed, 1 changed, directories renamed: 1
  ~ site/a-1.dist-info → a-2.dist-info, 2 files
  + site/b-2.dist-info/METADATA
  + site/b-2.dist-info/more
  + site/new.py
  - site/b-1.dist-info/METADATA
  - site/c-1.dist-info/METADATA
  ~ site/a.py
`
	if text := (&diffText{most: -1}).of(d); !strings.HasSuffix(text, want) {
		t.Errorf("got:\n%s", text)
	}
}

// No value of an artifact begins a line of its own.
func TestDiffShowsNoForeignLines(t *testing.T) {
	t.Parallel()
	evil := "x\n+ forged\r\x1b[2J\u202e"
	d := &contents.Diff{
		A: contents.Side{Ref: evil}, B: contents.Side{Ref: evil}, Unknown: []string{evil},
		Inputs: []contents.Change{{What: evil, From: evil, To: evil}}, Files: contents.Files{Added: []string{evil}}, Sizes: []contents.Size{{Of: evil, To: 1}},
		Symbols: []contents.Symbols{{File: evil, DefinedAdded: []string{evil}}},
	}
	text := (&diffText{most: -1}).of(d)
	if strings.Contains(text, "\n+ forged") || strings.ContainsAny(text, "\r\x1b\u202e") {
		t.Errorf("%q", text)
	}
}

func TestSBOM(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	ref := publishWhole(t, s, "sha256:"+sumA, 1)
	text, err := ampoule(t, s, "sbom", ref)
	if err != nil || !strings.Contains(text, `"specVersion":"1.6"`) || !strings.Contains(text, ref[len("web@"):]) {
		t.Errorf("%v: %s", err, text)
	}
	file := filepath.Join(t.TempDir(), "web.cdx.json")
	if _, err := ampoule(t, s, "sbom", ref, "-o", file); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != text {
		t.Errorf("%v: the file has %s", err, data)
	}
	err = s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		publishAs(ctx, t, w, sampleTree(t), "bare")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := ampoule(t, s, "list", "bare", "--refs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ampoule(t, s, "sbom", strings.TrimSpace(list)); faults.Of(err) != faults.NotFound {
		t.Errorf("of one without: %v", err)
	}
}

// An artifact goes from a store to a layout, and to a file, and is installed where there is
// neither a registry nor a store with anything in it.
func TestCopyExportInstall(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	ref := publishWhole(t, s, "sha256:"+sumA, 1)
	digest := ref[len("web@"):]
	dir := t.TempDir()
	layout, packed := filepath.Join(dir, "layout"), filepath.Join(dir, "web.tar")
	text, err := ampoule(t, s, "copy", ref, layout, "--output", "json")
	var done copied
	if err := errors.Join(err, json.Unmarshal([]byte(text), &done)); err != nil || done.Digest != digest || len(done.Referrers) != 3 || len(done.Missing) > 0 {
		t.Fatalf("%v: %s", err, text)
	}
	empty, _, _ := session(t, goodRecipe)
	if _, err := ampoule(t, empty, "export", layout+"@"+digest, "-o", packed); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ampoule(t, s, "export", ref, "--to", packed); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(packed); err != nil || !bytes.Equal(first, second) {
		t.Errorf("%v: the files of %d and %d bytes differ", err, len(first), len(second))
	}
	for _, from := range []string{layout, layout + "@" + digest, packed, packed + "@" + digest} {
		root := filepath.Join(t.TempDir(), "root")
		out, err := ampoule(t, empty, "install", from, "--root", root)
		if err != nil || !strings.HasPrefix(out, root) {
			t.Errorf("%s: %v, %s", from, err, out)
		}
		if out, err := ampoule(t, empty, "verify", root, "web@"+digest); err != nil {
			t.Errorf("%s: %v, %s", from, err, out)
		}
	}
	if out, err := ampoule(t, empty, "inspect", packed); err != nil || !strings.Contains(out, "web@"+digest) || !strings.Contains(out, artifact.SBOMType) {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := ampoule(t, s, "diff", ref, packed); err != nil || !strings.Contains(out, "they are the same") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := ampoule(t, empty, "copy", packed, "web:v1"); err != nil {
		t.Error(err)
	}
	if out, err := ampoule(t, empty, "sbom", "web:v1"); err != nil || !strings.Contains(out, digest) {
		t.Errorf("%v: %s", err, out)
	}
}

// A file that is not what it must be installs nothing.
func TestInstallRefusesFiles(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	ref, other := publishWhole(t, s, "sha256:"+sumA, 1), publishWhole(t, s, otherKey, 2)
	dir := t.TempDir()
	good := filepath.Join(dir, "good.tar")
	if _, err := ampoule(t, s, "export", ref, "-o", good); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	both := filepath.Join(dir, "both")
	for _, one := range []string{ref, other} {
		if _, err := ampoule(t, s, "copy", one, both); err != nil {
			t.Fatal(err)
		}
	}
	// A bit of a layer that changes nothing but the digest: the time in gzip's header.
	flipped := bytes.Clone(data)
	for i := range len(flipped) - 5 {
		if bytes.HasPrefix(flipped[i:], []byte("\x1f\x8b\x08")) {
			flipped[i+4] ^= 1
		}
	}
	if bytes.Equal(flipped, data) {
		t.Fatal("no layer was changed")
	}
	for name, c := range map[string]struct {
		ref  string
		kind faults.Kind
	}{
		"another digest":      {good + "@" + other[len("web@"):], faults.NotFound},
		"no digest":           {good + "@sha256:abc", faults.Usage},
		"two artifacts":       {both, faults.Usage},
		"not there":           {filepath.Join(dir, "none.tar"), faults.NotFound},
		"empty":               {write("empty.tar", nil), faults.Refused},
		"cut off":             {write("cut.tar", data[:len(data)/2]), faults.Refused},
		"wrong bytes":         {write("flipped.tar", flipped), faults.Refused},
		"other manifest":      {write("manifest.tar", bytes.ReplaceAll(bytes.Clone(data), []byte(`"schemaVersion":2`), []byte(`"schemaVersion": `))), faults.Refused},
		"no tar":              {write("no.tar", []byte("no tar")), faults.Refused},
		"directory of others": {dir, faults.Refused},
	} {
		root := filepath.Join(t.TempDir(), "root")
		out, err := ampoule(t, s, "install", c.ref, "--root", root)
		if faults.Of(err) != c.kind || out != "" {
			t.Errorf("%s: %v of kind %v, %q", name, err, faults.Of(err), out)
		}
		if _, err := os.Lstat(filepath.Join(root, "current")); err == nil {
			t.Errorf("%s: something is installed", name)
		}
	}
}

func TestSplitLayout(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), "there.tar")
	if err := os.WriteFile(at, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	sum := "@sha256:" + sumA
	for ref, want := range map[string][2]string{
		"web": {}, "web" + sum: {}, "web:v1": {}, "localhost:5000/web" + sum: {}, "registry.example/x.tar" + sum: {}, "registry.example/x.tar:v1": {},
		"./web": {"./web", ""}, "../web:v1": {"../web", ":v1"}, "/a/b" + sum: {"/a/b", sum}, ".": {".", ""}, "x.tar": {"x.tar", ""}, at + sum: {at, sum}, "./a:b/c": {"./a:b/c", ""},
	} {
		path, suffix, ok := splitLayout(ref)
		if ok != (want[0] != "") || ok && (path != want[0] || suffix != want[1]) {
			t.Errorf("%s: %q, %q, %t", ref, path, suffix, ok)
		}
	}
}
