package unpack

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/unpack/unpacktest"
	"ampoule/packaging"
	"ampoule/tree"
)

var text = unpacktest.Text

// built is the interpreter of artifacts.
var built = Interpreter{
	Prefix: "opt/ampoule", Executable: "python3.13", Version: "3.13", Tags: packaging.CPython{Minor: 13, Machine: "x86_64"},
	Site: "lib/python3.13/site-packages", Headers: "include/python3.13",
}

// honest are wheels as people publish them.
var honest = []struct {
	file    string
	members []unpacktest.Member
}{
	{"plain-1.0-py3-none-any.whl", []unpacktest.Member{
		text("plain/__init__.py", "x = 1\n"), text("plain/data, \"quoted\".txt", "y\n"), text("plain/ü.py", ""), text("INFO/licenses/LICENSE", "free\n"),
	}},
	{"Points_A.b-1.0-py2.py3-none-any.whl", []unpacktest.Member{
		text("points.py", ""),
		text("INFO/entry_points.txt", "# scripts\r\n[console_scripts]\r\npoints = points:main\npoints-x=points.sub:Class.run [extra1, extra2]\n\n[gui_scripts]\npoints.gui = points:gui\n[other]\nx/y = nothing\n"),
	}},
	{"schemes-1.0-py3-none-any.whl", []unpacktest.Member{
		text("schemes/__init__.py", ""), text("DATA/purelib/schemes/pure.py", "pure\n"), text("DATA/platlib/schemes/plat.py", "plat\n"),
		text("DATA/headers/schemes.h", "#define X\n"), text("DATA/headers/sub/y.h", ""), text("DATA/data/share/man/man1/schemes.1", "man\n"),
		text("DATA/data/etc/schemes/schemes.conf", "conf\n"), text("DATA/data/include/schemes/z.h", "z\n"),
		{Name: "schemes/tool.sh", Text: "#!/bin/sh\n", Mode: 0o100755},
	}},
	{"scripts-1.0-py3-none-any.whl", []unpacktest.Member{
		{Name: "DATA/scripts/tool", Text: "#!python\nprint(1)\n", Mode: 0o100755},
		{Name: "DATA/scripts/windowed", Text: "#!pythonw -E\nprint(2)\n", Mode: 0o100755},
		{Name: "DATA/scripts/shell", Text: "#!/bin/sh\nexit 0\n", Mode: 0o100755},
		{Name: "DATA/scripts/binary", Text: "\x7fELF#!python\n", Mode: 0o100755},
		{Name: "DATA/scripts/empty", Text: "", Mode: 0o100755},
		{Name: "DATA/scripts/line", Text: "#!python", Mode: 0o100755},
		{Name: "DATA/data/bin/other", Text: "#!python\nprint(3)\n", Mode: 0o100755},
	}},
	{"pip-99.0-py3-none-any.whl", []unpacktest.Member{
		text("pip/__init__.py", ""), text("INFO/entry_points.txt", "[console_scripts]\npip = pip:main\npip3 = pip:old\npip3.9 = pip:old\neasy_install = pip:easy\neasy_install-3.9 = pip:easy\n"),
	}},
	{"Header_Name.X-1.0-py3-none-any.whl", []unpacktest.Member{
		text("INFO/METADATA", "Metadata-Version: 2.1\nName: Header-Name.X\nVersion: 1.0\n"), text("DATA/headers/h.h", ""),
	}},
	{"libraries-1.0-py3-none-linux_x86_64.whl", []unpacktest.Member{
		text("libraries.py", ""), {Name: "DATA/data/lib/liblibraries.so.1", Text: "\x7fELF", Mode: 0o100755},
		text("DATA/data/lib/cmake/libraries/libraries.cmake", ""), text("DATA/data/opt/libraries/include/x.h", ""),
	}},
	{"deflated-1.0-py3-none-any.whl", []unpacktest.Member{
		{Name: "deflated.py", Text: strings.Repeat("x = 1\n", 1000), Method: 8}, {Name: "empty.py", Method: 8},
	}},
}

