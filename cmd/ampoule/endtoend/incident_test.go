//go:build docker

package endtoend

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/audit/survey"
)

// spam is a distribution that does what many did: where the interpreter has a shared
// libpython, it links its module to that.
var spam = map[string]string{
	"setup.py": `
import os, sys, sysconfig
from setuptools import Extension, setup

link = {}
if sysconfig.get_config_var("Py_ENABLE_SHARED"):
    link = dict(libraries=["python" + sysconfig.get_config_var("LDVERSION")], library_dirs=[os.path.join(sys.base_prefix, "lib")])
setup(name="spam", version="1.0", ext_modules=[Extension("spam", ["spam.c"], **link)])
`,
	"spam.c": `
#include <Python.h>
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "spam", NULL, 0, NULL};
PyMODINIT_FUNC PyInit_spam(void) { return PyModule_Create(&def); }
`,
}

// TestIncident is the incident for which Ampoule exists, with real parts: CI's
// interpreter was built with --enable-shared, pip compiled a wheel there and cached it,
// and production's interpreter, of the same version, was given that wheel by its own pip.
func TestIncident(t *testing.T) {
	beside(t)
	ci, production := interpreterOf(t, "--enable-shared"), interpreterOf(t)
	work := t.TempDir()
	cache, links := filepath.Join(work, "cache"), filepath.Join(work, "links")
	sdist(t, links)
	pip := func(venv string) string {
		return runWith(t, []string{"PIP_CACHE_DIR=" + cache}, filepath.Join(venv, "bin/pip"), "install", "--find-links", links, "--no-binary", "spam", "spam==1.0")
	}
	imports := func(venv string) (string, error) {
		out, err := exec.Command(filepath.Join(venv, "bin/python"), "-c", "import spam; print('imported')").CombinedOutput()
		return string(out), err
	}
	inCI, inProduction := filepath.Join(work, "ci"), filepath.Join(work, "production")
	run(t, filepath.Join(ci, "bin/python3"), "-m", "venv", inCI)
	run(t, filepath.Join(production, "bin/python3"), "-m", "venv", inProduction)

	if out := pip(inCI); !strings.Contains(out, "Created wheel for spam") {
		t.Fatalf("CI's pip made no wheel:\n%s", out)
	}
	if out, err := imports(inCI); err != nil {
		t.Fatalf("in CI the import fails: %s", out)
	}
	if out := pip(inProduction); !strings.Contains(out, "Using cached spam-1.0-cp313-cp313-linux_x86_64.whl") {
		t.Fatalf("production's pip did not take the cached wheel:\n%s", out)
	}
	told, err := imports(inProduction)
	if err == nil || !strings.Contains(told, "libpython3.13.so.1.0: cannot open shared object file") {
		t.Fatalf("production's import: %v\n%s", err, told)
	}

	t.Run("a static program", func(t *testing.T) {
		// Whoever has a broken deploy copies it there: it must need nothing.
		static := filepath.Join(t.TempDir(), "ampoule")
		runIn(t, "../../..", nil, "make", "--silent", "build")
		run(t, "cp", "../../../bin/ampoule", static)
		if headers := run(t, "readelf", "--program-headers", static); strings.Contains(headers, "INTERP") {
			t.Errorf("it asks for a dynamic loader:\n%s", headers)
		}
	})
	t.Run("audit of the environment", func(t *testing.T) {
		r := audited(t, 4, inProduction)
		poisoned(t, r, "spam.cpython-313-x86_64-linux-gnu.so")
		if i := r.Units[0].Interpreter; i == nil || i.Link != "static" {
			t.Errorf("judged against %+v", i)
		}
	})
	t.Run("audit of the cache", func(t *testing.T) {
		poisoned(t, audited(t, 4, cache, "--against", filepath.Join(production, "bin/python3")), "spam.cpython-313-x86_64-linux-gnu.so")
		// It needs no interpreter to be poisoned.
		poisoned(t, audited(t, 4, cache), "spam.cpython-313-x86_64-linux-gnu.so")
	})
	t.Run("audit of what is sound", func(t *testing.T) {
		if r := audited(t, 0, production); !r.Passed || len(r.Units) == 0 {
			t.Errorf("production's own prefix: %+v", r)
		}
	})
	t.Run("explain", func(t *testing.T) {
		out := ampoule(t, "explain", told)
		for _, want := range []string{"poisoned wheel", "libpython3.13.so.1.0", "ampoule audit"} {
			if !strings.Contains(out, want) {
				t.Errorf("explain does not tell %q:\n%s", want, out)
			}
		}
	})
}

