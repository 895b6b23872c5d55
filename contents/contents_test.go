package contents_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/contents"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/layer"
	"ampoule/sbom"
	"ampoule/tree"
)

const (
	platform = "linux/amd64"
	site     = "lib/python3.13/site-packages/"
)

var zlib = sbom.Package{Name: "zlib1g", Version: "1:1.2.13-1", Arch: "amd64", Source: "zlib", SourceVersion: "1:1.2.13-1"}

// recipe is what differs between the artifacts of the tests.
type recipe struct {
	key, python, flask, config, zlib string
	interpreter                      []byte
	extra                            []tree.Entry
	noBill                           bool
}

// program reads a program of this machine: an ELF file.
func program(t *testing.T, name string) []byte {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func first(t *testing.T) recipe {
	return recipe{key: "sha256:" + strings.Repeat("1", 64), python: "3.13.5", flask: "3.1.2", config: "-O2", zlib: "z", interpreter: program(t, "true")}
}

func file(p, text string) tree.Entry { return tree.FileEntry(p, 0o644, []byte(text)) }

// layerOf makes a layer of files below a prefix.
func layerOf(t *testing.T, name, prefix string, entries ...tree.Entry) artifact.Layer {
	t.Helper()
	whole, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	var tar bytes.Buffer
	if err := whole.WriteTar(&tar, prefix, time.Unix(1577836800, 0)); err != nil {
		t.Fatal(err)
	}
	return artifact.Layer{
		Name: name, DiffID: fmt.Sprintf("sha256:%x", sha256.Sum256(tar.Bytes())),
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tar.Bytes())), nil },
	}
}

// publish publishes an artifact and opens it.
func publish(t *testing.T, r recipe) *contents.Artifact {
	t.Helper()
	sum := strings.Repeat("a", 64)
	record := audit.ArtifactRecord{
		Name:   "web",
		Python: audit.PythonRecord{Version: r.python, Key: r.key[7:], FingerprintDigest: "sha256:" + sum, Fingerprint: audit.Fingerprint{Version: r.python, Machine: "x86-64"}, Toolchain: []string{"sha256:" + sum}},
		Wheels: []audit.WheelMade{
			{Name: "flask", Version: r.flask, File: "flask-" + r.flask + "-py3-none-any.whl", SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(r.flask))), Sdist: sum},
			{Name: "web", Version: "1", File: "web-1-py3-none-any.whl", SHA256: sum},
		},
	}
	told, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	native := file("lib/libz.so.1", r.zlib)
	native.Owner = "native"
	python := tree.FileEntry("bin/python3.13", 0o755, r.interpreter)
	sysconfig := file("lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py", "build_time_vars = {'CFLAGS': '"+r.config+"',\n 'VERSION': '3.13'}\n")
	info := site + "flask-" + r.flask + ".dist-info/"
	dist := []tree.Entry{
		file(site+"flask/__init__.py", "x = 1\n"), file(site+"flask/__pycache__/__init__.cpython-313.pyc", "code"), file(info+"METADATA", "Name: flask\nVersion: "+r.flask+"\n\n"),
		file(info+"RECORD", "flask/__init__.py,,\n"+"flask-"+r.flask+".dist-info/METADATA,,\n../../../bin/flask,,\n"), tree.FileEntry("bin/flask", 0o755, []byte("#!")),
	}
	app := []tree.Entry{file(site+"web.py", "import flask\n"), file(site+"web-1.dist-info/RECORD", "web.py,,\n")}
	whole, err := tree.New(slices.Concat([]tree.Entry{native, python, sysconfig, file(artifact.RecordFile, string(told))}, dist, app, r.extra))
	if err != nil {
		t.Fatal(err)
	}
	labels, err := artifact.Labels{Recipe: "web", Key: r.key, Python: r.python, Fingerprint: "sha256:" + sum, Tree: whole.Hash(), Prefix: "/opt/ampoule", Repeatable: new(true)}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	a := artifact.Artifact{
		Name: "web", Key: r.key, Platform: platform, Created: time.Unix(1577836800, 0),
		Config: artifact.Config{Architecture: "amd64", Labels: labels}, Verdict: []byte("{}"),
		Base: []artifact.Layer{layerOf(t, "", "", file("usr/bin/env", "env"), file("etc/made", "x"),
			file("var/lib/dpkg/status", "Package: coreutils\nStatus: install ok installed\nArchitecture: amd64\nVersion: 9.1-1\n"),
			file("var/lib/dpkg/info/coreutils.list", "/usr/bin/env\n"))},
		Layers: []artifact.Layer{
			layerOf(t, "native", "opt/ampoule", native), layerOf(t, "interpreter", "opt/ampoule", python, sysconfig), layerOf(t, "tail-03", "opt/ampoule", dist...),
			layerOf(t, "app", "opt/ampoule", app...), layerOf(t, "metadata", "opt/ampoule", append([]tree.Entry{file(artifact.RecordFile, string(told))}, r.extra...)...),
		},
	}
	if !r.noBill {
		a.SBOM = func(digest string) ([]byte, error) {
			return sbom.Make(sbom.Input{
				Name: "web", Digest: digest, Key: r.key, Platform: platform, Record: &record, Tree: whole, PythonFile: "Python.tar.xz", PythonSHA256: sum,
				Carried: map[string]sbom.Package{"lib/libz.so.1": zlib},
				Build:   []sbom.Ingredient{{Kind: sbom.KindDebian, Name: "gcc-12", Version: "12.2.0-" + r.python, SHA256: sum}},
			})
		}
	}
	own := embedded.Open(t.TempDir())
	reg, err := registry.Local(own)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := registry.Pack(t.Context(), layer.Packer{Dir: t.TempDir()}, a)
	if err != nil {
		t.Fatal(err)
	}
	done, err := reg.Publish(t.Context(), packed)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := contents.Open(t.Context(), reg, done.Ref, platform)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	return opened
}

