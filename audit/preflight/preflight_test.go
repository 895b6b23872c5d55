package preflight

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ampoule/audit/internal/specimen"
	"ampoule/audit/survey"
	"ampoule/faults"
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
	const tree = "opt/web/lib/python3.13/"
	base := func(more map[string]string) map[string]string {
		files := map[string]string{
			"opt/web/bin/python3.13": "@" + python, tree + "_sysconfigdata__linux_x86_64-linux-gnu.py": "build_time_vars = {'EXT_SUFFIX': '.so', 'SOABI': 'x'}\n",
			tree + "site-packages/README.txt": "", "lib64/ld-linux-x86-64.so.2": "@" + specimen.Compile(t, "int x;", "-shared", "-fPIC", "-Wl,-soname,ld-linux-x86-64.so.2"),
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
		"a library that is gone":      {base(map[string]string{tree + "site-packages/x.so": "@" + lost}), nil, "", []string{"unfit libraries"}},
		"that library is there":       {base(map[string]string{tree + "site-packages/x.so": "@" + lost, "usr/lib/libhost.so.1": "@" + specimen.Compile(t, "int y;", "-shared", "-fPIC", "-Wl,-soname,libhost.so.1")}), nil, "", nil},
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
		"a processor that is too old": {base(map[string]string{tree + "site-packages/x.so": "@" + fast}), nil, "", []string{"unfit processor"}},
		"another processor":           {base(map[string]string{tree + "site-packages/x.so": "@" + foreign}), nil, "", []string{"unfit processor"}},
		"modules of nobody":           {base(map[string]string{"opt/web/lambda/x.so": "@" + module, "opt/web/lambda/x-1.0.dist-info/METADATA": "Name: x\nVersion: 1.0\n"}), nil, "", []string{"warning undecided"}},
		"a newer processor":           {base(map[string]string{tree + "site-packages/x.so": "@" + fast}), nil, "x86-64-v3", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := Check(t.Context(), Machine{Files: machine(t, c.files), Env: c.env, CPU: cmp.Or(c.cpu, "x86-64-v2")}, "/opt/web")
			if err != nil {
				t.Fatal(err)
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
