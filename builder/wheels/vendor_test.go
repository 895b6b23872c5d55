package wheels

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// crateOf packs a crate.
func crateOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, h := range headers {
		text := ""
		if h.Typeflag == tar.TypeReg {
			text = "of " + h.Name
		}
		h.Size = int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func regular(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o640}
}

// vendoring runs statements after "import vendor" in the directory that it returns,
// where crates/ has these files.
func vendoring(t *testing.T, statements string, crates map[string][]byte) (dir, said string, err error) {
	t.Helper()
	interpreter, err := python()
	if err != nil {
		t.Fatalf("these tests need python3, of 3.11 or later: %v", err)
	}
	dir = t.TempDir()
	write(t, filepath.Join(dir, "vendor.py"), vendorScript)
	for name, data := range crates {
		write(t, filepath.Join(dir, "crates", name), data)
	}
	cmd := exec.Command(interpreter, "-c", "import sys; sys.path.insert(0, '.')\nimport json, os, vendor\n"+statements)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	return dir, strings.TrimSpace(string(out)), err
}

func TestVendor(t *testing.T) {
	t.Parallel()
	script := regular("libc-0.2.1/build.sh")
	script.Mode = 0o777
	long := "libc-0.2.1/" + strings.Repeat("long/", 60) + "x.rs"
	libc := crateOf(t, tar.Header{Name: "libc-0.2.1/", Typeflag: tar.TypeDir, Mode: 0o755}, regular("libc-0.2.1/Cargo.toml"), script, regular(long))
	dir, said, err := vendoring(t, `vendor.vendor("crates", "home/vendor")`, map[string][]byte{
		"libc-0.2.1.crate":    libc,
		"z-1.0.0+a.crate":     crateOf(t, regular("z-1.0.0+a/src/lib.rs")),
		"syn-2.0.0-rc1.crate": crateOf(t, regular("syn-2.0.0-rc1/Cargo.toml")),
	})
	if err != nil {
		t.Fatal(err, said)
	}
	got := map[string]string{}
	err = filepath.WalkDir(filepath.Join(dir, "home", "vendor"), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		rel, _ := filepath.Rel(filepath.Join(dir, "home", "vendor"), name)
		got[rel] = info.Mode().String()
		if text, _ := os.ReadFile(name); entry.Name() != ".cargo-checksum.json" && string(text) != "of "+rel {
			t.Errorf("%s has %q", rel, text)
		}
		return err
	})
	want := map[string]string{
		"libc-0.2.1/Cargo.toml": "-rw-r--r--", "libc-0.2.1/build.sh": "-rwxr-xr-x", long: "-rw-r--r--", "z-1.0.0+a/src/lib.rs": "-rw-r--r--", "syn-2.0.0-rc1/Cargo.toml": "-rw-r--r--",
		"libc-0.2.1/.cargo-checksum.json": "-rw-r--r--", "z-1.0.0+a/.cargo-checksum.json": "-rw-r--r--", "syn-2.0.0-rc1/.cargo-checksum.json": "-rw-r--r--",
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	text, err := os.ReadFile(filepath.Join(dir, "home", "vendor", "libc-0.2.1", ".cargo-checksum.json"))
	if want := fmt.Sprintf(`{"files": {}, "package": "%x"}`, sha256.Sum256(libc)); string(text) != want || err != nil {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
}

// refusals vendors each directory below crates/ and prints why that was refused.
const refusals = `vendor.MAX_UNPACKED, vendor.MAX_MEMBERS = 100, 3
said = {}
for name in os.listdir("crates"):
    try:
        vendor.vendor(os.path.join("crates", name), name)
    except SystemExit as e:
        said[name] = str(e)
print(json.dumps(said))`

func TestVendorRefuses(t *testing.T) {
	t.Parallel()
	good := regular("a-1.0.0/Cargo.toml")
	cases := map[string]struct {
		members []tar.Header
		want    string
	}{
		"above":         {[]tar.Header{good, regular("a-1.0.0/../b-1.0.0/x")}, "is not below a-1.0.0/"},
		"parent":        {[]tar.Header{regular("../a-1.0.0/x")}, "is not below"},
		"absolute":      {[]tar.Header{regular("/a-1.0.0/x")}, "is not below"},
		"beside":        {[]tar.Header{good, regular("b-1.0.0/x")}, "is not below"},
		"no directory":  {[]tar.Header{regular("a-1.0.0")}, "neither a file nor a directory"},
		"symbolic link": {[]tar.Header{good, {Name: "a-1.0.0/x", Typeflag: tar.TypeSymlink, Linkname: "/etc"}}, "neither a file"},
		"hard link":     {[]tar.Header{good, {Name: "a-1.0.0/x", Typeflag: tar.TypeLink, Linkname: "a-1.0.0/Cargo.toml"}}, "neither a file"},
		"device":        {[]tar.Header{good, {Name: "a-1.0.0/x", Typeflag: tar.TypeChar}}, "neither a file"},
		"nothing":       {nil, "is empty"},
		"too long":      {[]tar.Header{good, regular("a-1.0.0/" + strings.Repeat("x", 90))}, "more than 100 bytes or 3 files"},
		"too many":      {[]tar.Header{good, good, good, good}, "more than 100 bytes or 3 files"},
	}
	crates := map[string][]byte{}
	for name, c := range cases {
		crates[name+"/a-1.0.0.crate"] = crateOf(t, c.members...)
	}
	dir, said, err := vendoring(t, refusals, crates)
	if err != nil {
		t.Fatal(err, said)
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(said), &got); err != nil {
		t.Fatal(err)
	}
	for name, c := range cases {
		if !strings.Contains(got[name], c.want) {
			t.Errorf("%s: %s", name, got[name])
		}
		if _, err := os.Lstat(filepath.Join(dir, name, "b-1.0.0")); err == nil {
			t.Errorf("%s: a crate wrote beside its directory", name)
		}
	}
	if _, said, err := vendoring(t, `vendor.vendor("crates", "vendored")`, map[string][]byte{"README": nil}); err == nil || !strings.Contains(said, "README is no crate") {
		t.Errorf("%v: %s", err, said)
	}
}

func TestVendorPrepare(t *testing.T) {
	t.Parallel()
	statements := `print(json.dumps(vendor.prepare("crates", os.path.abspath("cargo \"home"))))`
	dir, said, err := vendoring(t, statements, map[string][]byte{"a-1.0.0.crate": crateOf(t, regular("a-1.0.0/Cargo.toml"))})
	if err != nil {
		t.Fatal(err, said)
	}
	home := filepath.Join(dir, `cargo "home`)
	var env map[string]string
	if err := json.Unmarshal([]byte(said), &env); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"CARGO_HOME": home, "CARGO_NET_OFFLINE": "true", "CARGO_INCREMENTAL": "0", "CARGO_TERM_COLOR": "never",
		"RUSTC_WRAPPER": filepath.Join(home, "rustc-wrapper"), "MATURIN_NO_INSTALL_RUST": "1",
	}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Error(diff)
	}
	check := `import tomllib; c = tomllib.load(open("config.toml", "rb"))
print(c["source"][c["source"]["crates-io"]["replace-with"]]["directory"], c["net"]["offline"])`
	interpreter, _ := python()
	cmd := exec.Command(interpreter, "-c", check)
	cmd.Dir = home
	if out, err := cmd.CombinedOutput(); strings.TrimSpace(string(out)) != filepath.Join(home, "vendor")+" True" || err != nil {
		t.Errorf("%v: %s", err, out)
	}
	// The wrapper runs what cargo says, and tells it what the sources are called.
	out, err := exec.Command(env["RUSTC_WRAPPER"], "printf", "<%s>", "two words").CombinedOutput()
	if want := "<two words><--remap-path-prefix=" + dir + "=/usr/src/ampoule>"; string(out) != want || err != nil {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
}