// Modules that the recipe has linked in are in the interpreter, and others are not.
func TestBuiltinModules(t *testing.T) {
	beside(t)
	prefix := interpreterOf(t, "--enable-shared")
	told := run(t, filepath.Join(prefix, "bin/python3"), "-c", "import _json, _struct, json, sys; print(json.loads('[1]'), hasattr(_json, '__file__'), '_json' in sys.builtin_module_names, '_struct' in sys.builtin_module_names)")
	files, err := filepath.Glob(filepath.Join(prefix, "lib/python3.13/lib-dynload/_json.*"))
	if strings.TrimSpace(told) != "[1] False True False" || len(files) > 0 || err != nil {
		t.Errorf("it says %q, and has %q, %v", told, files, err)
	}
}

// interpreterOf builds an interpreter alone, with more arguments of configure, and
// installs it, once in a run; it returns its prefix, which tests leave as it is. One that
// has such arguments has a module linked in, too.
func interpreterOf(t *testing.T, configure ...string) string {
	t.Helper()
	flags := strings.Join(configure, ", ")
	once, _ := installedInterpreters.LoadOrStore(flags, sync.OnceValues(func() (string, error) { return installInterpreter(t, flags) }))
	prefix, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return prefix
}

// installedInterpreters has those of this run, as functions that give the prefix, by the flags.
var installedInterpreters sync.Map

func installInterpreter(t *testing.T, flags string) (prefix string, err error) {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "interpreter-") //nolint:usetesting // it outlives the test
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "ampoule.yaml")
	text := fmt.Sprintf(faultRecipe, fmt.Sprintf("incident-%d", time.Now().UnixNano()), "")
	if flags != "" {
		text = strings.Replace(text, quickstartFlags, "  configure: ["+flags+"]\n  builtin: [_json]\n", 1)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return "", err
	}
	root, ref := filepath.Join(dir, "installed"), ""
	for _, verb := range [][]string{{"-f", file, "lock"}, {"-f", file, "build"}, {"install", "--root", root}} {
		if ref != "" {
			verb = append(verb, ref)
		}
		out, errs, code := attempt(t, verb...)
		if code != 0 {
			return "", fmt.Errorf("ampoule %s ends with code %d\n%s", strings.Join(verb, " "), code, errs)
		}
		if strings.Contains(out, "@sha256:") {
			ref = out
		}
	}
	return filepath.Join(root, "current"), nil
}

// sdist makes spam's.
func sdist(t *testing.T, dir string) {
	t.Helper()
	source := filepath.Join(t.TempDir(), "spam-1.0")
	for _, d := range []string{source, dir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spam["PKG-INFO"] = "Metadata-Version: 2.1\nName: spam\nVersion: 1.0\n"
	for name, text := range spam {
		if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "tar", "-C", filepath.Dir(source), "-czf", filepath.Join(dir, "spam-1.0.tar.gz"), "spam-1.0")
}

func runWith(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	return runIn(t, "", env, name, args...)
}

// runIn runs a program in a directory, with more in its environment.
func runIn(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// audited audits something, which is to end with a code.
func audited(t *testing.T, code int, args ...string) survey.Report {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"audit", "--output", "json"}, args...)...)
	// Neither a store nor Docker is needed.
	cmd.Env = []string{"HOME=/nonexistent", "DOCKER_HOST=unix:///nonexistent"}
	out, _ := cmd.Output()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("ampoule audit %s ends with %d, not %d\n%s", strings.Join(args, " "), got, code, out)
	}
	var r survey.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// refusals lists what a report refuses: check, file and value.
func refusals(r survey.Report) []string {
	var refused []string
	for _, u := range r.Units {
		for _, f := range u.Findings {
			if f.Severity == "refuse" {
				refused = append(refused, f.Check+" "+filepath.Base(f.File)+" "+f.Value)
			}
		}
	}
	return refused
}

