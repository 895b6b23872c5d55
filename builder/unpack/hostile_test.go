package unpack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"ampoule/builder/unpack/unpacktest"
)

const evil = "evil-1.0-py3-none-any.whl"

// points is entry_points.txt with scripts.
func points(lines string) unpacktest.Member {
	return text("INFO/entry_points.txt", "[console_scripts]\n"+lines+"\n")
}

// hostile are wheels that try to be more than files of one distribution: whoever installs
// them is told which member, and why. docs/security.md has them as a table.
var hostile = []struct {
	name    string
	file    string
	members []unpacktest.Member
	says    string
}{
	// Entry points.
	{"a script in another distribution", evil, []unpacktest.Member{points("../lib/python3.13/site-packages/other/x.py = evil:main")}, "no plain file name"},
	{"a script in a directory", evil, []unpacktest.Member{points("a/b = evil:main")}, "no plain file name"},
	{"a script with an absolute path", evil, []unpacktest.Member{points("/tmp/x = evil:main")}, "no plain file name"},
	{"a script called ..", evil, []unpacktest.Member{points(".. = evil:main")}, "no plain file name"},
	{"a script without a name", evil, []unpacktest.Member{points("= evil:main")}, "no plain file name"},
	{"a script of two words", evil, []unpacktest.Member{points("rm -rf = evil:main")}, "no plain file name"},
	{"a script with control codes", evil, []unpacktest.Member{points("a\x1b[2Jb = evil:main")}, "no plain file name"},
	{"a script with too long a name", evil, []unpacktest.Member{points(strings.Repeat("n", 256) + " = evil:main")}, "no plain file name"},
	{"a script that is the interpreter", evil, []unpacktest.Member{points("python3 = evil:main")}, "bin/python3, which is the interpreter's name"},
	{"a script that every script calls", evil, []unpacktest.Member{points("realpath = evil:main")}, "which the first line of every script calls"},
	{"code where a function stands", evil, []unpacktest.Member{points("x = os:system('id')")}, "is not MODULE:FUNCTION"},
	{"lines where a module stands", evil, []unpacktest.Member{points("x = evil\vimport os:main")}, "is not MODULE:FUNCTION"},
	{"a script without a function", evil, []unpacktest.Member{points("x = evil")}, "is not MODULE:FUNCTION"},
	{"one script, two functions", evil, []unpacktest.Member{points("x = evil:a\nx = evil:b")}, "two entry points have this name"},
	{"a script in place of a file", evil, []unpacktest.Member{points("x = evil:a"), text("DATA/data/bin/x", "")}, "is the place of"},
	// Places.
	{"the standard library as an archive", evil, []unpacktest.Member{text("DATA/data/lib/python313.zip", "")}, "wheels bring files for site-packages and"},
	{"the same, for one machine", "evil-1.0-py3-none-manylinux_2_28_x86_64.whl", []unpacktest.Member{text("DATA/data/lib/python313.zip", "")}, "wheels bring files for site-packages and"},
	{"a module of the standard library", evil, []unpacktest.Member{text("DATA/data/lib/python3.13/os.py", "")}, "wheels bring files for site-packages and"},
	{"startup code in the standard library", evil, []unpacktest.Member{text("DATA/data/lib/python3.13/sitecustomize.py", "")}, "wheels bring files for site-packages and"},
	{"pyvenv.cfg", evil, []unpacktest.Member{text("DATA/data/pyvenv.cfg", "")}, "wheels bring files for site-packages and"},
	{"pip.conf", evil, []unpacktest.Member{text("DATA/data/pip.conf", "")}, "wheels bring files for site-packages and"},
	{"bin itself", evil, []unpacktest.Member{text("DATA/data/bin", "")}, "wheels bring files for site-packages and"},
	{"a library for all, of a pure wheel", evil, []unpacktest.Member{text("DATA/data/lib/libssl.so.3", "")}, "wheels bring files for site-packages and"},
	{"libpython", "evil-1.0-py3-none-manylinux_2_28_x86_64.whl", []unpacktest.Member{text("DATA/data/lib/libpython3.13.so.1.0", "")}, "wheels bring files for site-packages and"},
	{"the interpreter as a script", evil, []unpacktest.Member{text("DATA/scripts/python3.13", "")}, "which is the interpreter's name"},
	{"the interpreter as data", evil, []unpacktest.Member{text("DATA/data/bin/python3", "")}, "which is the interpreter's name"},
	{"certificates for all", evil, []unpacktest.Member{text("DATA/data/share/ca-certificates/ca-bundle.crt", "")}, "where the tree has what it carries itself"},
	{"what the artifact tells of itself", evil, []unpacktest.Member{text("DATA/data/share/ampoule/artifact.json", "{}")}, "where the tree has what it carries itself"},
	{"the metadata of another", evil, []unpacktest.Member{text("DATA/purelib/other-1.0.dist-info/METADATA", "")}, "which is not this wheel's"},
	{"the RECORD of another, spelt otherwise", evil, []unpacktest.Member{text("DATA/purelib/Evil-1.0.DIST-INFO/RECORD", "")}, "which is not this wheel's"},
	{"an absolute path in data", evil, []unpacktest.Member{text("DATA/data//etc/passwd", "")}, "not clean"},
	{"dots in data", evil, []unpacktest.Member{text("DATA/data/../../../etc/passwd", "")}, "not clean"},
	{"dots in scripts", evil, []unpacktest.Member{text("DATA/scripts/../lib/x", "")}, "not clean"},
	{"the .data of another", evil, []unpacktest.Member{text("other-1.0.data/scripts/x", "")}, "a .data directory of another name"},
	{"a scheme that is none", evil, []unpacktest.Member{text("DATA/stdlib/os.py", "")}, `"stdlib" is no scheme`},
	{"no scheme", evil, []unpacktest.Member{text("DATA/x", "")}, "it has no scheme"},
	{"one place twice", evil, []unpacktest.Member{text("x.py", "a"), text("DATA/purelib/x.py", "b")}, "is the place of"},
	{"a file below a file", evil, []unpacktest.Member{text("x", "a"), text("DATA/purelib/x/y", "b")}, "not a directory"},
	{"paths that differ in case", evil, []unpacktest.Member{text("x/Y.py", "a"), text("x/y.py", "b")}, "differ in case"},
	{"paths that differ in the form of a character", evil, []unpacktest.Member{text("\u00fc.py", "a"), text("u\u0308.py", "b")}, "how characters are written"},
	// What the wheel says of itself.
	{"RECORD lies", evil, []unpacktest.Member{{Name: "x.py", Text: "evil", Listed: "good"}}, "not the one that RECORD lists"},
	{"RECORD lies of a script", evil, []unpacktest.Member{{Name: "DATA/scripts/x", Text: "#!python\nevil", Listed: "#!python\ngood"}}, "content is sha256:"},
	{"RECORD leaves a file out", evil, []unpacktest.Member{{Name: "x.py", Text: "evil", Unlisted: true}}, "RECORD does not list the file"},
	{"RECORD lists what is not there", evil, []unpacktest.Member{text("INFO/RECORD", "evil-1.0.dist-info/RECORD,,\nother/x.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n")}, "not in the wheel"},
	{"RECORD is none", evil, []unpacktest.Member{text("INFO/RECORD", "\"")}, "RECORD cannot be read"},
	{"the name of another in METADATA", evil, []unpacktest.Member{text("INFO/METADATA", "Name: other\nVersion: 1.0\n")}, "METADATA names another distribution"},
	{"the .dist-info of another", evil, []unpacktest.Member{text("other-1.0.dist-info/METADATA", "")}, "exactly one .dist-info"},
	{"a format that is not known", evil, []unpacktest.Member{text("INFO/WHEEL", "Wheel-Version: 2.0\nTag: py3-none-any\n")}, `Wheel-Version "2.0"`},
	{"no format", evil, []unpacktest.Member{text("INFO/WHEEL", "Tag: py3-none-any\n")}, `Wheel-Version ""`},
	{"tags of another machine", evil, []unpacktest.Member{text("INFO/WHEEL", "Wheel-Version: 1.0\nTag: cp39-cp39-win32\n")}, "it is for cp39-cp39-win32, and not for"},
	{"a wheel of another interpreter", "evil-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", nil, "and not for python3.13"},
	{"a wheel of another machine", "evil-1.0-py3-none-win_amd64.whl", nil, "and not for python3.13"},
	{"a wheel of Python 2", "evil-1.0-py2-none-any.whl", nil, "and not for python3.13"},
	// What a zip can be.
	{"a link", evil, []unpacktest.Member{{Name: "x", Text: "/etc/passwd", Mode: 0o120777}}, "no wheel can hold links"},
	{"a device", evil, []unpacktest.Member{{Name: "x", Mode: 0o020666}}, "no wheel can hold links or devices"},
	{"an absolute path", evil, []unpacktest.Member{text("/etc/cron.d/x", "")}, "not clean"},
	{"backslashes", evil, []unpacktest.Member{text(`..\x.py`, "")}, "not clean"},
	{"two members, one path", evil, []unpacktest.Member{text("x.py", "a"), text("x.py", "a")}, "Two members have this path"},
	{"bytes without end", evil, []unpacktest.Member{{Name: "x", Text: strings.Repeat("\x00", 65<<20), Method: 8}}, "times as many"},
}

