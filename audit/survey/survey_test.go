package survey

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ampoule/audit"
	"ampoule/audit/internal/specimen"
	"ampoule/tree"
)

const suffix = ".cpython-313-x86_64-linux-gnu.so"

// compile compiles C source to bytes.
func compile(t testing.TB, source string, flags ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(specimen.Compile(t, source, flags...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const moduleSource = `extern void *PyModule_Create2(void); void *PyInit_spam(void) { return PyModule_Create2(); }`

// module compiles an extension module; a libpython to link it to may be named.
func module(t testing.TB, libpython string) []byte {
	t.Helper()
	flags := []string{"-shared", "-fPIC"}
	if libpython != "" {
		lib := filepath.Join(t.TempDir(), "libstub.so")
		if err := os.WriteFile(lib, compile(t, "int stub;", "-shared", "-fPIC", "-Wl,-soname,"+libpython), 0o644); err != nil {
			t.Fatal(err)
		}
		flags = append(flags, lib)
	}
	return compile(t, moduleSource, flags...)
}

// interpreterELF compiles an executable that has a runtime in it.
func interpreterELF(t testing.TB) []byte {
	t.Helper()
	return compile(t, `int _PyRuntime; void *PyModule_Create2(void) { return 0; } void _start(void) { for (;;); }`,
		"-rdynamic", "-fPIE", "-pie", "-Wl,--dynamic-linker=/lib64/ld-linux-x86-64.so.2")
}

// dist is what an installer leaves of a distribution with one module, by path in
// site-packages.
func dist(mod []byte, tag string) map[string]string {
	return distOf("spam", tag, "", map[string]string{"spam" + suffix: string(mod)})
}

// distOf is what an installer leaves of a distribution with files, and more in METADATA.
func distOf(name, tag, metadata string, files map[string]string) map[string]string {
	files = maps.Clone(files)
	info := name + "-1.0.dist-info/"
	files[info+"WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: " + tag + "\n"
	files[info+"METADATA"] = "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n" + metadata
	record := ""
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256([]byte(files[name]))
		record += fmt.Sprintf("%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(files[name]))
	}
	files[info+"RECORD"] = record + info + "RECORD,,\n"
	return files
}

// cacheOf is an ld.so.cache that lists one library of 64-bit x86 (glibc's dl-cache.h).
func cacheOf(soname, file string) string {
	le := binary.LittleEndian
	strings := soname + "\x00" + file + "\x00"
	b := []byte("glibc-ld.so.cache1.1")
	b = le.AppendUint32(le.AppendUint32(b, 1), uint32(len(strings)))
	b = append(b, make([]byte, 48-len(b))...)
	const text = 48 + 24
	for _, v := range []uint32{0x0303, text, uint32(text + len(soname) + 1), 0, 0, 0} {
		b = le.AppendUint32(b, v)
	}
	return string(b) + strings
}

func pack(t testing.TB, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(files[name]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// machine makes a directory that stands for a machine's root, with an interpreter in
// /usr and the given files; a text that begins with "-> " is a link.
func machine(t testing.TB, files map[string]string) Machine {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{
		"usr/bin/python3.13":       string(interpreterELF(t)),
		"usr/bin/python3":          "-> python3.13",
		"usr/lib/python3.13/os.py": "",
		"usr/lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py": "build_time_vars = {'EXT_SUFFIX': '" + suffix + "', 'SOABI': 'cpython-313-x86_64-linux-gnu', 'LDSHARED': 'gcc -shared', 'CXX': 'g++'}\n",
		"lib64/ld-linux-x86-64.so.2":                                   string(compile(t, "int x;", "-shared", "-fPIC", "-Wl,-soname,ld-linux-x86-64.so.2")),
	}
	maps.Copy(all, files)
	for name, text := range all {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if link, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(link, p)
		} else {
			err = os.WriteFile(p, []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Machine(root)
}

func under(dir string, files map[string]string) map[string]string {
	moved := map[string]string{}
	for name, text := range files {
		moved[dir+"/"+name] = text
	}
	return moved
}

func together(parts ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, p := range parts {
		maps.Copy(all, p)
	}
	return all
}

// refused lists what a report refuses: unit, check and file.
func refused(r *Report) []string {
	lines := []string{}
	for _, u := range r.Units {
		for _, f := range u.Findings {
			if f.Severity == audit.Refuse {
				lines = append(lines, fmt.Sprintf("%s %s %s", u.Path, f.Check, f.File))
			}
		}
	}
	return lines
}

const (
	tag  = "cp313-cp313-linux_x86_64"
	venv = "srv/app/.venv"
	site = venv + "/lib/python3.13/site-packages"
)

func TestLook(t *testing.T) {
	t.Parallel()
	sound, poison := dist(module(t, ""), tag), dist(module(t, "libpython3.13.so.1.0"), tag)
	soundWheel, poisonWheel := pack(t, sound), pack(t, poison)
	more := string(compile(t, strings.ReplaceAll(moduleSource, "PyInit_spam", "PyInit_more"), "-shared", "-fPIC"))
	environment := map[string]string{venv + "/pyvenv.cfg": "home = /usr/bin\nversion = 3.13.5\n", venv + "/bin/python3.13": "-> /usr/bin/python3.13"}
	name := "spam-1.0-" + tag + ".whl"
	const body = "home/u/.cache/pip/http-v2/a/b/c/d/e/abcde0123.body"
	old := "cc=4,\x82\xa8response\x88\xa4body\xc6" + string(binary.BigEndian.AppendUint32(nil, uint32(len(poisonWheel)))) + poisonWheel + "\xa7headers\x80"
	ownLibrary := string(compile(t, "int own;", "-shared", "-fPIC", "-Wl,-soname,libown.so.1"))
	linked := filepath.Join(t.TempDir(), "libown.so.1")
	if err := os.WriteFile(linked, []byte(ownLibrary), 0o644); err != nil {
		t.Fatal(err)
	}
	linkedModule := string(compile(t, moduleSource, "-shared", "-fPIC", linked))
	poisoned := []string{"/" + site + " closure /" + site + "/spam" + suffix, "/" + site + " libpython-needed /" + site + "/spam" + suffix}
	brings := distOf("torch", tag, "", map[string]string{"torch/libown.so.1": ownLibrary})
	needs := func(metadata string) map[string]string {
		return distOf("spam", tag, metadata, map[string]string{"spam" + suffix: linkedModule})
	}
	// lacking is a wheel whose library is missing where its search path leads.
	lacking := func(rpath, metadata string) map[string]string {
		mod := string(compile(t, moduleSource, "-shared", "-fPIC", linked, "-Wl,-rpath,"+rpath))
		return map[string]string{"d/" + name: pack(t, distOf("spam", tag, metadata, map[string]string{"spam" + suffix: mod}))}
	}
	for what, c := range map[string]struct {
		files         map[string]string
		path, against string
		refused       []string
		units         int
		// version is that of the interpreter that the first unit was judged against.
		version string
	}{
		"an environment":              {together(environment, under(site, sound)), "/" + venv, "", nil, 1, "3.13"},
		"a poisoned environment":      {together(environment, under(site, poison)), "/" + venv, "", []string{"/" + site + " closure /" + site + "/spam" + suffix, "/" + site + " libpython-needed /" + site + "/spam" + suffix}, 1, "3.13"},
		"a required one's library":    {together(environment, under(site, needs("Requires-Dist: torch\n")), under(site, brings)), "/" + venv, "", nil, 1, "3.13"},
		"another one's library":       {together(environment, under(site, needs("")), under(site, brings)), "/" + venv, "", []string{"/" + site + " closure /" + site + "/spam" + suffix}, 1, "3.13"},
		"its site-packages":           {together(environment, under(site, sound)), "/" + site, "", nil, 1, "3.13"},
		"the whole machine":           {together(environment, under(site, sound), under("usr/local/lib/python3.13/dist-packages", sound)), "/", "", nil, 2, "3.13"},
		"a wheel":                     {map[string]string{"d/" + name: poisonWheel}, "/d/" + name, "", []string{"/d/" + name + " libpython-needed spam" + suffix}, 1, ""},
		"a wheel, against":            {map[string]string{"d/" + name: soundWheel}, "/d/" + name, "/usr/bin/python3", nil, 1, "3.13"},
		"a directory, against":        {map[string]string{"d/a/" + name: soundWheel, "d/b/" + name: soundWheel}, "/d", "/usr", nil, 2, "3.13"},
		"pip's downloads":             {map[string]string{body: soundWheel, strings.TrimSuffix(body, ".body"): "cc=4,metadata", body + "x": "PK\x03\x04 no archive"}, "/home/u/.cache/pip", "", []string{"/" + body + "x record "}, 2, ""},
		"pip's older downloads":       {map[string]string{"c/http/a/b/c/d/e/abcde": old}, "/c", "", []string{"/c/http/a/b/c/d/e/abcde libpython-needed spam" + suffix}, 1, ""},
		"uv's cache":                  {under("c/uv/archive-v0/x1", poison), "/c/uv", "/usr/bin/python3.13", []string{"/c/uv/archive-v0/x1 closure /c/uv/archive-v0/x1/spam" + suffix, "/c/uv/archive-v0/x1 libpython-needed /c/uv/archive-v0/x1/spam" + suffix}, 1, "3.13"},
		"a program that holds Python": {together(environment, under(site, distOf("app", tag, "", map[string]string{"../../../bin/app": string(interpreterELF(t)) + "x"}))), "/" + venv, "", nil, 1, "3.13"},
		"another Python's module beside its own": {together(environment, under(site, distOf("spam", tag, "", map[string]string{
			"spam" + suffix: string(module(t, "")), "spam.cpython-312-x86_64-linux-gnu.so": linkedModule}))), "/" + venv, "", nil, 1, "3.13"},
		"a wheel that expects another's library": {lacking("$ORIGIN/../torch/lib", "Requires-Dist: torch\n"), "/d/" + name, "/usr", nil, 1, "3.13"},
		"a wheel that expects nobody's library":  {lacking("$ORIGIN/../torch/lib", ""), "/d/" + name, "/usr", []string{"/d/" + name + " closure spam" + suffix}, 1, "3.13"},
		"a wheel that lacks its own library":     {lacking("$ORIGIN/spam.libs", ""), "/d/" + name, "/usr", []string{"/d/" + name + " closure spam" + suffix}, 1, "3.13"},
		"a wheel that lacks one beside it":       {lacking("$ORIGIN", ""), "/d/" + name, "/usr", []string{"/d/" + name + " closure spam" + suffix}, 1, "3.13"},
		"a module":                               {together(environment, under(site, sound)), "/" + site + "/spam" + suffix, "", nil, 1, "3.13"},
		"a poisoned module":                      {map[string]string{"d/spam" + suffix: string(module(t, "libpython3.13.so.1.0"))}, "/d/spam" + suffix, "/usr", []string{"/d/spam" + suffix + " closure /d/spam" + suffix, "/d/spam" + suffix + " libpython-needed /d/spam" + suffix}, 1, "3.13"},
		"a module, nothing else":                 {map[string]string{"d/spam" + suffix: string(module(t, "libpython3.13.so.1.0"))}, "/d/spam" + suffix, "", []string{"/d/spam" + suffix + " closure /d/spam" + suffix, "/d/spam" + suffix + " libpython-needed /d/spam" + suffix}, 1, ""},
		"links, as uv makes them": {together(environment, under("cache/x", poison), map[string]string{
			site + "/spam" + suffix: "-> /cache/x/spam" + suffix, site + "/spam-1.0.dist-info": "-> /cache/x/spam-1.0.dist-info"}), "/" + venv, "", poisoned, 1, "3.13"},
		"a link to a directory": {together(environment, map[string]string{site + "/pkg": "-> /elsewhere/pkg", "elsewhere/pkg/spam" + suffix: poison["spam"+suffix]}), "/" + venv, "",
			[]string{"/" + site + " closure /" + site + "/pkg/spam" + suffix, "/" + site + " libpython-needed /" + site + "/pkg/spam" + suffix}, 1, "3.13"},
		"links in a circle":     {together(environment, under(site, sound), map[string]string{site + "/again": "-> .", "srv/app/up": "-> .."}), "/srv", "", nil, 1, "3.13"},
		"a wheel behind a link": {map[string]string{"dist/" + name: poisonWheel, "d/wheels": "-> ../dist"}, "/d", "", []string{"/dist/" + name + " libpython-needed spam" + suffix}, 1, ""},
		"a wheel in site-packages": {together(environment, under(site, sound), map[string]string{site + "/vendored/" + name: poisonWheel}), "/" + venv, "",
			[]string{"/" + site + "/vendored/" + name + " libpython-needed spam" + suffix}, 2, "3.13"},
		"a project with metadata": {map[string]string{"p/foo-1.0.dist-info/METADATA": "Name: foo\nVersion: 1.0\n", "p/dist/" + name: poisonWheel}, "/p", "",
			[]string{"/p/dist/" + name + " libpython-needed spam" + suffix}, 2, ""},
		"an editable installation": {together(environment, under(site, sound), map[string]string{site + "/__editable__.pth": "/src/ext\n", "src/ext/spam" + suffix: poison["spam"+suffix]}), "/" + venv, "",
			[]string{"/src/ext closure /src/ext/spam" + suffix, "/src/ext libpython-needed /src/ext/spam" + suffix}, 2, "3.13"},
		"a name that promises more": {map[string]string{"d/spam-1.0-py3-none-any.whl": soundWheel}, "/d", "", nil, 1, ""},
		"what the kernel makes up":  {together(environment, under(site, sound), map[string]string{"proc/1/" + name: poisonWheel, "srv/app/kernel": "-> /proc"}), "/", "", nil, 1, "3.13"},
		"lib64": {together(under("opt/lib64/python3.13/site-packages", dist([]byte(sound["spam"+suffix]), tag)), map[string]string{
			"opt/bin/python3.13": string(interpreterELF(t)), "opt/lib64/python3.13/os.py": "", "opt/lib64/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py": "build_time_vars = {'EXT_SUFFIX': '" + suffix + "', 'SOABI': 'x'}\n",
			"opt/lib64/python3.13/site-packages/other.cpython-312-x86_64-linux-gnu.so": sound["spam"+suffix]}), "/opt", "",
			[]string{"/opt/lib64/python3.13/site-packages record /opt/lib64/python3.13/site-packages/other.cpython-312-x86_64-linux-gnu.so",
				"/opt/lib64/python3.13/site-packages tags /opt/lib64/python3.13/site-packages/other.cpython-312-x86_64-linux-gnu.so"}, 1, "3.13"},
		"ld.so.conf, without ldconfig": {together(environment, map[string]string{site + "/spam" + suffix: linkedModule, "etc/ld.so.conf": "# own\ninclude ld.so.conf.d/*.conf\n", "etc/ld.so.conf.d/x.conf": "/opt/own\n", "opt/own/libown.so.1": ownLibrary}), "/" + venv, "", []string{"/" + site + " closure /" + site + "/spam" + suffix}, 1, "3.13"},
		"ld.so.cache":                  {together(environment, map[string]string{site + "/spam" + suffix: linkedModule, "etc/ld.so.cache": cacheOf("libown.so.1", "/opt/own/libown.so.1"), "opt/own/libown.so.1": ownLibrary}), "/" + venv, "", nil, 1, "3.13"},
		"ld.so.cache that is damaged":  {together(environment, map[string]string{site + "/spam" + suffix: linkedModule, "etc/ld.so.cache": cacheOf("libown.so.1", "/opt/own/libown.so.1")[:60], "opt/own/libown.so.1": ownLibrary}), "/" + venv, "", []string{"/" + site + " closure /" + site + "/spam" + suffix}, 1, "3.13"},
		"ld.so.cache of what is gone":  {together(environment, map[string]string{site + "/spam" + suffix: linkedModule, "etc/ld.so.cache": cacheOf("libown.so.1", "/opt/own/libown.so.1")}), "/" + venv, "", []string{"/" + site + " closure /" + site + "/spam" + suffix}, 1, "3.13"},
		"no ld.so.conf":                {together(environment, map[string]string{site + "/spam" + suffix: linkedModule, "opt/own/libown.so.1": ownLibrary}), "/" + venv, "", []string{"/" + site + " closure /" + site + "/spam" + suffix}, 1, "3.13"},
		"a member below a file": {map[string]string{"d/" + name: pack(t, together(poison, map[string]string{"pkg": "", "pkg/x.py": ""}))}, "/d", "",
			[]string{"/d/" + name + " record pkg", "/d/" + name + " record pkg/x.py", "/d/" + name + " libpython-needed spam" + suffix}, 1, ""},
		"a renamed wheel":                {map[string]string{"d/renamed.whl": poisonWheel}, "/d", "", []string{"/d/renamed.whl record ", "/d/renamed.whl libpython-needed spam" + suffix}, 1, ""},
		"a wheel that was fetched again": {map[string]string{"d/spam-1.0-" + tag + " (1).whl": poisonWheel}, "/d", "", []string{"/d/spam-1.0-" + tag + " (1).whl record ", "/d/spam-1.0-" + tag + " (1).whl libpython-needed spam" + suffix}, 1, ""},
		"renamed, cached, and broken": {map[string]string{"c/wheels/aa/bb/cc/x/spam-1.0-py3-none-linux_x86_64.whl": pack(t, dist([]byte(linkedModule), tag))}, "/c", "/usr",
			[]string{"/c/wheels/aa/bb/cc/x/spam-1.0-py3-none-linux_x86_64.whl closure spam" + suffix}, 1, "3.13"},
		"a module that is none, alone": {together(environment, map[string]string{site + "/spam" + suffix: "version https://git-lfs.github.com/spec/v1\n"}), "/" + site + "/spam" + suffix, "",
			[]string{"/" + site + "/spam" + suffix + " modules /" + site + "/spam" + suffix}, 1, "3.13"},
		"another Python's, cached": {map[string]string{"c/wheels/aa/bb/cc/x/spam-1.0-cp312-cp312-linux_x86_64.whl": pack(t, dist(module(t, ""), "cp312-cp312-linux_x86_64"))}, "/c", "/usr", nil, 1, "3.13"},
		"another version":          {map[string]string{"d/spam-1.0-cp312-cp312-linux_x86_64.whl": pack(t, dist(module(t, ""), "cp312-cp312-linux_x86_64"))}, "/d", "/usr", []string{"/d/spam-1.0-cp312-cp312-linux_x86_64.whl tags spam-1.0.dist-info/WHEEL"}, 1, "3.13"},
		"a stripped module":        {together(environment, under(site, sound), map[string]string{site + "/spam" + suffix: string(module(t, "")) + "x"}), "/" + venv, "", nil, 1, "3.13"},
		"a module of an .egg-info's": {together(environment, under(site, sound), map[string]string{site + "/more.so": more, site + "/more.egg-info/top_level.txt": "more\n",
			site + "/pkg/_x.so": string(module(t, "")), site + "/pkg-1.egg-info/installed-files.txt": "../pkg/_x.so\ntop_level.txt\n", site + "/egg-1.egg/_y.so": string(module(t, ""))}), "/" + venv, "", nil, 1, "3.13"},
		"a module beside what an .egg-info lists": {together(environment, under(site, sound), map[string]string{site + "/more.so": more, site + "/other.egg-info/top_level.txt": "other\n",
			site + "/pkg/_x.so": string(module(t, "")), site + "/pkg-1.egg-info/installed-files.txt": "../pkg/__init__.py\n", site + "/pkg-1.egg-info/top_level.txt": "pkg\n", site + "/dev.egg-link": "/src\n.\n"}), "/" + venv, "",
			[]string{"/" + site + " environment /" + site + "/dev.egg-link", "/" + site + " record /" + site + "/more.so", "/" + site + " record /" + site + "/pkg/_x.so"}, 1, "3.13"},
		"a module beside an .egg-info that lists nothing": {together(environment, under(site, sound), map[string]string{site + "/more.so": more, site + "/other.egg-info": "Name: other\n"}), "/" + venv, "", nil, 1, "3.13"},
		"a module of the system's":                        {under("usr/lib/python3.13/site-packages", together(sound, map[string]string{"more.so": more})), "/usr", "", nil, 1, "3.13"},
		"a file listed through a link":                    {together(environment, under(site, sound), map[string]string{site + "/spam-1.0.dist-info/RECORD": sound["spam-1.0.dist-info/RECORD"] + "../../../lib64/libspam.so,sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE,1\n", venv + "/lib64": "-> lib", venv + "/lib/libspam.so": "x"}), "/" + venv, "", nil, 1, "3.13"},
		"pip's leftovers":                                 {together(environment, under(site, sound), map[string]string{site + "/~pam/x" + suffix: string(module(t, "libgone.so.1")), site + "/~pam-0.9.dist-info/RECORD": "~pam/gone.py,,\n", site + "/~pam-0.9.dist-info/METADATA": "Name: spam\nVersion: 0.9\n"}), "/" + venv, "", nil, 1, "3.13"},
		"a file that RECORD does not list":                {together(environment, under(site, sound), map[string]string{site + "/more.so": more}), "/" + venv, "", []string{"/" + site + " record /" + site + "/more.so"}, 1, "3.13"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, err := Look(t.Context(), Target{Files: machine(t, c.files), Path: c.path, Against: c.against})
			if err != nil {
				t.Fatal(err)
			}
			if got := refused(r); !slices.Equal(got, append([]string{}, c.refused...)) {
				t.Errorf("refused:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(c.refused, "\n"))
			}
			if len(r.Units) != c.units || len(r.Unread) > 0 || (r.Outcome == Refused) != (len(c.refused) > 0) {
				t.Errorf("%d units, %v unread, passed: %t", len(r.Units), r.Unread, r.Passed)
			}
			version := ""
			if i := r.Units[0].Interpreter; i != nil {
				version = i.Version
			}
			if version != c.version {
				t.Errorf("judged against Python %q, want %q", version, c.version)
			}
		})
	}
}

func TestLookErrors(t *testing.T) {
	t.Parallel()
	m := machine(t, map[string]string{"d/readme": "text", "d/x.whl": "no wheel", "loop": "-> loop", "e/a.txt": "", "closed.so": ""})
	if err := os.Chmod(string(m)+"/closed.so", 0); err != nil {
		t.Fatal(err)
	}
	look := func(path, against string) error {
		_, err := Look(t.Context(), Target{Files: m, Path: path, Against: against})
		return err
	}
	var missing *NotFoundError
	if err := look("/nowhere", ""); !errors.As(err, &missing) {
		t.Errorf("a path that is not there: %v", err)
	}
	if err := look("/loop", ""); !errors.As(err, &missing) {
		t.Errorf("a link to itself: %v", err)
	}
	if err := os.MkdirAll(string(m)+"/proc/1", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(syscall.Mkfifo(string(m)+"/pipe", 0o644), os.Mkdir(string(m)+"/locked", 0)); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{
		"/proc": "the kernel makes up", "/proc/1": "the kernel makes up", "/pipe": "neither a regular file", "/locked/x.whl": "permission denied", "/closed.so": "permission denied",
	} {
		var unreadable *UnreadableError
		if os.Geteuid() == 0 && why == "permission denied" {
			continue // nothing is closed to root
		}
		if err := look(path, ""); !errors.As(err, &unreadable) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", path, err)
		}
	}
	var nothing *NothingError
	for _, path := range []string{"/d/readme", "/e"} {
		if err := look(path, ""); !errors.As(err, &nothing) {
			t.Errorf("%s: %v", path, err)
		}
	}
	var none *NoInterpreterError
	if err := look("/d/x.whl", "/d"); !errors.As(err, &none) {
		t.Errorf("a directory without an interpreter: %v", err)
	}
	r, err := Look(t.Context(), Target{Files: m, Path: "/d/x.whl"})
	if err != nil || len(refused(r)) == 0 {
		t.Errorf("what is called a wheel and is none: %v, %v", refused(r), err)
	}
}

// What an environment is judged against is gone, and the report says so.
func TestInterpreterIsGone(t *testing.T) {
	t.Parallel()
	m := machine(t, together(under(site, dist(module(t, "libpython3.13.so.1.0"), tag)), map[string]string{venv + "/pyvenv.cfg": "home = /opt/gone/bin\n"}))
	r, err := Look(t.Context(), Target{Files: m, Path: "/" + venv})
	if err != nil {
		t.Fatal(err)
	}
	why := ""
	for _, n := range r.Units[0].Unjudged {
		if n.Check == "symbols" {
			why = n.Why
		}
	}
	if !strings.Contains(why, "/opt/gone/bin/python3.13") || !strings.Contains(strings.Join(refused(r), "\n"), "libpython-needed") {
		t.Errorf("symbols was not judged because %q; refused: %q", why, refused(r))
	}
}

// Of musl's libraries nothing is known, and the report says so.
func TestMusl(t *testing.T) {
	t.Parallel()
	exe := compile(t, `int _PyRuntime; void *PyModule_Create2(void) { return 0; } void _start(void) { for (;;); }`,
		"-rdynamic", "-fPIE", "-pie", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1")
	m := machine(t, together(under("usr/lib/python3.13/site-packages", dist(module(t, ""), tag)), map[string]string{"usr/bin/python3.13": string(exe), "lib/ld-musl-x86_64.so.1": string(exe)}))
	r, err := Look(t.Context(), Target{Files: m, Path: "/usr"})
	if err != nil {
		t.Fatal(err)
	}
	var unjudged []string
	for _, n := range r.Units[0].Unjudged {
		if strings.Contains(n.Why, "musl") {
			unjudged = append(unjudged, n.Check)
		}
	}
	if !slices.Contains(unjudged, "closure") || !slices.Contains(unjudged, "versions") {
		t.Errorf("left out because of musl: %q", unjudged)
	}
	// Nobody could give that: it is no question, and stands beside the result.
	var text bytes.Buffer
	if err := r.WriteText(&text, TextOptions{}); err != nil || r.Outcome != Passed || !strings.Contains(text.String(), "\npassed; not judged: closure 1, versions 1") {
		t.Errorf("%s, %v:\n%s", r.Outcome, err, &text)
	}
}

// A tree that is all of a machine, as an image is.
func TestImage(t *testing.T) {
	t.Parallel()
	m := machine(t, under("usr/lib/python3.13/site-packages", dist(module(t, ""), tag)))
	read, err := tree.FromDir(string(m))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Look(t.Context(), Target{Files: NewImage(read), Path: "/"})
	if err != nil || !r.Passed || len(r.Units) != 1 || r.Units[0].Interpreter == nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	m := machine(t, map[string]string{
		"d/spam-1.0-" + tag + ".whl": pack(t, dist(module(t, "libpython3.13.so.1.0"), tag)),
		"d/good-1.0-" + tag + ".whl": "\x00",
	})
	r, err := Look(t.Context(), Target{Files: m, Path: "/d"})
	if err != nil {
		t.Fatal(err)
	}
	var text, sarif, relative, junit bytes.Buffer
	below := *r
	below.Base = "/d"
	if err := errors.Join(r.WriteText(&text, TextOptions{Warnings: true}), r.WriteSARIF(&sarif, "1"), below.WriteSARIF(&relative, "1"), r.WriteJUnit(&junit)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/d: 2 wheels, 1 native file", "refused: spam" + suffix, "libpython-needed: DT_NEEDED libpython3.13.so.1.0", "Do not install it.", "not judged: ", "REFUSED: 2 files in 2 of 2 (libpython-needed 1, record 1)"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text form lacks %q:\n%s", want, &text)
		}
	}
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID, Level string
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI, URIBaseID string }
						Region           struct{ StartLine int }
					}
				}
				PartialFingerprints map[string]string
			}
		}
	}
	if err := json.Unmarshal(sarif.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	results := log.Runs[0].Results
	if log.Version != "2.1.0" || len(log.Runs[0].Tool.Driver.Rules) != len(audit.Checks()) || len(results) != 2 {
		t.Errorf("SARIF: %+v", log)
	}
	if uri := results[1].Locations[0].PhysicalLocation.ArtifactLocation.URI; uri != "file:///d/spam-1.0-"+tag+".whl" || results[1].Level != "error" || results[1].RuleID != "libpython-needed" {
		t.Errorf("SARIF's second result: %+v", results[1])
	}
	for _, want := range []string{`"uri": "spam-1.0-` + tag + `.whl",
                  "uriBaseId": "%SRCROOT%"`, `"%SRCROOT%": {
          "uri": "file:///d/"`} {
		if !strings.Contains(relative.String(), want) || strings.Contains(sarif.String(), sourceRoot) {
			t.Errorf("relative SARIF lacks %q:\n%s", want, &relative)
		}
	}
	prints := map[string]bool{}
	for _, result := range results {
		prints[result.PartialFingerprints[fingerprintName]] = true
		if result.Locations[0].PhysicalLocation.Region.StartLine != 1 {
			t.Errorf("SARIF's line of %+v", result)
		}
	}
	if len(prints) != len(results) || prints[""] {
		t.Errorf("SARIF's fingerprints: %v", prints)
	}
	var suites struct {
		Suites []struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Cases    []struct {
				Name    string `xml:"name,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(junit.Bytes(), &suites); err != nil {
		t.Fatal(err)
	}
	if len(suites.Suites) != 2 || suites.Suites[1].Failures != 1 || suites.Suites[1].Tests != len(suites.Suites[1].Cases) {
		t.Errorf("JUnit: %+v", suites)
	}
}

// A gate's verdict has the same forms; an exception's finding is no failure.
func TestOfVerdict(t *testing.T) {
	t.Parallel()
	v := audit.Verdict{
		Checks: []audit.CheckResult{{Name: "closure", Reason: "r", Examined: 2, Refused: 1, Excepted: 1}, {Name: "record", Reason: "r"}},
		Findings: []audit.Finding{
			{Check: "closure", Severity: audit.Refuse, File: "lib/a.so", Cause: "Gone.", Remedy: "Carry it."},
			{Check: "closure", Severity: audit.Refuse, File: "lib/b.so", Cause: "Gone, too.", Excepted: "not needed"},
		},
	}
	r := OfVerdict("web", v)
	var sarif, junit bytes.Buffer
	if err := errors.Join(r.WriteSARIF(&sarif, "1"), r.WriteJUnit(&junit)); err != nil {
		t.Fatal(err)
	}
	for form, wants := range map[*bytes.Buffer][]string{
		&sarif: {`"uri": "lib/a.so"`, `"level": "error"`, `"level": "warning"`, "Excepted: not needed"},
		&junit: {`<testsuite name="web" tests="2" failures="1"`, `<failure message="lib/a.so: Gone. Carry it.">`, `<testcase classname="web" name="record"></testcase>`},
	} {
		for _, want := range wants {
			if !strings.Contains(form.String(), want) {
				t.Errorf("lacks %q:\n%s", want, form)
			}
		}
	}
	if r.Passed || r.Count(audit.Refuse) != 1 {
		t.Errorf("passed: %t, refused: %d", r.Passed, r.Count(audit.Refuse))
	}
}

// Refused goes before unread before undecided, and each keeps a report from passing.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	of := func(severities ...audit.Severity) []Unit {
		u := Unit{Kind: KindWheel}
		for _, s := range severities {
			u.Findings = append(u.Findings, audit.Finding{Severity: s})
		}
		return []Unit{u, {Kind: KindWheel}}
	}
	unread := []Unread{{"/x", "locked"}}
	for _, c := range []struct {
		units  []Unit
		unread []Unread
		want   Outcome
	}{
		{of(), nil, Passed},
		{of(audit.Warn), nil, Passed},
		{of(audit.Warn, audit.Undecided), nil, Undecided},
		{of(audit.Undecided), unread, Incomplete},
		{of(), unread, Incomplete},
		{of(audit.Undecided, audit.Refuse), unread, Refused},
	} {
		r := &Report{Units: c.units, Unread: c.unread}
		if r.decide(); r.Outcome != c.want || r.Passed != (c.want == Passed) {
			t.Errorf("%+v, %v: %s, passed %t; want %s", c.units, c.unread, r.Outcome, r.Passed, c.want)
		}
	}
}

// What an interpreter tells those who build for it is a warning where it is found.
func TestPkgConfig(t *testing.T) {
	t.Parallel()
	files := under(site, dist(module(t, ""), tag))
	files["usr/lib/x86_64-linux-gnu/pkgconfig/python-3.13.pc"] = "Libs: -lpython3.13\n"
	files[venv+"/pyvenv.cfg"], files[venv+"/bin/python3.13"] = "home = /usr/bin\n", "-> /usr/bin/python3.13"
	r, err := Look(t.Context(), Target{Files: machine(t, files), Path: "/" + venv})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range r.Units {
		for _, f := range u.Findings {
			if f.Check == "interpreter" && f.Severity == audit.Warn && f.Value == "-lpython3.13" {
				return
			}
		}
	}
	t.Errorf("no warning: %+v", r.Units)
}

// Builds with ABI flags have two names, of which the longer one tells the flags; another
// build beside the one that python3 leads to has its own.
func TestInterpreterAt(t *testing.T) {
	t.Parallel()
	exe := string(interpreterELF(t))
	m := machine(t, map[string]string{
		"opt/td/bin/python3.13": exe, "opt/td/bin/python3.13td": exe,
		"usr/bin/python3.13d":   exe + "another",
		"opt/two/bin/python3.9": exe, "opt/two/bin/python3.13": exe, "opt/two/bin/python3.13d": exe + "another", "opt/two/bin/python3": "-> python3.9",
		"opt/none/bin/python3":  "#!/bin/sh\n",
		"opt/old/bin/python2.7": exe, "opt/old/bin/python3.9": exe, "opt/old/bin/python3.13": exe,
	})
	for abs, want := range map[string]string{
		"/opt/td": "opt/td/bin/python3.13td", "/opt/td/bin/python3.13": "opt/td/bin/python3.13td",
		"/usr": "usr/bin/python3.13", "/usr/bin/python3.13d": "usr/bin/python3.13d",
		"/opt/two": "opt/two/bin/python3.9", "/opt/old": "opt/old/bin/python3.13", "/opt/none": "", "/opt/none/bin/python3": "",
	} {
		got, err := interpreterAt(m, abs)
		var none *NoInterpreterError
		if got.exe != want || errors.As(err, &none) != (want == "") {
			t.Errorf("%s: %q, %v", abs, got.exe, err)
		}
	}
	if got := interpreterOf(m, "opt/td/lib/python3.13t/site-packages"); got.exe != "opt/td/bin/python3.13td" {
		t.Errorf("of its site-packages: %q", got.exe)
	}
}