// Each file is told with what brought it, and with the layer that carries it.
func TestFile(t *testing.T) {
	t.Parallel()
	a := publish(t, first(t))
	for name, want := range map[string]string{
		"bin/python3.13":             "interpreter cpython 3.13.5 interpreter",
		"/opt/ampoule/lib/libz.so.1": "debian zlib1g 1:1.2.13-1 native",
		"bin/flask":                  "distribution flask 3.1.2 tail-03",
		site + "flask/__pycache__/__init__.cpython-313.pyc": "distribution flask 3.1.2 tail-03",
		site + "web.py":     "application web 1 app",
		artifact.RecordFile: "ampoule   metadata",
		"/usr/bin/env":      "debian coreutils 9.1-1 base-0",
		"/etc/made":         "base   base-0",
		"bin":               "   ",
	} {
		f, err := a.File(t.Context(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := strings.Join([]string{f.From.Kind, f.From.Name, f.From.Version, f.Layer}, " ")
		if got != want {
			t.Errorf("%s is from %q, want %q", name, got, want)
		}
		if (f.Kind == "file") != (len(f.SHA256) == 64) || f.Layer != "" && !strings.HasPrefix(f.LayerDigest, "sha256:") {
			t.Errorf("%s: %+v", name, f)
		}
	}
	flask, err := a.File(t.Context(), "bin/flask")
	if err != nil || flask.From.Wheel != "flask-3.1.2-py3-none-any.whl" || flask.From.Sdist == "" || flask.Mode != "0755" || flask.Size != 2 || flask.Path != "/opt/ampoule/bin/flask" {
		t.Errorf("%+v, %v", flask, err)
	}
	z, err := a.File(t.Context(), "lib/libz.so.1")
	if err != nil || z.From.Source != "zlib" {
		t.Errorf("%+v, %v", z, err)
	}
	for _, name := range []string{"bin/none", "/opt/ampoule/none", "/none", "../etc/passwd", ""} {
		if f, err := a.File(t.Context(), name); faults.Of(err) != faults.NotFound {
			t.Errorf("%q: %+v, %v", name, f, err)
		}
	}
	bare := first(t)
	bare.noBill = true
	if f, err := publish(t, bare).File(t.Context(), "lib/libz.so.1"); err != nil || f.From.Kind != contents.FromCarried {
		t.Errorf("without a bill: %+v, %v", f, err)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	a := publish(t, first(t))
	same, err := contents.Compare(a, a)
	if err != nil || same.Differs() || len(same.Files.Changed)+len(same.Inputs)+len(same.Interpreter)+len(same.Sizes)+len(same.Symbols) > 0 {
		t.Errorf("with itself: %+v, %v", same, err)
	}
	other := first(t)
	other.key, other.python, other.flask, other.config, other.zlib = "sha256:"+strings.Repeat("2", 64), "3.13.15", "3.1.3", "-O3", "zz"
	other.interpreter = program(t, "ls")
	other.extra = []tree.Entry{file("share/new", "new")}
	b := publish(t, other)
	d, err := contents.Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	find := func(list []contents.Change, what string) contents.Change {
		for _, c := range list {
			if c.What == what {
				return c
			}
		}
		return contents.Change{}
	}
	if c := find(d.Inputs, "key"); c.From != a.Labels.Key || c.To != b.Labels.Key {
		t.Errorf("key: %+v", c)
	}
	if c := find(d.Inputs, "deb gcc-12"); !strings.HasPrefix(c.From, "12.2.0-3.13.5 ") || !strings.HasPrefix(c.To, "12.2.0-3.13.15 ") {
		t.Errorf("compiler: %+v", c)
	}
	if c := find(d.Interpreter, "version"); c.From != "3.13.5" || c.To != "3.13.15" {
		t.Errorf("interpreter: %+v", c)
	}
	if diff := cmp.Diff([]contents.Change{{What: "CFLAGS", From: "-O2", To: "-O3"}}, d.Sysconfig); diff != "" {
		t.Errorf("sysconfig (-want +got):\n%s", diff)
	}
	if c := find(d.Distributions, "flask"); len(d.Distributions) != 1 || !strings.HasPrefix(c.From, "3.1.2 ") || !strings.HasPrefix(c.To, "3.1.3 ") {
		t.Errorf("distributions: %+v", d.Distributions)
	}
	if c := find(d.Libraries, "libz.so.1"); !strings.HasPrefix(c.From, "zlib1g 1:1.2.13-1 ") || c.From == c.To {
		t.Errorf("libraries: %+v", d.Libraries)
	}
	if !slices.Equal(d.Files.Added, []string{site + "flask-3.1.3.dist-info/METADATA", site + "flask-3.1.3.dist-info/RECORD", "share/new"}) || len(d.Files.Removed) != 2 ||
		!slices.Contains(d.Files.Changed, "bin/python3.13") || slices.Contains(d.Files.Changed, "bin/flask") {
		t.Errorf("files: %+v", d.Files)
	}
	i := slices.IndexFunc(d.Symbols, func(s contents.Symbols) bool { return s.File == "bin/python3.13" })
	if i < 0 || len(d.Symbols[i].UndefinedAdded) == 0 {
		t.Errorf("symbols: %+v", d.Symbols)
	}
	if j := slices.IndexFunc(d.Sizes, func(s contents.Size) bool { return s.Of == "interpreter" }); j < 0 || d.Sizes[j].To <= d.Sizes[j].From {
		t.Errorf("sizes: %+v", d.Sizes)
	}
	bare := other
	bare.noBill = true
	if d, err := contents.Compare(a, publish(t, bare)); err != nil || len(d.Unknown) != 1 || find(d.Inputs, "key").To == "" {
		t.Errorf("without a bill: %+v, %v", d, err)
	}
	alike := first(t)
	alike.noBill = true
	if d, err := contents.Compare(a, publish(t, alike)); err != nil || len(d.Unknown) != 1 || len(d.Libraries) > 0 {
		t.Errorf("with the same libraries, whose packages are not known: %+v, %v", d, err)
	}
}