func TestHostileWheels(t *testing.T) {
	t.Parallel()
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			refused(t, h.file, unpacktest.Wheel(t, h.file, h.members...), h.says)
		})
	}
}

// refused wants a wheel to be refused with a reason.
func refused(t *testing.T, file string, data []byte, says string) {
	t.Helper()
	tr, err := unpacked(t, file, data)
	if err == nil {
		t.Fatalf("it was unpacked: %v", tr.Entries())
	}
	var fault *RefusedError
	if !errors.As(err, &fault) || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "unpacking "+file+": ") {
		t.Errorf("%T: %v; want %q", err, err, says)
	}
	if strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("it has control codes: %q", err)
	}
}

// forged are changes to the bytes of a wheel of two stored files, a.py and b.py, that have
// one reader of zip files see something else than another.
var forged = []struct {
	name   string
	change func(data []byte) []byte
	says   string
}{
	{"another name before the member", replaced(localOf("a.py"), "a.py", "b.py", 30), "disagree"},
	{"another size before the member", put16(localOf("a.py"), 22, 5), "disagree"},
	{"another method before the member", put16(localOf("a.py"), 8, 8), "disagree"},
	{"encrypted", put16(directoryOf("a.py"), 8, 9), "encrypted"},
	{"a method that is not known", put16(directoryOf("a.py"), 10, 12), "compressed by method 12"},
	{"two members on the same bytes", func(data []byte) []byte {
		a, b := directoryOf("a.py")(data), directoryOf("b.py")(data)
		copy(data[b+42:b+46], data[a+42:a+46])
		return data
	}, "share bytes"},
	{"something before", func(data []byte) []byte { return append([]byte("#!/bin/sh\n"), data...) }, "end records begin"},
	{"something behind", func(data []byte) []byte { return append(data, "PK"...) }, "behind the end"},
	{"a zip behind the zip", func(data []byte) []byte { return append(data, data...) }, "end records begin"},
	{"fewer members than it says", func(data []byte) []byte {
		end := bytes.LastIndex(data, []byte("PK\x05\x06"))
		binary.LittleEndian.PutUint16(data[end+8:], 1)
		binary.LittleEndian.PutUint16(data[end+10:], 1)
		return data
	}, "says that it has 1"},
	{"a directory that is longer", func(data []byte) []byte {
		end := bytes.LastIndex(data, []byte("PK\x05\x06"))
		binary.LittleEndian.PutUint32(data[end+12:], binary.LittleEndian.Uint32(data[end+12:])+1)
		return data
	}, "end records begin"},
	{"something between the members and the directory", func(data []byte) []byte {
		end := bytes.LastIndex(data, []byte("PK\x05\x06"))
		at := binary.LittleEndian.Uint32(data[end+16:])
		binary.LittleEndian.PutUint32(data[end+16:], at+4)
		return append(append(append([]byte{}, data[:at]...), "evil"...), data[at:]...)
	}, "data descriptor"},
	{"a second name", func(data []byte) []byte {
		const field = "up\x05\x00\x01evil" // Info-ZIP's Unicode path
		at, end := directoryOf("a.py")(data), bytes.LastIndex(data, []byte("PK\x05\x06"))
		binary.LittleEndian.PutUint16(data[at+30:], uint16(len(field)))
		binary.LittleEndian.PutUint32(data[end+12:], binary.LittleEndian.Uint32(data[end+12:])+uint32(len(field)))
		behind := at + 46 + len("a.py")
		return append(append(append([]byte{}, data[:behind]...), field...), data[behind:]...)
	}, "second name"},
	{"a size that does not fit", func(data []byte) []byte {
		at := directoryOf("a.py")(data)
		binary.LittleEndian.PutUint32(data[at+20:], 1<<31)
		return data
	}, "share bytes"},
	{"cut", func(data []byte) []byte { return data[:len(data)-30] }, "no end of central directory"},
}

