package audit

import (
	"strings"
	"testing"

	"ampoule/tree"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	module := func() tree.Entry { return tree.FileEntry(site+"flask/__init__.py", 0o644, []byte("x = 1\n")) }
	record := site + "flask-1.0.dist-info/RECORD"
	// with replaces RECORD's text and adds entries.
	with := func(replace func(string) string, more ...tree.Entry) []tree.Entry {
		entries := installed("flask", module())
		for i, e := range entries {
			if e.Path == record {
				data, err := e.ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				entries[i] = e.Replace([]byte(replace(string(data))))
			}
		}
		return append(entries, more...)
	}
	same := func(s string) string { return s }
	line := func(l string) func(string) string { return func(s string) string { return l + "\n" + s } }
	script := tree.FileEntry("bin/flask", 0o755, []byte("#!/bin/sh\n"))
	script.Owner = "wheel:flask"
	link := tree.Entry{Path: site + "flask/link", Kind: tree.Symlink, Link: "__init__.py"}
	readme := tree.FileEntry(site+"README.txt", 0o644, nil)
	interpreters := tree.FileEntry(site+"ampoule.pth", 0o644, nil)
	interpreters.Owner = OwnerInterpreter
	cache := site + "flask/__pycache__/"
	tests := []struct {
		name    string
		entries []tree.Entry
		want    []string
	}{
		{"as installed", with(same), nil},
		{"script listed", installed("flask", module(), script), nil},
		{"bytecode of a listed source", with(same, tree.FileEntry(cache+"__init__.cpython-313.pyc", 0o644, pyc(13)), tree.FileEntry(cache+"__init__.cpython-313.opt-1.pyc", 0o644, pyc(13))), nil},
		{"listed bytecode without a hash, not there", with(line("flask/__pycache__/__init__.cpython-313.pyc,,")), nil},
		{"listed bytecode without a hash beside its source", with(line("flask/__init__.pyc,,"), tree.FileEntry(site+"flask/__init__.pyc", 0o644, nil)), nil},
		{"listed bytecode without a hash beside its source, not there", with(line("flask/__init__.pyo,,")), nil},
		{"the interpreter's own", with(same, readme, interpreters), nil},
		{"signature", with(same, tree.FileEntry(site+"flask-1.0.dist-info/RECORD.jws", 0o644, nil)), nil},

		{"changed", with(func(s string) string { return strings.Replace(s, "sha256=", "sha256=AAAA", 1)[:0] + changed(s) }),
			[]string{"refuse record " + site + "flask/__init__.py: sha256 *"}},
		{"size", with(func(s string) string { return strings.Replace(s, ",6\n", ",7\n", 1) }),
			[]string{"refuse record " + site + "flask/__init__.py: size 6"}},
		{"gone", with(line("flask/gone.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0")),
			[]string{"refuse record " + record + ": line 1 flask/gone.py"}},
		{"no hash", with(func(s string) string { return "flask/__init__.py,,\n" + strings.SplitAfterN(s, "\n", 2)[1] }),
			[]string{"refuse record " + record + ": line 1 flask/__init__.py"}},
		{"bytecode without a hash, no source", with(line("flask/only.pyc,,"), tree.FileEntry(site+"flask/only.pyc", 0o644, pyc(13))),
			[]string{"refuse record " + record + ": line 1 flask/only.pyc"}},
		{"twice", with(func(s string) string { return s + "flask/./__init__.py,,\n" }),
			[]string{"refuse record " + record + ": line 5 flask/./__init__.py"}},
		{"absolute", with(line("/etc/passwd,,")), []string{"refuse record " + record + ": line 1 /etc/passwd"}},
		{"leaves", with(line("../../../../etc/passwd,,")), []string{"refuse record " + record + ": line 1 ../../../../etc/passwd"}},
		{"directory", with(line("flask,,")), []string{"refuse record " + record + ": line 1 flask"}},
		{"unlisted", with(same, tree.FileEntry(site+"flask/extra.txt", 0o644, nil)), []string{"refuse record " + site + "flask/extra.txt: owner "}},
		{"script unlisted", with(same, script), []string{"refuse record bin/flask: owner wheel:flask"}},
		{"bytecode of nothing", with(same, tree.FileEntry(cache+"gone.cpython-313.pyc", 0o644, nil)),
			[]string{"refuse record " + cache + "gone.cpython-313.pyc: owner "}},
		{"link", with(same, link), []string{"refuse record " + link.Path + ": link __init__.py"}},
		{"no RECORD", []tree.Entry{tree.FileEntry(site+"x-1.dist-info/METADATA", 0o644, []byte("Name: x\nVersion: 1\n"))},
			[]string{"refuse record " + site + "x-1.dist-info/METADATA: owner ", "refuse record " + site + "x-1.dist-info/RECORD: RECORD *",
				"refuse tags " + site + "x-1.dist-info/WHEEL: Tag *"}},
		{"malformed RECORD", with(func(string) string { return "a,b\n" }), []string{
			"refuse record " + site + "flask-1.0.dist-info/METADATA: owner wheel:flask",
			"refuse record " + record + ": RECORD malformed *",
			"refuse record " + record + ": owner ", "refuse record " + site + "flask-1.0.dist-info/WHEEL: owner wheel:flask",
			"refuse record " + site + "flask/__init__.py: owner wheel:flask",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			expect(t, judge(t, subject(t, tt.entries...)), tt.want...)
		})
	}
}

// changed gives the first file of a RECORD the hash of no bytes.
func changed(record string) string {
	rows := strings.SplitAfterN(record, "\n", 2)
	return strings.Split(rows[0], ",")[0] + ",sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,6\n" + rows[1]
}

func TestRecordWithTwoOwners(t *testing.T) {
	t.Parallel()
	shared := tree.FileEntry(site+"shared.py", 0o644, nil)
	a, b := installed("aaa", shared), installed("bbb", shared)
	expect(t, judge(t, subject(t, append(a, b[1:]...)...)),
		"refuse record "+site+"bbb-1.0.dist-info/RECORD: line 1 shared.py")
}
