package audit

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

const wheelName = "my_pkg-1.0-py3-none-any.whl"

// member is one file of a wheel that a test makes.
type member struct {
	name, text string
	mode       fs.FileMode
	// unlisted members are left out of RECORD.
	unlisted bool
}

func soundMembers(more ...member) []member {
	return append([]member{
		{name: "my_pkg/__init__.py", text: "x = 1\n"},
		{name: "my_pkg-1.0.dist-info/METADATA", text: "Metadata-Version: 2.1\nName: My.Pkg\nVersion: 1.0\n\nText: not a field\n"},
		{name: "my_pkg-1.0.dist-info/WHEEL", text: "Wheel-Version: 1.0\n"},
	}, more...)
}

// withWheel is a wheel whose WHEEL has a text.
func withWheel(text string) []member {
	members := soundMembers()
	members[2].text = text
	return members
}

// makeWheel makes a wheel with a RECORD and more rows of it.
func makeWheel(t *testing.T, members []member, rows ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	record := strings.Join(append(rows, ""), "\n")
	for _, m := range members {
		if !m.unlisted && !strings.HasSuffix(m.name, "/") {
			record += fmt.Sprintf("%s,%s,%d\n", m.name, recordHash(tree.FileEntry("x", 0o644, []byte(m.text))), len(m.text))
		}
	}
	record += "my_pkg-1.0.dist-info/RECORD,,\n"
	for _, m := range append(members, member{name: "my_pkg-1.0.dist-info/RECORD", text: record}) {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		h.SetMode(0o644 | m.mode)
		if strings.HasSuffix(m.name, "/") {
			h = &zip.FileHeader{Name: m.name}
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func checkBytes(data []byte, name string) []string {
	list := []string{}
	for _, f := range CheckWheel(bytes.NewReader(data), int64(len(data)), name) {
		list = append(list, fmt.Sprintf("%s %s %s: %s", f.Severity, f.Check, f.File, f.Field))
	}
	return list
}

func TestCheckWheel(t *testing.T) {
	t.Parallel()
	record := wheelName + "/my_pkg-1.0.dist-info/RECORD"
	tests := []struct {
		name    string
		members []member
		rows    []string
		want    []string
	}{
		{"sound", soundMembers(), nil, nil},
		{"directories", soundMembers(member{name: "my_pkg/"}), nil, nil},
		{"signature", soundMembers(member{name: "my_pkg-1.0.dist-info/RECORD.jws", unlisted: true}), nil, nil},
		{"unlisted", soundMembers(member{name: "my_pkg/extra.so", unlisted: true}), nil, []string{"refuse record " + wheelName + "/my_pkg/extra.so: path"}},
		{"bytecode unlisted", soundMembers(member{name: "my_pkg/__pycache__/__init__.cpython-313.pyc", unlisted: true}), nil,
			[]string{"refuse record " + wheelName + "/my_pkg/__pycache__/__init__.cpython-313.pyc: path"}},
		{"listed twice", soundMembers(), []string{"my_pkg/__init__.py,,"}, []string{"refuse record " + record + ": line 2", "refuse record " + wheelName + "/my_pkg/__init__.py: sha256"}},
		{"gone", soundMembers(), []string{"my_pkg/gone.py,,"}, []string{"refuse record " + record + ": line 1"}},
		{"changed", soundMembers(member{name: "a.py", text: "x", unlisted: true}), []string{"a.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,1"},
			[]string{"refuse record " + wheelName + "/a.py: sha256"}},
		{"weak hash", soundMembers(member{name: "a.py", unlisted: true}), []string{"a.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,0"}, []string{"warn record " + record + ": hash"}},
		{"wrong weak hash", soundMembers(member{name: "a.py", unlisted: true}), []string{"a.py,md5=2B2M2Y8AsgTpgAmY7PhCfg,0"}, []string{"refuse record " + wheelName + "/a.py: md5", "warn record " + record + ": hash"}},
		{"better hash", soundMembers(member{name: "a.py", unlisted: true}), []string{"a.py,sha384=OLBgp1GsljhM2TJ-sbHjaiH9txEUvgdDTAzHv2P24donTt6_529l-9Ua0vFImLlb,0"}, nil},
		{"wrong better hash", soundMembers(member{name: "a.py", unlisted: true}), []string{"a.py,sha384=PLBgp1GsljhM2TJ-sbHjaiH9txEUvgdDTAzHv2P24donTt6_529l-9Ua0vFImLlb,0"}, []string{"refuse record " + wheelName + "/a.py: sha384"}},
		{"hash of an unknown kind", soundMembers(member{name: "a.py", unlisted: true}), []string{"a.py,shake_128=f5wrpOiP,0"}, []string{"warn record " + record + ": hash"}},
		{"padded hash", soundMembers(member{name: "a.py", unlisted: true}), []string{"a.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=,0"}, nil},
		{"leaves", soundMembers(member{name: "../evil.py"}), nil, []string{"refuse record " + wheelName + "/../evil.py: path", "refuse record " + record + ": line 4"}},
		{"absolute", soundMembers(member{name: "/evil.py", unlisted: true}), nil, []string{"refuse record " + wheelName + "//evil.py: path"}},
		{"backslash", soundMembers(member{name: `a\b.py`, unlisted: true}), nil, []string{"refuse record " + wheelName + `/a\b.py: path`}},
		{"duplicate", soundMembers(member{name: "my_pkg/__init__.py", text: "x = 2\n", unlisted: true}), nil, []string{"refuse record " + wheelName + "/my_pkg/__init__.py: path"}},
		{"link", soundMembers(member{name: "my_pkg/link", text: "/etc/passwd", mode: fs.ModeSymlink, unlisted: true}), nil, []string{"refuse record " + wheelName + "/my_pkg/link: mode"}},
		{"second dist-info", soundMembers(member{name: "other-1.dist-info/METADATA"}), nil, []string{"refuse record " + wheelName + ": dist-info"}},
		{"no METADATA", soundMembers()[:1], nil, []string{"refuse record " + wheelName + "/my_pkg-1.0.dist-info/METADATA: path", "refuse record " + wheelName + "/my_pkg-1.0.dist-info/WHEEL: path"}},
		{"no WHEEL", soundMembers()[:2], nil, []string{"refuse record " + wheelName + "/my_pkg-1.0.dist-info/WHEEL: path"}},
		{"WHEEL without a version", withWheel("Tag: py3-none-any\n"), nil, []string{"refuse record " + wheelName + "/my_pkg-1.0.dist-info/WHEEL: Wheel-Version"}},
		{"WHEEL of another version", withWheel("Wheel-Version: 2.0\n"), nil, []string{"refuse record " + wheelName + "/my_pkg-1.0.dist-info/WHEEL: Wheel-Version"}},
		{"WHEEL of a later version", withWheel("Wheel-Version: 1.9\n"), nil, nil},
		{"WHEEL in no UTF-8", withWheel("Wheel-Version: 1.0\nGenerator: \xff\n"), nil, []string{"refuse record " + wheelName + "/my_pkg-1.0.dist-info/WHEEL: header"}},
		{"WHEEL with other tags", withWheel("Wheel-Version: 1.0\nTag: cp39-cp39-linux_x86_64\n"), nil, []string{"warn tags " + wheelName + "/my_pkg-1.0.dist-info/WHEEL: Tag"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(append([]string{}, tt.want...), checkBytes(makeWheel(t, tt.members, tt.rows...), wheelName)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckWheelNames(t *testing.T) {
	t.Parallel()
	data := makeWheel(t, soundMembers())
	for name, want := range map[string][]string{
		wheelName:                       {},
		"My.Pkg-1.0-1-py3-none-any.whl": {},
		"my_pkg.whl":                    {"refuse record my_pkg.whl: name"},
		"my_pkg-1.1-py3-none-any.whl":   {"refuse record my_pkg-1.1-py3-none-any.whl/my_pkg-1.0.dist-info: dist-info"},
		"other-1.0-py3-none-any.whl":    {"refuse record other-1.0-py3-none-any.whl/my_pkg-1.0.dist-info: dist-info"},
	} {
		if diff := cmp.Diff(want, checkBytes(data, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// Whatever the file is called, what is in it is looked at.
	damaged := makeWheel(t, soundMembers(member{name: "my_pkg/extra.so", unlisted: true}))
	want := []string{"refuse record my_pkg.whl: name", "refuse record my_pkg.whl/my_pkg/extra.so: path"}
	if diff := cmp.Diff(want, checkBytes(damaged, "my_pkg.whl")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheckWheelRefusesBombs(t *testing.T) {
	t.Parallel()
	zipFault := []string{"refuse record " + wheelName + ": zip"}
	sound := makeWheel(t, soundMembers())
	// Each member's claimed size is at 24 of its central directory header.
	huge := bytes.Clone(sound)
	binary.LittleEndian.PutUint32(huge[bytes.Index(huge, []byte("PK\x01\x02"))+24:], 1<<31)
	// Every member's header offset, at 42, is set to the first one's.
	shared := bytes.Clone(sound)
	for at := 0; ; {
		i := bytes.Index(shared[at:], []byte("PK\x01\x02"))
		if i < 0 {
			break
		}
		at += i + 4
		binary.LittleEndian.PutUint32(shared[at-4+42:], 0)
	}
	zeros := makeWheel(t, soundMembers(member{name: "zeros", text: strings.Repeat("\x00", 70<<20)}))
	for name, data := range map[string][]byte{
		"claims 2 GiB": huge, "overlapping members": shared, "ratio": zeros,
		"no zip": []byte("PK"), "empty": nil, "cut off": sound[:len(sound)-30],
	} {
		if diff := cmp.Diff(zipFault, checkBytes(data, wheelName)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func FuzzCheckWheel(f *testing.F) {
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Add(makeWheel(&testing.T{}, soundMembers()))
	f.Fuzz(func(_ *testing.T, data []byte) {
		CheckWheel(bytes.NewReader(data), int64(len(data)), wheelName)
	})
}

// FuzzMembers judges wheels that are sound zip files with anything in them. Findings name
// files and say why and what to do, and no text of theirs can steer a terminal.
func FuzzMembers(f *testing.F) {
	f.Add("my_pkg/a.so", "\x7fELF\x02\x01\x01", "my_pkg/__init__.py,,\n", "Tag: cp313-cp313-linux_x86_64\n", "Requires-Dist: a (>=1) ; extra == 'x'\n")
	f.Add("../a", "", "a,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0", "Tag: py2.py3-none-any\nRoot-Is-Purelib: true\n", "Provides-Extra: x\n")
	f.Add("my_pkg-1.0.data/scripts/x", "#!python\n", "\"my_pkg-1.0.dist-info/RECORD\",,", "Tag: cp39-abi3-manylinux_2_28_x86_64\n", "")
	f.Add("my_pkg-1.0.dist-info/entry_points.txt", "[console_scripts]\nx = my_pkg:main [extra]\n", "", "", "")
	f.Fuzz(func(t *testing.T, name, text, record, tags, metadata string) {
		if name == "" || strings.HasSuffix(name, "/") || len(name) > 1<<15 {
			return // archive/zip does not write such names, or no files
		}
		members := soundMembers(member{name: name, text: text})
		members[1].text = strings.Replace(members[1].text, "\n\n", "\n"+metadata+"\n\n", 1)
		members[2].text += tags
		data := makeWheel(t, members, record)
		for _, file := range []string{wheelName, "my_pkg-1.0-cp313-cp313-linux_x86_64.whl"} {
			for _, found := range CheckWheel(bytes.NewReader(data), int64(len(data)), file) {
				if found.Check == "" || found.Cause == "" || found.Remedy == "" || strings.ContainsAny(found.Cause+found.Value, "\x00\x1b\x7f") {
					t.Errorf("finding %+v", found)
				}
			}
		}
	})
}