// A link is one, whatever system the zip says that it was made on.
func TestLinkOfAnotherSystem(t *testing.T) {
	t.Parallel()
	data := unpacktest.Wheel(t, evil, unpacktest.Member{Name: "link", Text: "/etc/passwd", Mode: 0o120777})
	data[directoryOf("link")(data)+5] = 0 // MS-DOS, where attributes are others
	refused(t, evil, data, "no wheel can hold links")
}

type finder func(data []byte) int

func localOf(name string) finder { return headerOf("PK\x03\x04", 30, name) }

func directoryOf(name string) finder { return headerOf("PK\x01\x02", 46, name) }

// headerOf finds the header of a kind whose name stands at an offset.
func headerOf(signature string, offset int, name string) finder {
	return func(data []byte) int {
		for at := 0; ; at++ {
			i := bytes.Index(data[at:], []byte(signature))
			if at += i; bytes.HasPrefix(data[at+offset:], []byte(name)) {
				return at
			}
		}
	}
}

func replaced(find finder, old, with string, offset int) func([]byte) []byte {
	return func(data []byte) []byte {
		at := find(data) + offset
		copy(data[at:], bytes.Replace(data[at:at+len(old)], []byte(old), []byte(with), 1))
		return data
	}
}

func put16(find finder, offset int, value uint16) func([]byte) []byte {
	return func(data []byte) []byte {
		binary.LittleEndian.PutUint16(data[find(data)+offset:], value)
		return data
	}
}

func TestForgedZips(t *testing.T) {
	t.Parallel()
	pack := func(t *testing.T) []byte {
		return unpacktest.Wheel(t, evil, text("a.py", "a"), text("b.py", "b"))
	}
	if _, err := unpacked(t, evil, pack(t)); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	for _, f := range forged {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			refused(t, evil, f.change(pack(t)), f.says)
		})
	}
}
