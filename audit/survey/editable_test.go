package survey

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// realModule is a module that an interpreter imports: PyModuleDef is written out, so that no
// header is needed (the stable ABI keeps its layout).
const realModule = `
struct { long refs; void *type, *init; long index; void *copy; const char *name, *doc; long size; void *rest[5]; } def = {1, 0, 0, 0, 0, "spam", 0, -1};
extern void *PyModule_Create2(void *, int);
#ifdef LACKS
extern int nowhere(void); int wants(void) { return nowhere(); }
#endif
void *PyInit_spam(void) { return PyModule_Create2(&def, 3); }
`

// realSuffix is that of the modules of the machine's interpreter.
func realSuffix(t *testing.T) string {
	t.Helper()
	exe, _ := hostPython(t)
	out, err := exec.CommandContext(t.Context(), exe, "-c", "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// module compiles a module spam; one that is not sound needs a library that is nowhere.
func (e *environment) module(name string, sound bool) string {
	e.t.Helper()
	flags := []string{"-shared", "-fPIC"}
	if !sound {
		lib := filepath.Join(e.t.TempDir(), "libnowhere-of-test.so.9")
		compileWithLibc(e.t, lib, "int nowhere(void) { return 1; }", "-shared", "-fPIC", "-Wl,-soname,"+filepath.Base(lib))
		flags = append(flags, "-DLACKS", lib)
	}
	out := filepath.Join(filepath.Dir(e.dir), name)
	compileWithLibc(e.t, out, realModule, flags...)
	return out
}

func (e *environment) site(name string) string {
	return filepath.Join("lib", e.name, "site-packages", name)
}

// finderOf is what setuptools writes, as far as it matters: MAPPING is of paths that may lack
// a suffix.
func finderOf(mapping string) string {
	return `import importlib.util, importlib.machinery, os, sys
MAPPING: dict[str, str] = ` + mapping + `
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        at = MAPPING.get(name)
        for end in ('', '/__init__.py', *importlib.machinery.all_suffixes()):
            if at and os.path.isfile(at + end):
                return importlib.util.spec_from_file_location(name, at + end)
def install():
    sys.meta_path.append(Finder)
`
}

const mesonLoader = `import importlib.util, json, sys
class Finder:
    def __init__(self, package, top, build): self.build = build
    def find_spec(self, name, path=None, target=None):
        plan = json.load(open(self.build + '/meson-info/intro-install_plan.json'))
        for file, installed in plan['targets'].items():
            if installed['destination'].split('/')[-1].split('.')[0] == name:
                return importlib.util.spec_from_file_location(name, file)
def init():
    sys.meta_path.insert(0, Finder(
        'spam',
        {'spam'},
        '%s',
    ))
`

// What is installed editable, or was built in place, is judged where it is: the verdict is what
// importing it shows.
func TestEditablesImport(t *testing.T) {
	t.Parallel()
	suffix := realSuffix(t)
	for name, install := range map[string]func(e *environment, sound bool) (code string){
		"setuptools, a module": func(e *environment, sound bool) string {
			at := strings.TrimSuffix(e.module("src/spam"+suffix, sound), suffix)
			e.write(e.site("__editable__.spam-1.0.pth"), "import __editable___spam_1_0_finder; __editable___spam_1_0_finder.install()\n")
			e.write(e.site("__editable___spam_1_0_finder.py"), finderOf("{'spam': '"+at+"'}"))
			return "import spam"
		},
		"setuptools, a module with its suffix": func(e *environment, sound bool) string {
			at := e.module("src/it's/spam"+suffix, sound)
			e.write(e.site("__editable__.spam-1.0.pth"), "import __editable___spam_1_0_finder; __editable___spam_1_0_finder.install()\n")
			e.write(e.site("__editable___spam_1_0_finder.py"), finderOf(fmt.Sprintf("{'spam': %q}", at)))
			return "import spam"
		},
		"setuptools, a package": func(e *environment, sound bool) string {
			at := filepath.Dir(e.module("src/pkg/spam"+suffix, sound))
			e.write("../src/pkg/__init__.py", "")
			e.write(e.site("__editable__.spam-1.0.pth"), "import __editable___spam_1_0_finder; __editable___spam_1_0_finder.install()\n")
			e.write(e.site("__editable___spam_1_0_finder.py"), finderOf("{'pkg': '"+at+"'}"))
			return "import pkg.spam"
		},
		"editables": func(e *environment, sound bool) string {
			at := filepath.Dir(e.module("src/pkg/spam"+suffix, sound))
			e.write("../src/pkg/__init__.py", "")
			e.write(e.site("_editable_impl_pkg.pth"), "import _editable_impl_pkg")
			e.write(e.site("_editable_impl_pkg.py"), finderOf("{'pkg': '"+at+"/__init__.py'}")+"install()\n")
			return "import pkg.spam"
		},
		"meson-python": func(e *environment, sound bool) string {
			at := e.module("src/build/cp/spam"+suffix, sound)
			e.write("../src/build/cp/meson-info/intro-install_plan.json", fmt.Sprintf(`{"targets": {%q: {"destination": "{py_platlib}/spam%s", "tag": "runtime"}}}`, at, suffix))
			e.write(e.site("spam-editable.pth"), "import _spam_editable_loader; _spam_editable_loader.init()")
			e.write(e.site("_spam_editable_loader.py"), fmt.Sprintf(mesonLoader, filepath.Dir(at)))
			return "import spam"
		},
		"scikit-build-core": func(e *environment, sound bool) string {
			at := e.module("src/spam"+suffix, sound)
			e.write(e.site("_editable_skbc_spam.pth"), "import _editable_skbc_spam\n"+filepath.Dir(at)+"\n")
			e.write(e.site("_editable_skbc_spam.py"), "install = '"+filepath.Dir(at)+"'\n")
			return "import spam"
		},
		"a path": func(e *environment, sound bool) string {
			e.write(e.site("__editable__.spam-1.0.pth"), filepath.Dir(e.module("src/spam"+suffix, sound))+"\n")
			return "import spam"
		},
		"a relative path": func(e *environment, sound bool) string {
			e.module("src/spam"+suffix, sound)
			e.write(e.site("spam.pth"), "../../../../src\n")
			return "import spam"
		},
		"an .egg-link": func(e *environment, sound bool) string {
			dir := filepath.Dir(e.module("src/lib/spam"+suffix, sound))
			e.write(e.site("spam.egg-link"), dir+"\n../\n")
			e.write(e.site("easy-install.pth"), dir+"\n")
			return "import spam"
		},
		"built in place, beside the environment": func(e *environment, sound bool) string {
			return "import sys; sys.path.insert(0, '" + filepath.Dir(e.module("src/spam"+suffix, sound)) + "'); import spam"
		},
		"built in place, of the stable ABI": func(e *environment, sound bool) string {
			return "import sys; sys.path.insert(0, '" + filepath.Dir(e.module("src/spam.abi3.so", sound)) + "'); import spam"
		},
	} {
		for _, sound := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, sound: %t", name, sound), func(t *testing.T) {
				t.Parallel()
				e := newEnvironment(t)
				e.remove(e.site("spam*"), "bin/spam")
				code := install(e, sound)
				if imports, told := runs(t, e.path("bin/python"), "-c", code); imports != sound {
					t.Fatalf("importing: %t, %s", imports, told)
				}
				target := e.dir
				if strings.HasPrefix(name, "built") {
					target = filepath.Dir(e.dir)
				}
				r, err := Look(t.Context(), Target{Files: Machine("/"), Path: target})
				if err != nil {
					t.Fatal(err)
				}
				lines := refused(r)
				if sound != (len(lines) == 0) || !sound && !strings.Contains(strings.Join(lines, "\n"), " closure ") {
					t.Errorf("refused:\n%s", strings.Join(lines, "\n"))
				}
				objects := 0
				for _, u := range r.Units {
					objects += u.Objects
				}
				if objects != 1 || len(r.Unlooked) > 0 {
					t.Errorf("%d native files were judged; not looked at: %v", objects, r.Unlooked)
				}
			})
		}
	}
}