// TestAsPip unpacks honest wheels, and installs them with pip as builds did before: the
// trees are the same, to the byte.
func TestAsPip(t *testing.T) {
	t.Parallel()
	in, err := host()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := make([]string, len(honest))
	for i, h := range honest {
		files[i] = filepath.Join(dir, h.file)
		if err := os.WriteFile(files[i], unpacktest.Wheel(t, h.file, h.members...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range pipInstalls(t, in, "", files...) {
		t.Run(honest[i].file, func(t *testing.T) { compareWithPip(t, in, want, files[i]) })
	}
}

// unpacked unpacks a wheel and reads every file of it.
func unpacked(t testing.TB, file string, data []byte) (*tree.Tree, error) {
	t.Helper()
	w, err := Open(bytes.NewReader(data), int64(len(data)), file, built)
	if err != nil {
		return nil, err
	}
	tr, err := w.Tree(nil)
	if err != nil {
		return nil, err
	}
	for _, e := range tr.Entries() {
		if e.Kind != tree.File {
			continue
		}
		if _, err := e.ReadAll(); err != nil {
			if fault := Check(bytes.NewReader(data), int64(len(data)), file); fault != nil {
				return nil, fault
			}
			t.Errorf("%v, and the wheel is sound", err)
		}
	}
	return tr, nil
}

// Where pip's result is not what a tree should have, it is another one.
func TestOtherThanPip(t *testing.T) {
	t.Parallel()
	const file = "other-1.0-py3-none-any.whl"
	tr, err := unpacked(t, file, unpacktest.Wheel(t, file,
		text("other/__init__.py", ""), text("other/__pycache__/__init__.cpython-313.pyc", "evil"),
		text("DATA/scripts/without-x", "#!/bin/sh\n"), text("DATA/scripts/wrapper-script.py", "#!python\nwrapped\n"),
		text("DATA/scripts/options", "#!/opt/ampoule/bin/python3.13 -E -s\n"), text("DATA/scripts/quotes", "#!/opt/ampoule/bin/python3.13 '; evil\n"),
		text("INFO/entry_points.txt", "[console_scripts]\n; a comment\nwrapper = other : main\n"), text("INFO/INSTALLER", "evil\n"), text("INFO/direct_url.json", "{}"),
		unpacktest.Member{Name: "INFO/RECORD.jws", Text: "signed", Unlisted: true}))
	if err != nil {
		t.Fatal(err)
	}
	const info = "lib/python3.13/site-packages/other-1.0.dist-info/"
	want := []string{
		"bin/options 0755", "bin/quotes 0755", "bin/without-x 0755", "bin/wrapper 0755", info + "INSTALLER 0644", info + "METADATA 0644", info + "RECORD 0644",
		info + "RECORD.jws 0644", info + "REQUESTED 0644", info + "WHEEL 0644", info + "entry_points.txt 0644", "lib/python3.13/site-packages/other/__init__.py 0644",
	}
	var got []string
	for _, e := range tr.Entries() {
		if e.Kind == tree.File {
			got = append(got, e.Path+" 0"+octal(e.Mode))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for p, want := range map[string]string{
		info + "INSTALLER": "pip\n",
		"bin/options":      `#!/usr/bin/env -S sh -c 'exec "$(dirname -- "$(realpath -- "$0")")/python3.13" -E -s "$0" "$@"'` + "\n",
		"bin/quotes":       "#!/opt/ampoule/bin/python3.13 '; evil\n",
	} {
		e, _ := tr.Lookup(p)
		if data, err := e.ReadAll(); string(data) != want || err != nil {
			t.Errorf("%s has %q, %v", p, data, err)
		}
	}
	e, _ := tr.Lookup(info + "RECORD")
	rows, err := e.ReadAll()
	if err != nil || strings.Contains(string(rows), ".pyc") || strings.Contains(string(rows), "direct_url") || !strings.Contains(string(rows), "\nother-1.0.dist-info/RECORD.jws,,\n") {
		t.Errorf("RECORD: %v\n%s", err, rows)
	}
}

func octal(m fs.FileMode) string {
	if m.Perm() == 0o755 {
		return "755"
	}
	if m.Perm() == 0o644 {
		return "644"
	}
	return m.String()
}

func TestRefusedErrorTells(t *testing.T) {
	t.Parallel()
	var hinted interface{ Hint() string }
	for err, want := range map[error]string{
		&RefusedError{Wheel: "w.whl", Why: "it is odd"}:                                   "unpacking w.whl: it is odd",
		&RefusedError{Wheel: "w.whl", Member: "m\n", Why: "it is odd", Advice: "do this"}: `unpacking w.whl: "m\n": it is odd`,
	} {
		if err.Error() != want || !errors.As(err, &hinted) || hinted.Hint() == "" {
			t.Errorf("%q, want %q; hint %q", err, want, hinted.Hint())
		}
	}
}

// TestOtherHashes unpacks wheels whose RECORD has other hashes than sha256: they are compared
// all the same.
func TestOtherHashes(t *testing.T) {
	t.Parallel()
	const (
		content = "x = 1\n"
		info    = "plain-1.0.dist-info/"
	)
	for hash, refused := range map[string]string{
		sumOf("sha512", content): "", sumOf("blake2b", content): "", sumOf("md5", content): "",
		sumOf("sha512", "x = 2\n"): "not the one that RECORD lists", sumOf("sha3_256", "x = 2\n"): "not the one that RECORD lists",
	} {
		rows := "plain/__init__.py," + hash + ",6\n"
		metadata, header := "Metadata-Version: 2.1\nName: plain\nVersion: 1.0\n", "Wheel-Version: 1.0\nTag: cp313-cp313-linux_x86_64\n"
		rows += info + "METADATA," + sumOf("sha256", metadata) + ",\n" + info + "WHEEL," + sumOf("sha384", header) + ",\n" + info + "RECORD,,\n"
		// What is inside was named for linux, as a wheel that was repaired by hand is.
		const file = "plain-1.0-cp313-cp313-manylinux_2_17_x86_64.whl"
		data := unpacktest.Wheel(t, file, text("plain/__init__.py", content), text("INFO/METADATA", metadata), text("INFO/WHEEL", header), text("INFO/RECORD", rows))
		w, err := Open(bytes.NewReader(data), int64(len(data)), file, built)
		if refused != "" {
			if err == nil || !strings.Contains(err.Error(), refused) {
				t.Errorf("%s: %v", hash, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", hash, err)
			continue
		}
		if got, err := w.Entries[built.Site+"/plain/__init__.py"].ReadAll(); err != nil || string(got) != content {
			t.Errorf("%s: %q, %v", hash, got, err)
		}
	}
}

// sumOf is a hash as RECORD has it.
func sumOf(algorithm, content string) string {
	made := packaging.RecordHash{Algorithm: algorithm}.New()
	made.Write([]byte(content))
	return algorithm + "=" + base64.RawURLEncoding.EncodeToString(made.Sum(nil))
}
