package preflight

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/audit/internal/specimen"
	"ampoule/audit/survey"
	"ampoule/faults"
	"ampoule/tree"
)

// libc compiles a libc.so.6 that defines versions up to one.
func libc(t *testing.T, versions ...string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "map")
	text := ""
	for _, v := range versions {
		text += fmt.Sprintf("GLIBC_%s { f%s; };\n", v, strings.ReplaceAll(v, ".", "_"))
	}
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	source := ""
	for _, v := range versions {
		source += fmt.Sprintf("void f%s(void) {}\n", strings.ReplaceAll(v, ".", "_"))
	}
	return specimen.Compile(t, source, "-shared", "-fPIC", "-Wl,-soname,libc.so.6", "-Wl,--version-script="+script)
}

// machine makes a root with a tree in /opt/web; a text that begins with "@" is a file to copy.
func machine(t *testing.T, files map[string]string) survey.Machine {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		if from, ok := strings.CutPrefix(text, "@"); ok {
			data, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			text = string(data)
		}
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return survey.Machine(root)
}

// patched copies a file with another byte in it.
func patched(t *testing.T, file string, at int, to byte) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[at] = to
	out := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(out, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCheck(t *testing.T) {
	t.Parallel()
	old, recent := libc(t, "2.2.5", "2.31"), libc(t, "2.2.5", "2.31", "2.36")
	// It needs GLIBC_2.36.
	python := specimen.Compile(t, "void f2_36(void); int _PyRuntime; void _start(void) { f2_36(); }", "-rdynamic", "-fPIE", "-pie", "-Wl,--dynamic-linker=/lib64/ld-linux-x86-64.so.2", recent)
	lost := specimen.Compile(t, "void *PyInit_x(void) { return 0; }", "-shared", "-fPIC",
		specimen.Compile(t, "int y;", "-shared", "-fPIC", "-Wl,-soname,libhost.so.1"))
	fast := specimen.Compile(t, "void *PyInit_x(void) { return 0; }", "-shared", "-fPIC", "-march=x86-64-v3", "-mneeded", "-Wl,-z,x86-64-v3")
	module := specimen.Compile(t, "void f2_36(void); void *PyInit_x(void) { f2_36(); return 0; }", "-shared", "-fPIC", recent)
	// e_machine of AArch64 (gABI, chapter 4).
	foreign := patched(t, fast, 18, 183)
	const lib = "opt/web/lib/python3.13/"
	base := func(more map[string]string) map[string]string {
		files := map[string]string{
			"opt/web/bin/python3.13": "@" + python, lib + "_sysconfigdata__linux_x86_64-linux-gnu.py": "build_time_vars = {'EXT_SUFFIX': '.so', 'SOABI': 'x'}\n",
			lib + "site-packages/README.txt": "", "lib64/ld-linux-x86-64.so.2": "@" + specimen.Compile(t, "int x;", "-shared", "-fPIC", "-Wl,-soname,ld-linux-x86-64.so.2"),
			"lib/x86_64-linux-gnu/libc.so.6":    "@" + recent,
			"etc/ssl/certs/ca-certificates.crt": "x", "usr/share/zoneinfo/UTC": "x", "lib/terminfo/x/xterm": "x",
		}
		for name, text := range more {
			if files[name] = text; text == "-" {
				delete(files, name)
			}
		}
		return files
	}
	for name, c := range map[string]struct {
		files map[string]string
		env   []string
		// cpu is the processor's level, x86-64-v2 where it is empty.
		cpu string
		// want are the items that are not good.
		want []string
	}{
		"a fit machine":               {base(nil), []string{"PATH=/bin"}, "", nil},
		"an older glibc":              {base(map[string]string{"lib/x86_64-linux-gnu/libc.so.6": "@" + old}), nil, "", []string{"unfit glibc"}},
		"no glibc":                    {base(map[string]string{"lib/x86_64-linux-gnu/libc.so.6": "-"}), nil, "", []string{"unfit glibc", "unfit libraries"}},
		"a library that is gone":      {base(map[string]string{lib + "site-packages/x.so": "@" + lost}), nil, "", []string{"unfit libraries"}},
		"that library is there":       {base(map[string]string{lib + "site-packages/x.so": "@" + lost, "usr/lib/libhost.so.1": "@" + specimen.Compile(t, "int y;", "-shared", "-fPIC", "-Wl,-soname,libhost.so.1")}), nil, "", nil},
		"no certificates":             {base(map[string]string{"etc/ssl/certs/ca-certificates.crt": "-"}), nil, "", []string{"warning certificates"}},
		"a variable for them":         {base(map[string]string{"etc/ssl/certs/ca-certificates.crt": "-", "srv/own.pem": "x"}), []string{"SSL_CERT_FILE=/srv/own.pem"}, "", nil},
		"a variable that misleads":    {base(nil), []string{"SSL_CERT_FILE=/srv/gone.pem"}, "", []string{"warning certificates"}},
		"no zones, no terminals":      {base(map[string]string{"usr/share/zoneinfo/UTC": "-", "lib/terminfo/x/xterm": "-"}), nil, "", []string{"warning time zones", "warning terminals"}},
		"the tree has them":           {base(map[string]string{"usr/share/zoneinfo/UTC": "-", "opt/web/share/zoneinfo/UTC": "x"}), nil, "", nil},
		"a stray library path":        {base(nil), []string{"LD_LIBRARY_PATH=/srv/lib", "PYTHONPATH=/srv"}, "", []string{"warning LD_LIBRARY_PATH", "warning PYTHONPATH"}},
		"another home":                {base(nil), []string{"PYTHONHOME=/usr"}, "", []string{"unfit PYTHONHOME"}},
		"its own home":                {base(nil), []string{"PYTHONHOME=/opt/web"}, "", []string{"warning PYTHONHOME"}},
		"an engine for OpenSSL":       {base(map[string]string{"etc/ssl/openssl.cnf": "[engine]\n dynamic_path = /usr/lib/e.so\n"}), nil, "", []string{"warning openssl.cnf"}},
		"a plain openssl.cnf":         {base(map[string]string{"etc/ssl/openssl.cnf": "[req]\n# dynamic_path\nbits = 1\n"}), nil, "", nil},
		"a processor that is too old": {base(map[string]string{lib + "site-packages/x.so": "@" + fast}), nil, "", []string{"unfit processor"}},
		"another processor":           {base(map[string]string{lib + "site-packages/x.so": "@" + foreign}), nil, "", []string{"unfit processor"}},
		"modules of nobody":           {base(map[string]string{"opt/web/lambda/x.so": "@" + module, "opt/web/lambda/x-1.0.dist-info/METADATA": "Name: x\nVersion: 1.0\n"}), nil, "", []string{"warning undecided"}},
		"a newer processor":           {base(map[string]string{lib + "site-packages/x.so": "@" + fast}), nil, "x86-64-v3", nil},
		"packages, one of them pure": {base(map[string]string{
			lib + "site-packages/x/deep/y.so": "@" + lost, lib + "site-packages/x/__init__.py": "", lib + "site-packages/pure/deep/z.py": "",
			lib + "site-packages/pure-1.0.dist-info/METADATA": "Name: pure\nVersion: 1.0\n", lib + "site-packages/pure-1.0.dist-info/RECORD": "pure/deep/z.py,,\n",
		}), nil, "", []string{"unfit libraries"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := Machine{Files: machine(t, c.files), Env: c.env, CPU: cmp.Or(c.cpu, "x86-64-v2")}
			r, err := Check(t.Context(), m, "/opt/web")
			if err != nil {
				t.Fatal(err)
			}
			m.Known = knownIn(t, string(m.Files.(survey.Machine)), "opt/web")
			if known, err := Check(t.Context(), m, "/opt/web"); err != nil || gocmp.Diff(r, known) != "" {
				t.Errorf("with what is known (-without +with): %v\n%s", err, gocmp.Diff(r, known))
			}
			var got []string
			unfit := false
			for _, i := range r.Items {
				if i.State != Good {
					got = append(got, string(i.State)+" "+i.Name)
				}
				unfit = unfit || i.State == Unfit
				if (i.State == Good) != (i.Cause == "") || (i.State == Good) != (i.Remedy == "") {
					t.Errorf("%+v", i)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("not good: %q, want %q", got, c.want)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text); err != nil || r.Fit == unfit || (faults.Of(r.Err()) == faults.Machine) != unfit || (len(faults.Hints(r.Err())) == 1) != unfit {
				t.Errorf("fit: %t, %v, %v\n%s", r.Fit, r.Err(), err, &text)
			}
		})
	}
}

// knownIn is what an installation knows of a tree.
func knownIn(t *testing.T, root, dir string) survey.Known {
	t.Helper()
	found, err := tree.FromDir(filepath.Join(root, dir))
	if err != nil {
		t.Fatal(err)
	}
	natives := map[string]bool{}
	for _, e := range found.Entries() {
		if data, err := os.ReadFile(filepath.Join(root, dir, e.Path)); err == nil && audit.IsELF(data) {
			natives[e.Path] = true
		}
	}
	pure := Pure(found, natives)
	return survey.Known{
		Hash: func(p string) string {
			e, _ := found.Lookup(strings.TrimPrefix(p, dir+"/"))
			return e.SHA256
		},
		Skip: func(p string) bool { return pure[strings.TrimPrefix(p, dir+"/")] },
	}
}

// Packages without native code are passed over, and nothing else.
func TestPure(t *testing.T) {
	t.Parallel()
	const site = "lib/python3.13/site-packages/"
	entries := []tree.Entry{{Path: site + "linked/a", Kind: tree.Symlink, Link: "b"}}
	for _, p := range []string{"pure/a.py", "pure/deep/b.py", "native/deep/c.so.1", "named/d.so", "e.py", "pure-1.0.dist-info/RECORD", "old.egg-info/PKG-INFO"} {
		entries = append(entries, tree.FileEntry(site+p, 0o644, nil))
	}
	whole, err := tree.New(append(entries, tree.FileEntry("lib/python3.13/asyncio/a.py", 0o644, nil)))
	if err != nil {
		t.Fatal(err)
	}
	got := Pure(whole, map[string]bool{site + "native/deep/c.so.1": true})
	if want := map[string]bool{site + "pure": true}; gocmp.Diff(want, got) != "" {
		t.Errorf("pure are %v", got)
	}
}

// Trees that differ in pure packages and in what distributions say of themselves ask the same of a machine; others do not.
func TestAsking(t *testing.T) {
	t.Parallel()
	const site = "lib/python3.13/site-packages/"
	asking := func(files map[string]string, native string) string {
		entries := []tree.Entry{{Path: "bin/python3", Kind: tree.Symlink, Link: "python3.13"}}
		for _, p := range slices.Sorted(maps.Keys(files)) {
			entries = append(entries, tree.FileEntry(p, 0o644, []byte(files[p])))
		}
		whole, err := tree.New(entries)
		if err != nil {
			t.Fatal(err)
		}
		return Asking(whole, map[string]bool{native: true})
	}
	usual := map[string]string{site + "pure/a.py": "1", site + "pure-1.0.dist-info/RECORD": "1", site + "own/b.so": "1", site + "own/c.py": "1", "lib/python3.13/os.py": "1"}
	for name, c := range map[string]struct {
		drop, add string
		same      bool
	}{
		"nothing":                     {same: true},
		"a pure package changes":      {add: site + "pure/a.py", same: true},
		"one comes":                   {add: site + "more/a.py", same: true},
		"one goes":                    {drop: site + "pure/a.py", same: true},
		"another version":             {drop: site + "pure-1.0.dist-info/RECORD", add: site + "pure-2.0.dist-info/RECORD", same: true},
		"native code changes":         {add: site + "own/b.so"},
		"what is beside it":           {add: site + "own/c.py"},
		"a module in a pure package":  {add: site + "pure/d.so"},
		"a file directly in the path": {add: site + "e.pth"},
		"what the artifact says":      {add: "share/ampoule/artifact.json", same: true},
		"the standard library":        {add: "lib/python3.13/os.py"},
		"a library goes":              {drop: site + "own/b.so"},
	} {
		files := maps.Clone(usual)
		delete(files, c.drop)
		if c.add != "" {
			files[c.add] = "2"
		}
		if same := asking(files, site+"own/b.so") == asking(usual, site+"own/b.so"); same != c.same {
			t.Errorf("%s: the same: %t", name, same)
		}
	}
	for _, native := range []string{"pure/a.py", "pure-1.0.dist-info/RECORD"} {
		if asking(usual, site+"own/b.so") == asking(usual, site+native) {
			t.Errorf("%s asks nothing when it is an ELF file", native)
		}
	}
}

// A machine is another one when its system, its processor, its libraries or the program have changed.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	m := Machine{Files: machine(t, map[string]string{"etc/os-release": "ID=debian\n", "etc/ld.so.cache": "x", "usr/lib/liba.so": "x", "srv/data": "x"}), CPU: "x86-64-v2"}
	root := string(m.Files.(survey.Machine))
	was := m.Fingerprint("1")
	for _, c := range []struct {
		name   string
		change func() error
		same   bool
	}{
		{"nothing", func() error { return nil }, true},
		{"something else", func() error { return os.WriteFile(filepath.Join(root, "srv/more"), nil, 0o600) }, true},
		{"another system", func() error { return os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("ID=other\n"), 0o600) }, false},
		{"a library goes", func() error { return os.Remove(filepath.Join(root, "usr/lib/liba.so")) }, false},
		{"ldconfig", func() error { return os.WriteFile(filepath.Join(root, "etc/ld.so.cache"), []byte("yy"), 0o600) }, false},
		{"another processor", func() error { m.CPU = "x86-64-v3"; return nil }, false},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		now := m.Fingerprint("1")
		if (now == was) != c.same {
			t.Errorf("%s: %s, before %s", c.name, now, was)
		}
		was = now
	}
	if m.Fingerprint("2") == was {
		t.Error("another program has the same")
	}
}

// What has nothing in it that could run is not fit.
func TestNothingToRun(t *testing.T) {
	t.Parallel()
	const site = "opt/web/lib/python3.13/site-packages/"
	for name, c := range map[string]struct {
		files map[string]string
		want  func(error) bool
	}{
		"wheels alone":             {map[string]string{"opt/web/a-1.0-py3-none-any.whl": "garbage"}, is[*survey.NoInterpreterError]},
		"a script in its place":    {map[string]string{"opt/web/bin/python3.13": "#!/bin/sh\n", site + "a.py": ""}, is[*survey.NoInterpreterError]},
		"an environment's is gone": {map[string]string{"opt/web/pyvenv.cfg": "home = /gone/bin\n", site + "a.py": ""}, is[*survey.NoInterpreterError]},
		"nothing":                  {map[string]string{"opt/web/readme": ""}, is[*survey.NothingError]},
		"no such directory":        {nil, is[*survey.NotFoundError]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if r, err := Check(t.Context(), Machine{Files: machine(t, c.files)}, "/opt/web"); !c.want(err) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
