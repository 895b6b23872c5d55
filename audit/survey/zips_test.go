package survey

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ampoule/audit"
)

// undecided lists what a report leaves open.
func undecided(r *Report) []string {
	lines := []string{}
	for _, u := range r.Units {
		for _, f := range u.Findings {
			if f.Severity == audit.Undecided {
				lines = append(lines, u.Path+" "+f.Check)
			}
		}
	}
	return lines
}

// What is in an archive is judged as what it is: nothing but a wheel is called one.
func TestPrograms(t *testing.T) {
	t.Parallel()
	sound, poison := dist(module(t, ""), tag), dist(module(t, "libpython3.13.so.1.0"), tag)
	other := dist(module(t, ""), "cp312-cp312-linux_x86_64")
	const shebang = "#!/usr/bin/env python3\n"
	main := map[string]string{"__main__.py": "import spam\n"}
	pex := func(parts ...map[string]string) string {
		return shebang + pack(t, together(append(parts, main, map[string]string{"PEX-INFO": "{}", ".bootstrap/pex/pex.py": "", "app/code.py": ""})...))
	}
	shiv := func(parts map[string]string) string {
		return shebang + pack(t, together(under("site-packages", parts), main, map[string]string{"environment.json": "{}", "_bootstrap/__init__.py": ""}))
	}
	const at = ".deps/spam-1.0-" + tag + ".whl"
	function := map[string]string{"lambda_function.py": "import spam\n"}
	bad := []string{" closure ", " libpython-needed "}
	for what, c := range map[string]struct {
		file, text string
		kinds      []Kind
		refused    []string
	}{
		"a pex":                            {"app.pex", pex(under(at, sound)), []Kind{KindPex}, nil},
		"a pex without a suffix":           {"app", pex(under(at, poison)), []Kind{KindPex}, bad},
		"a pex for several Pythons":        {"app.pex", pex(under(at, sound), under(".deps/spam-1.0-cp312-cp312-linux_x86_64.whl", other)), []Kind{KindPex, KindPex}, nil},
		"a pex for another Python":         {"app.pex", pex(under(".deps/spam-1.0-cp312-cp312-linux_x86_64.whl", other)), []Kind{KindPex}, []string{" tags "}},
		"a shiv":                           {"app.pyz", shiv(sound), []Kind{KindShiv}, nil},
		"a poisoned shiv":                  {"app", shiv(poison), []Kind{KindShiv}, bad},
		"a pure zipapp":                    {"app.pyz", shebang + pack(t, together(main, map[string]string{"spam.py": ""})), []Kind{KindZipapp}, nil},
		"a zipapp with distributions":      {"app.pyz", pack(t, together(main, distOf("ok", "py3-none-any", "", map[string]string{"ok.py": ""}))), []Kind{KindZipapp}, nil},
		"a function of AWS Lambda":         {"function.zip", pack(t, together(function, sound)), []Kind{KindZip}, nil},
		"a poisoned function":              {"function.zip", pack(t, together(function, poison)), []Kind{KindZip}, bad},
		"a function without distributions": {"function.zip", pack(t, together(function, map[string]string{"spam" + suffix: poison["spam"+suffix]})), []Kind{KindZip}, bad},
		"a layer":                          {"layer.zip", pack(t, under("python/lib/python3.13/site-packages", poison)), []Kind{KindZip}, bad},
		"a layer, the other way":           {"layer.zip", pack(t, under("python", poison)), []Kind{KindZip}, bad},
		"a wheel of another name":          {"spam.zip", pack(t, poison), []Kind{KindWheel}, bad[1:]},
		"a wheel":                          {"spam-1.0-" + tag + ".whl", pack(t, sound), []Kind{KindWheel}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			m := machine(t, map[string]string{"d/" + c.file: c.text})
			r, err := Look(t.Context(), Target{Files: m, Path: "/d/" + c.file, Against: "/usr"})
			if err != nil {
				t.Fatal(err)
			}
			var kinds []Kind
			for _, u := range r.Units {
				kinds = append(kinds, u.Kind)
				if !strings.HasPrefix(u.Path, "/d/"+c.file) {
					t.Errorf("a unit is at %s", u.Path)
				}
			}
			if !slices.Equal(kinds, c.kinds) {
				t.Errorf("kinds %q, want %q", kinds, c.kinds)
			}
			got := strings.Join(refused(r), "\n")
			for _, want := range c.refused {
				if !strings.Contains(got, want) {
					t.Errorf("not refused by %s:\n%s", want, got)
				}
			}
			if (got == "") != (len(c.refused) == 0) || r.Passed != (got == "") {
				t.Errorf("refused, passed %t:\n%s", r.Passed, got)
			}
		})
	}
}