// poisoned wants a report to refuse one file for its libpython, and for nothing else but
// what build systems wrote of the test's own directories.
func poisoned(t *testing.T, r survey.Report, file string) {
	t.Helper()
	refused := refusals(r)
	for _, line := range refused {
		if strings.HasPrefix(line, "rpath "+file+" "+os.TempDir()) {
			continue
		}
		if !strings.HasPrefix(line, "libpython-needed "+file+" libpython3.13") && !strings.HasPrefix(line, "closure "+file+" libpython3.13") {
			t.Errorf("refused, too: %s", line)
		}
	}
	if len(refused) == 0 || !strings.Contains(strings.Join(refused, "\n"), "libpython-needed "+file) {
		t.Errorf("%s is not refused: %q", file, refused)
	}
}

// nativeBackend is an in-tree build backend (PEP 517) that compiles one module: SOURCE
// stands in its init function, and LINK is what it adds to the link.
const nativeBackend = packing + `
CODE = '''
#include <Python.h>
#include <dlfcn.h>
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "_victim", NULL, 0, NULL};
PyMODINIT_FUNC PyInit__victim(void) { SOURCE return PyModule_Create(&def); }
'''

def build_wheel(directory, config_settings=None, metadata_directory=None):
    with open("victim.c", "w") as f:
        f.write(CODE)
    module = "_victim" + sysconfig.get_config_var("EXT_SUFFIX")
    subprocess.check_call(["gcc", "-shared", "-fPIC", "-I" + sysconfig.get_path("include"), "victim.c", "-o", module] + LINK)
    with open(module, "rb") as f:
        code = f.read()
    return pack(directory, "cp313-cp313-linux_x86_64", module, code)
`

// compiling is a world whose distribution compiles a module.
func compiling(f *faultWorld, source, link string, configure ...string) *faultWorld {
	g := *f
	g.backend = strings.NewReplacer("SOURCE", source, "LINK", "["+link+"]").Replace(nativeBackend)
	if len(configure) > 0 {
		g.recipe = strings.Replace(faultRecipe, quickstartFlags, "  configure: ["+strings.Join(configure, ", ")+"]\n", 1)
	}
	return &g
}

// TestIncidentInAmpoule tells the same story to Ampoule, by the rows of the incident's
// chain: what was done then is refused, or makes no difference.
func TestIncidentInAmpoule(t *testing.T) {
	beside(t)
	f := newFaultWorld(t)
	refused := func(t *testing.T, name string, g *faultWorld, finding string) {
		t.Helper()
		out, errs, code := g.build(t, name, "")
		if code != 4 || !strings.Contains(errs, finding) {
			t.Errorf("ends with %d and does not tell %q:\n%s", code, finding, last(errs, 3000))
		}
		g.notPublished(t, name, out)
	}
	t.Run("4: linked to libpython", func(t *testing.T) {
		refused(t, "linked", compiling(f, "", `"-L" + os.path.join(sys.base_prefix, "lib"), "-lpython3.13"`, "--enable-shared"),
			"refuse libpython-needed: lib/python3.13/site-packages/_victim.cpython-313-x86_64-linux-gnu.so")
	})
	t.Run("5: works where it was built", func(t *testing.T) {
		needsToolchain := `if (!dlopen("/usr/lib/x86_64-linux-gnu/libssl.so", RTLD_NOW)) { PyErr_SetString(PyExc_ImportError, dlerror()); return NULL; }`
		refused(t, "dlopens", compiling(f, needsToolchain, ""), "refuse load: lib/python3.13/site-packages/_victim.cpython-313-x86_64-linux-gnu.so")
	})
	// The rows about keys: the same sdist, the same version of Python, another interpreter.
	unique := fmt.Sprintf("(void)%dLL;", time.Now().UnixNano())
	builds := map[string]string{}
	for _, b := range []struct {
		name      string
		configure []string
	}{{"static", nil}, {"shared", []string{"--enable-shared"}}} {
		out, errs, code := compiling(f, unique, "", b.configure...).build(t, "key-"+b.name, "")
		if code != 0 {
			t.Fatalf("%s ends with %d:\n%s", b.name, code, last(errs, 3000))
		}
		if !strings.Contains(errs, "done  wheel victim==1.0") {
			t.Errorf("%s: the wheel was not compiled for this interpreter:\n%s", b.name, errs)
		}
		builds[b.name] = out
	}
	t.Run("2: rebuilt differently under the same version", func(t *testing.T) {
		labels := map[string]string{}
		for name, ref := range builds {
			labels[name] = fingerprintOf(t, ref)
		}
		if labels["static"] == labels["shared"] || labels["static"] == "" {
			t.Errorf("fingerprints %q", labels)
		}
	})
	t.Run("6: the key of a wheel", func(t *testing.T) {
		_, errs, code := compiling(f, unique, "").build(t, "key-again", "")
		if code != 0 || !strings.Contains(errs, "ready wheel victim==1.0") {
			t.Errorf("the wheel is not reused for the interpreter that it was compiled for: %d\n%s", code, errs)
		}
	})
	t.Run("8: one digest", func(t *testing.T) {
		wheels, root := t.TempDir(), t.TempDir()
		ampoule(t, "save", builds["shared"], "wheelhouse", "--to", wheels)
		ampoule(t, "install", builds["static"], "--root", root)
		python := filepath.Join(root, "current", "bin", "python3.13")
		// The wheel itself is sound: it links no libpython. It was made for another interpreter all the same.
		r := audited(t, 4, wheels, "--against", python)
		for _, u := range r.Units {
			for _, found := range u.Findings {
				if found.Check != "fingerprint" || !strings.Contains(found.Value, "static here, made with shared") {
					t.Errorf("%+v", found)
				}
			}
		}
		own := t.TempDir()
		ampoule(t, "save", builds["static"], "wheelhouse", "--to", own)
		audited(t, 0, own, "--against", python)
		audited(t, 0, filepath.Join(root, "current"))
	})
	assemblesNothing(t, builds["static"], builds["shared"])
}