// What cannot be followed, or is nothing that an audit judges, is told with its number.
func TestUnlooked(t *testing.T) {
	t.Parallel()
	editable := `{"url": "file:///src/spam", "dir_info": {"editable": true}}`
	environment := map[string]string{venv + "/pyvenv.cfg": "home = /usr/bin\n", venv + "/bin/python3.13": "-> /usr/bin/python3.13", "src/spam/spam" + suffix: string(module(t, ""))}
	ok := under(site, distOf("ok", "py3-none-any", "", map[string]string{"ok.py": ""}))
	for what, c := range map[string]struct {
		files map[string]string
		path  string
		want  []Unlooked
	}{
		"a finder that names nothing": {map[string]string{site + "/x.pth": "import __editable___x_finder\n", site + "/__editable___x_finder.py": "where = '/nowhere/x'\n"}, "/" + venv,
			[]Unlooked{{"/" + site + "/__editable___x_finder.py", whyEditable, 1}}},
		"an installation that nothing leads to": {map[string]string{site + "/ok-1.0.dist-info/direct_url.json": editable, site + "/a.pth": "import a_hook_of_a_company\n"}, "/" + venv,
			[]Unlooked{{"/" + site + "/ok-1.0.dist-info/direct_url.json", whyEditable, 1}}},
		"one that a path leads to": {map[string]string{site + "/ok-1.0.dist-info/direct_url.json": editable, site + "/a.pth": "/src/spam\n"}, "/" + venv, nil},
		"one that is not editable": {map[string]string{site + "/ok-1.0.dist-info/direct_url.json": `{"url": "file:///src/spam", "dir_info": {}}`}, "/" + venv, nil},
		"archives beside it": {map[string]string{"srv/app/a.tar.gz": "x", "srv/app/b.zip": "x", "srv/app/c.txt": "x"}, "/srv",
			[]Unlooked{{"/srv/app/a.tar.gz", whyArchive, 2}}},
		"modules of no interpreter": {map[string]string{"srv/app/a.cpython-39-x86_64-linux-gnu.so": "\x7fELF", "srv/app/b/b.cpython-39-x86_64-linux-gnu.so": "\x7fELF"}, "/srv",
			[]Unlooked{{"/srv/app/a.cpython-39-x86_64-linux-gnu.so", whyLoose, 2}}},
		"modules of several interpreters": {map[string]string{"srv/app/a.abi3.so": "\x7fELF", "srv/other/bin/python3.13": string(interpreterELF(t)), "srv/other/lib/python3.13/site-packages/x.py": "", "srv/other/lib/python3.13/os.py": ""}, "/srv",
			[]Unlooked{{"/srv/app/a.abi3.so", whyLoose, 1}}},
		"an environment without anything":      {map[string]string{"srv/bare/pyvenv.cfg": "", "srv/bare/bin/python": "-> /gone"}, "/srv", []Unlooked{{"/srv/bare", whyBare, 1}}},
		"an environment whose library is gone": {map[string]string{"srv/bare/pyvenv.cfg": "", "srv/bare/lib/python3.13": "-> /gone"}, "/srv", []Unlooked{{"/srv/bare", whyBare, 1}}},
		"what the kernel makes up":             {map[string]string{"proc/1/x": ""}, "/", []Unlooked{{"/proc", whyKernels, 1}}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, err := Look(t.Context(), Target{Files: machine(t, together(environment, ok, c.files)), Path: c.path})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(r.Unlooked, append([]Unlooked{}, c.want...)) {
				t.Errorf("not looked at: %+v, want %+v", r.Unlooked, c.want)
			}
			var text strings.Builder
			if err := r.WriteText(&text, TextOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, u := range c.want {
				if !strings.Contains(text.String(), "not looked at: "+u.Path) {
					t.Errorf("the text form does not tell %s:\n%s", u.Path, &text)
				}
			}
		})
	}
	m := machine(t, together(environment, ok))
	for _, name := range []string{"a", "b"} {
		if err := syscall.Mkfifo(filepath.Join(string(m), venv, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Look(t.Context(), Target{Files: m, Path: "/" + venv})
	if want := []Unlooked{{"/" + venv + "/a", whySpecial, 2}}; err != nil || !slices.Equal(r.Unlooked, want) {
		t.Errorf("pipes: %+v, %v", r, err)
	}
}

// An editable installation whose source is gone cannot be imported, and is refused; in an image
// the source may be mounted.
func TestEditableSourceIsGone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		gone  bool
	}{
		"a path":             {map[string]string{"spam-1.0.dist-info/direct_url.json": `{"url": "file://SRC", "dir_info": {"editable": true}}`, "spam.pth": "SRC\n"}, true},
		"a path with spaces": {map[string]string{"spam-1.0.dist-info/direct_url.json": `{"url": "file://SRC%20x", "dir_info": {"editable": true}}`, "spam.pth": "SRC x\n"}, true},
		"a finder": {map[string]string{"spam-1.0.dist-info/direct_url.json": `{"url": "file://SRC", "dir_info": {"editable": true}}`,
			"__editable__.spam.pth": "import __editable___spam_finder as f; f.install()\n", "__editable___spam_finder.py": finderOf("{'spam': 'SRC/spam'}")}, true},
		"an .egg-link":     {map[string]string{"spam.egg-link": "SRC\n.\n", "easy-install.pth": "SRC\n"}, true},
		"it is there":      {map[string]string{"spam-1.0.dist-info/direct_url.json": `{"url": "file://SRC", "dir_info": {"editable": true}}`, "spam.pth": "SRC\n"}, false},
		"it is no source":  {map[string]string{"spam-1.0.dist-info/direct_url.json": `{"url": "file://SRC.whl", "archive_info": {}}`, "spam.py": ""}, false},
		"an .egg-link too": {map[string]string{"spam.egg-link": "SRC\n.\n", "easy-install.pth": "SRC\n"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnvironment(t)
			e.remove(e.site("spam*"), "bin/spam")
			src := filepath.Join(filepath.Dir(e.dir), "src")
			if !c.gone {
				e.write("../src/spam.py", "")
			}
			for file, text := range c.files {
				e.write(e.site(file), strings.ReplaceAll(text, "SRC", src))
			}
			if imports, told := runs(t, e.path("bin/python"), "-c", "import spam"); imports == c.gone {
				t.Fatalf("importing: %t, %s", imports, told)
			}
			r, err := Look(t.Context(), Target{Files: Machine("/"), Path: e.dir})
			if err != nil {
				t.Fatal(err)
			}
			if lines := refused(r); c.gone != strings.Contains(strings.Join(lines, "\n"), " environment ") || !c.gone && len(lines) > 0 {
				t.Errorf("refused:\n%s", strings.Join(lines, "\n"))
			}
		})
	}
}