// Programs in archives are found below a directory, too; other archives are told.
func TestProgramsInADirectory(t *testing.T) {
	t.Parallel()
	poison := dist(module(t, "libpython3.13.so.1.0"), tag)
	good := pack(t, map[string]string{"__main__.py": "", "spam.py": ""})
	info := map[string]string{"PEX-INFO": "{}", ".bootstrap": "", "__main__.py": ""}
	m := machine(t, together(map[string]string{
		"d/app.pyz": good, "d/function.zip": good, "d/cut.pex": good[:len(good)-30], "d/notes.pyz": "no archive",
		"d/packed/.deps/spam-1.0-" + tag + ".whl": pack(t, together(poison, map[string]string{".layout.json": "{}"})),
	}, under("d/packed", info)))
	r, err := Look(t.Context(), Target{Files: m, Path: "/d"})
	if err != nil {
		t.Fatal(err)
	}
	told := []string{}
	for _, u := range r.Units {
		told = append(told, string(u.Kind)+" "+u.Path)
	}
	if want := []string{"zipapp /d/app.pyz", "zip /d/packed/.deps/spam-1.0-" + tag + ".whl"}; !slices.Equal(told, want) {
		t.Errorf("units %q, want %q", told, want)
	}
	if len(r.Unread) != 1 || r.Unread[0].Path != "/d/cut.pex" {
		t.Errorf("unread: %+v", r.Unread)
	}
	if want := []Unlooked{{"/d/function.zip", whyArchive, 1}}; !slices.Equal(r.Unlooked, want) {
		t.Errorf("not looked at: %+v", r.Unlooked)
	}
	if lines := strings.Join(refused(r), "\n"); !strings.Contains(lines, "libpython-needed") || strings.Contains(lines, " record ") {
		t.Errorf("refused:\n%s", lines)
	}
}

func TestProgramErrors(t *testing.T) {
	t.Parallel()
	good := "#!/usr/bin/python3\n" + pack(t, map[string]string{"__main__.py": ""})
	m := machine(t, map[string]string{"d/cut.pyz": good[:len(good)-30], "d/texts.zip": pack(t, map[string]string{"a.txt": "x"}), "d/script.pyz": "#!/bin/sh\n"})
	var unreadable *UnreadableError
	var nothing *NothingError
	for name, target := range map[string]any{"cut.pyz": &unreadable, "script.pyz": &unreadable, "texts.zip": &nothing} {
		if _, err := Look(t.Context(), Target{Files: m, Path: "/d/" + name}); err == nil || !errors.As(err, target) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What an audit says of an archive is what happens when it is started, or unpacked and imported.
func TestProgramsStart(t *testing.T) {
	t.Parallel()
	exe, _ := hostPython(t)
	suffix := realSuffix(t)
	for _, c := range []struct {
		name          string
		sound, zipapp bool
	}{
		{"a function", true, false}, {"a function that lacks a library", false, false}, {"a zipapp with a module", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newEnvironment(t)
			data, err := os.ReadFile(e.module("spam"+suffix, c.sound))
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{"spam" + suffix: string(data), "lambda_function.py": "import spam\n"}
			if c.zipapp {
				files["__main__.py"] = "import spam\n"
			}
			file := filepath.Join(t.TempDir(), "app.zip")
			if err := os.WriteFile(file, []byte(pack(t, files)), 0o644); err != nil {
				t.Fatal(err)
			}
			works, told := false, ""
			if c.zipapp {
				works, told = runs(t, exe, file)
			} else {
				to := filepath.Join(t.TempDir(), "task")
				if ok, told := runs(t, exe, "-m", "zipfile", "-e", file, to); !ok {
					t.Fatal(told)
				}
				works, told = runs(t, exe, "-c", "import sys; sys.path.insert(0, '"+to+"'); import lambda_function")
			}
			if works != (c.sound && !c.zipapp) {
				t.Fatalf("it works: %t, %s", works, told)
			}
			r, err := Look(t.Context(), Target{Files: Machine("/"), Path: file, Against: exe})
			if err != nil {
				t.Fatal(err)
			}
			if open := undecided(r); (len(open) > 0) != c.zipapp || (len(refused(r)) == 0) != c.sound {
				t.Errorf("refused %q, undecided %q", refused(r), open)
			}
		})
	}
}