// follows has production follow a channel, once, with nothing on it that could assemble anything.
func (f *fleet) follows(t *testing.T, code int) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "--store", f.store, "agent", "once", "--config", f.path("agent.yaml"))
	cmd.Env = []string{"PATH=/usr/bin:/bin", "PIP_NO_INDEX=1", "DOCKER_HOST=unix:///nonexistent"}
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("it ends with code %d, not %d:\n%s", got, code, out)
	}
	return string(out)
}

// production follows web:prod, and is well where it does not have CI's interpreter.
const production = `apiVersion: ampoule/v1
channel: web:prod
root: DIR/production
policy: DIR/policy.yaml
watch:
  for: 1s
  every: 500ms
  failures: 1
  command: [DIR/production/current/bin/python3, -c, "import _victim, sysconfig; assert not sysconfig.get_config_var('Py_ENABLE_SHARED')"]
`

// assemblesNothing has production run what was built once, and go back to it when the next digest
// does not work there.
func assemblesNothing(t *testing.T, good, bad string) {
	f, digests := newShop(t, artifact{ref: good}, artifact{ref: bad})
	f.write("agent.yaml", strings.ReplaceAll(production, "DIR", f.dir))
	root := f.path("production")
	_, built, _ := strings.Cut(good, "@")
	t.Run("7: production assembles its own", func(t *testing.T) {
		f.channel("promote", "web:prod", built)
		f.follows(t, 0)
		f.ok("verify", root, "web@"+built) // each file is the one that CI built
	})
	t.Run("9: nothing to go back to", func(t *testing.T) {
		f.channel("promote", "web:prod", digests[1])
		if said := f.follows(t, 4); !strings.Contains(said, digests[1]+" has failed on this host, and "+built+" runs") {
			t.Errorf("it says:\n%s", said)
		}
		f.ok("verify", root, "web@"+built)
		f.channel("rollback", "web:prod", built)
		f.follows(t, 0)
	})
}

// fingerprintOf is the fingerprint's digest that an artifact's label has.
func fingerprintOf(t *testing.T, ref string) string {
	t.Helper()
	var described struct {
		Images []struct{ Labels map[string]string }
	}
	if err := json.Unmarshal([]byte(ampoule(t, "inspect", ref, "--output", "json")), &described); err != nil {
		t.Fatal(err)
	}
	if len(described.Images) != 1 {
		t.Fatalf("%s has %d images", ref, len(described.Images))
	}
	return described.Images[0].Labels["dev.ampoule.fingerprint"]
}
