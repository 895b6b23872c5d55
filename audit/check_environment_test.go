package audit

import (
	"slices"
	"strings"
	"testing"

	"ampoule/tree"
)

// What happens to such environments when they are started is in the tests of package survey.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	const venv = "srv/v/"
	static, shared := interpreter(t), sharedInterpreter(t)
	link := func(at, to string) tree.Entry { return tree.Entry{Path: at, Kind: tree.Symlink, Link: to} }
	file := func(at, text string) tree.Entry { return tree.FileEntry(at, 0o755, []byte(text)) }
	exe := fromFile(t, "usr/bin/python3.13", static)
	standard := file("usr/lib/python3.13/os.py", "")
	configured := file(venv+"pyvenv.cfg", "home = /usr/bin\n")
	linked := []tree.Entry{link(venv+"bin/python", "/usr/bin/python3.13"), configured}
	told := func(severity, rest string) []string { return []string{severity + " environment /srv/v/" + rest} }
	for name, c := range map[string]struct {
		first string
		root  []tree.Entry
		want  []string
	}{
		"as it was made":                   {"#!/srv/v/bin/python", slices.Concat(linked, []tree.Entry{exe, standard}), nil},
		"without a standard library":       {"#!/srv/v/bin/python", slices.Concat(linked, []tree.Entry{exe}), told("refuse", "bin/python: interpreter /usr/bin/python3.13")},
		"a standard library in an archive": {"#!/srv/v/bin/python", slices.Concat(linked, []tree.Entry{exe, file("usr/lib/python313.zip", "")}), nil},
		"a standard library in lib64":      {"#!/srv/v/bin/python", slices.Concat(linked, []tree.Entry{exe, file("usr/lib64/python3.13/os.py", "")}), nil},
		"a standard library where it is from": {"#!/srv/v/bin/python", []tree.Entry{link(venv+"bin/python", "/usr/bin/python3.13"), exe, file("opt/py/lib/python3.13/os.py", ""),
			file(venv+"pyvenv.cfg", "home = /opt/py/bin\n")}, nil},
		"a lost libpython":                   {"#!/srv/v/bin/python", slices.Concat(linked, []tree.Entry{fromFile(t, "usr/bin/python3.13", shared), standard}), told("refuse", "bin/python: interpreter /usr/bin/python3.13")},
		"a lost interpreter":                 {"#!/srv/v/bin/python", linked, told("refuse", "bin/python: interpreter /usr/bin/python3.13")},
		"no pyvenv.cfg":                      {"#!/srv/v/bin/python", []tree.Entry{linked[0], exe, standard, link(venv+"bin/python3.13", "python")}, told("refuse", "bin/python: sys.path /usr/bin/python3.13")},
		"a moved program":                    {"#!/srv/old/bin/python", slices.Concat(linked, []tree.Entry{exe, standard}), told("refuse", "bin/run: #! /srv/old/bin/python")},
		"a moved program of conda's":         {"#!/srv/old/bin/python", []tree.Entry{link(venv+"bin/python", "/usr/bin/python3.13"), exe, standard, file(venv+"conda-meta/history", "")}, told("refuse", "bin/run: #! /srv/old/bin/python")},
		"the only program of a prefix":       {"#!/srv/old/bin/python", []tree.Entry{link(venv+"bin/python", "/usr/bin/python3.13"), exe, standard, file(venv+"lib/python3.13/os.py", "")}, told("refuse", "bin/run: #! /srv/old/bin/python")},
		"a program of another environment":   {"#!/srv/w/bin/python", slices.Concat(linked, []tree.Entry{exe, standard, link("srv/w/bin/python", "/usr/bin/python3.13")}), told("warn", "bin/run: #! /srv/w/bin/python")},
		"one name of several is lost":        {"#!/srv/v/bin/python", slices.Concat(linked, []tree.Entry{exe, standard, link(venv+"bin/python3", "/gone")}), told("warn", "bin/python3: interpreter /gone")},
		"activation of another environment":  {"#!/srv/v/bin/python", slices.Concat(linked, []tree.Entry{exe, standard, file(venv+"bin/activate", "VIRTUAL_ENV=\"/srv/old\"\n")}), told("warn", "bin/activate: VIRTUAL_ENV /srv/old")},
		"what has no interpreter of its own": {"#!/usr/bin/python3.13", []tree.Entry{exe, standard}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries := script(c.first)
			for i := range entries {
				entries[i].Path = venv + entries[i].Path
			}
			p := Place{Site: venv + strings.TrimSuffix(site, "/"), Prefix: strings.TrimSuffix(venv, "/")}
			for _, e := range c.root {
				if e.Path == exe.Path {
					p.Interpreter, e.Owner = exe.Path, OwnerInterpreter
					entries = append(entries, e)
				}
			}
			p.Tree = newTree(t, entries...)
			expectPlace(t, inspected(t, environmentCheck, rootfs(t, "mid", c.root...), p), c.want...)
		})
	}
}

// expectPlace compares what is said of a place.
func expectPlace(t *testing.T, got []string, want ...string) {
	t.Helper()
	noteSpecimen(t, want)
	if !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// In a part of a system nothing starts: it is told, and nothing is refused.
func TestEnvironmentOfAPart(t *testing.T) {
	t.Parallel()
	root := newTree(t, tree.FileEntry("v/pyvenv.cfg", 0o644, nil))
	in, err := NewInspector(root).Inspect(t.Context(), Place{Tree: newTree(t), Site: "v/lib/python3.13/site-packages", Prefix: "v"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(in.Unjudged, func(u Unjudged) bool {
		return u.Check == environmentCheck && strings.Contains(u.Why, "no dynamic loader")
	}) {
		t.Errorf("unjudged: %+v", in.Unjudged)
	}
}
