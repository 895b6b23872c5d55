package audit

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

const (
	namespaceText = `import sys, types, os;has_mfs = sys.version_info > (3, 5);p = os.path.join(sys._getframe(1).f_locals['sitedir'], *('ns',));importlib = has_mfs and __import__('importlib.util');has_mfs and __import__('importlib.machinery');m = has_mfs and sys.modules.setdefault('ns', importlib.util.module_from_spec(importlib.machinery.PathFinder.find_spec('ns', [os.path.dirname(p)])));m = m or sys.modules.setdefault('ns', types.ModuleType('ns'));mp = (m or []) and m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p)` + "\n"
	nestedText    = `import sys, types, os;has_mfs = sys.version_info > (3, 5);p = os.path.join(sys._getframe(1).f_locals['sitedir'], *('ns', 'sub'));importlib = has_mfs and __import__('importlib.util');has_mfs and __import__('importlib.machinery');m = has_mfs and sys.modules.setdefault('ns.sub', importlib.util.module_from_spec(importlib.machinery.PathFinder.find_spec('ns.sub', [os.path.dirname(p)])));m = m or sys.modules.setdefault('ns.sub', types.ModuleType('ns.sub'));mp = (m or []) and m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p);m and setattr(sys.modules['ns'], 'sub', m)` + "\n"
)

// startupFile is a file of a distribution that is installed with it.
func startupFile(name, file, text string) []tree.Entry {
	return installed(name, tree.FileEntry(file, 0o644, []byte(text)))
}

func TestStartup(t *testing.T) {
	t.Parallel()
	const stdlib = "lib/python3.13/"
	said := func(kind, file, value string) []string {
		return []string{strings.TrimRight("refuse startup "+file+": "+kind+" "+value, "*") + "*"}
	}
	for name, c := range map[string]struct {
		entries []tree.Entry
		want    []string
	}{
		"a .pth file with code":                     {startupFile("z", site+"z.pth", "import z\n"), said("path configuration", site+"z.pth", "import z")},
		"a .pth file with code behind a tab":        {startupFile("z", site+"z.pth", "# harmless\nimport\tz\n"), said("path configuration", site+"z.pth", `import\u0009z`)},
		"a .pth file with code behind a line end":   {startupFile("z", site+"z.pth", "# harmless\u2028import z\n"), said("path configuration", site+"z.pth", "import z")},
		"a .pth file with a directory":              {startupFile("z", site+"z.pth", "z/lib\n"), said("path configuration", site+"z.pth", "z/lib")},
		"a hidden .pth file":                        {startupFile("z", site+".z.pth", "import z\n"), said("path configuration", site+".z.pth", "import z")},
		"a .start file":                             {startupFile("z", site+"z.start", "z:main\n"), said("path configuration", site+"z.start", "z:main")},
		"sitecustomize":                             {startupFile("z", site+"sitecustomize.py", ""), said("customization", site+"sitecustomize.py", "")},
		"usercustomize, compiled":                   {startupFile("z", site+"usercustomize.pyc", ""), said("customization", site+"usercustomize.pyc", "")},
		"sitecustomize, a package":                  {startupFile("z", site+"sitecustomize/__init__.py", ""), said("customization", site+"sitecustomize/__init__.py", "")},
		"setuptools' file in another":               {startupFile("z", site+"distutils-precedence.pth", distutilsPrecedence), said("path configuration", site+"distutils-precedence.pth", "import os; var")},
		"setuptools' file and more":                 {startupFile("setuptools", site+"distutils-precedence.pth", distutilsPrecedence+"\nimport z\n"), said("path configuration", site+"distutils-precedence.pth", "import os; var")},
		"a namespace that is a standard module's":   {startupFile("z", site+"z-nspkg.pth", strings.ReplaceAll(namespaceText, "'ns'", "'_json'")), said("path configuration", site+"z-nspkg.pth", "import sys")},
		"a namespace that is a module's of its own": {startupFile("z", site+"z-nspkg.pth", strings.ReplaceAll(namespaceText, "'ns'", "'math'")), said("path configuration", site+"z-nspkg.pth", "import sys")},
		"a namespace of two names":                  {startupFile("z", site+"z-nspkg.pth", strings.Replace(namespaceText, "setdefault('ns'", "setdefault('os'", 1)), said("path configuration", site+"z-nspkg.pth", "import sys")},
		"a namespace and code":                      {startupFile("z", site+"z-nspkg.pth", namespaceText+"import z\n"), said("path configuration", site+"z-nspkg.pth", "import sys")},
		"an archive of the standard library":        {startupFile("z", "lib/python313.zip", ""), said("shadow", "lib/python313.zip", "")},
		"a directory of that name":                  {startupFile("z", "lib/python313.zip/json.py", ""), said("shadow", "lib/python313.zip/json.py", "")},
		"pyvenv.cfg":                                {startupFile("z", "pyvenv.cfg", ""), said("shadow", "pyvenv.cfg", "")},
		"pyvenv.cfg beside the program":             {startupFile("z", "bin/pyvenv.cfg", ""), said("shadow", "bin/pyvenv.cfg", "")},
		"a _pth file":                               {startupFile("z", "bin/python3.13._pth", ""), said("shadow", "bin/python3.13._pth", "")},
		"pybuilddir.txt":                            {startupFile("z", "bin/pybuilddir.txt", ""), said("shadow", "bin/pybuilddir.txt", "")},
		"a file in the standard library":            {startupFile("z", stdlib+"sitecustomize.py", ""), said("shadow", stdlib+"sitecustomize.py", "")},
		"a library below the programs":              {startupFile("z", "bin/lib/python3.13/os.py", ""), said("shadow", "bin/lib/python3.13/os.py", "")},
		"a compiled one":                            {startupFile("z", "bin/lib/python3.13/os.pyc", ""), said("shadow", "bin/lib/python3.13/os.pyc", "")},
		"its modules below the programs":            {startupFile("z", "bin/lib/python3.13/lib-dynload/_struct.so", ""), said("shadow", "bin/lib/python3.13/lib-dynload/_struct.so", "")},
		"an archive below the programs":             {startupFile("z", "bin/lib/python313.zip", ""), said("shadow", "bin/lib/python313.zip", "")},
		"a mark of a build directory":               {startupFile("z", "bin/Modules/Setup.local", ""), said("shadow", "bin/Modules/Setup.local", "")},
		"a standard module beside the programs":     {startupFile("z", "bin/_json.py", ""), said("shadow", "bin/_json.py", "")},
		"a built-in one beside the programs":        {startupFile("z", "bin/math.cpython-313-x86_64-linux-gnu.so", ""), said("shadow", "bin/math.cpython-313-x86_64-linux-gnu.so", "")},
		"a standard package beside the programs":    {startupFile("z", "bin/_json/__init__.py", ""), said("shadow", "bin/_json/__init__.py", "")},
		"bytecode of nobody for a standard module": {[]tree.Entry{tree.FileEntry(stdlib+"__pycache__/_json.cpython-313.opt-1.pyc", 0o644, nil)},
			said("shadow", stdlib+"__pycache__/_json.cpython-313.opt-1.pyc", "")},
		"setuptools' file, another's hook": {append(startupFile("setuptools", site+"distutils-precedence.pth", distutilsPrecedence), startupFile("z", site+"_distutils_hack/__init__.cpython-313-x86_64-linux-gnu.so", "")...),
			said("path configuration", site+"distutils-precedence.pth", "import os; var")},
		"setuptools' file that another lists": {append(startupFile("setuptools", site+"distutils-precedence.pth", distutilsPrecedence),
			tree.FileEntry(site+"z-1.0.dist-info/RECORD", 0o644, []byte("distutils-precedence.pth,,\n"))),
			said("path configuration", site+"distutils-precedence.pth", "import os; var")},
		"a namespace that is another's package": {append(startupFile("z", site+"z-nspkg.pth", namespaceText), startupFile("ns", site+"ns/__init__.py", "")...),
			said("path configuration", site+"z-nspkg.pth", "import sys")},
		"a namespace that is another's module": {append(startupFile("z", site+"z-nspkg.pth", namespaceText), startupFile("ns", site+"ns.py", "")...),
			said("path configuration", site+"z-nspkg.pth", "import sys")},
		"setuptools' own file and hook": {installed("setuptools", tree.FileEntry(site+"distutils-precedence.pth", 0o644, []byte(distutilsPrecedence)),
			tree.FileEntry(site+"_distutils_hack/__init__.py", 0o644, nil)), nil},
		"a script with a name of its own":                    {startupFile("z", "bin/rst2html.py", ""), nil},
		"a program with a standard module's name":            {startupFile("z", "bin/_json", ""), nil},
		"setuptools' own file":                               {startupFile("setuptools", site+"distutils-precedence.pth", distutilsPrecedence+" \n"), nil},
		"a namespace package":                                {startupFile("z", site+"z-nspkg.pth", namespaceText), nil},
		"a namespace package, as later setuptools writes it": {startupFile("ns.z", site+"ns.z-1.0-py3.13-nspkg.pth", strings.NewReplacer("has_mfs = sys.version_info > (3, 5);", "", "has_mfs and ", "").Replace(namespaceText)), nil},
		"a namespace package in one":                         {startupFile("z", site+"z-nspkg.pth", namespaceText+nestedText), nil},
		"sitecustomize below a package":                      {startupFile("z", site+"z/sitecustomize.py", ""), nil},
		"a .pth file below a package":                        {startupFile("z", site+"z/z.pth", "import z"), nil},
		"a name that begins so":                              {startupFile("z", site+"sitecustomizer.py", ""), nil},
		"another archive":                                    {startupFile("z", "share/python313.zip", ""), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startupSubject(t, c.entries...)
			v := judge(t, s)
			v.Findings = slices.DeleteFunc(v.Findings, func(f Finding) bool { return f.Check != "startup" })
			v.Passed = len(v.Findings) == 0
			expect(t, v, c.want...)
		})
	}
}

// startupSubject has the files and, where a gate would make a second round, its reports.
func startupSubject(t *testing.T, entries ...tree.Entry) Subject {
	t.Helper()
	json := tree.FileEntry("lib/python3.13/_json.py", 0o644, nil)
	json.Owner = OwnerInterpreter
	s := subject(t, append(entries, json)...)
	for _, r := range slices.Clone(s.Loads) {
		r.Startup = true
		s.Loads = append(s.Loads, r)
	}
	return s
}

func TestStartupExceptions(t *testing.T) {
	t.Parallel()
	accepts := func(files string) Exception {
		return Exception{Check: "startup", Files: []string{files}, Why: "traces"}
	}
	pth := startupFile("z", site+"z.pth", "import z\n")
	for name, c := range map[string]struct {
		entries   []tree.Entry
		exception Exception
		want      []string
	}{
		"accepted by name": {pth, accepts(site + "z.pth"), []string{"excepted startup " + site + "z.pth: path configuration import z"}},
		"expired": {pth, Exception{Check: "startup", Files: []string{site + "z.pth"}, Why: "traces", Until: "2020-01-01"}, []string{
			"refuse startup " + site + "z.pth: path configuration import z", "warn startup : gate.except*",
		}},
		"of another": {pth, accepts(site + "y.pth"), []string{"refuse startup " + site + "z.pth: path configuration import z", "warn startup : gate.except*"}},
		"no exception for a shadow": {startupFile("z", "lib/python313.zip", ""), accepts("lib/python313.zip"), []string{
			"refuse startup lib/python313.zip: shadow ", "warn startup : gate.except*",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startupSubject(t, c.entries...)
			s.Exceptions = []Exception{c.exception}
			v := judge(t, s)
			v.Findings = slices.DeleteFunc(v.Findings, func(f Finding) bool { return f.Check != "startup" })
			v.Passed = !slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Severity == Refuse && f.Excepted == "" })
			expect(t, v, c.want...)
		})
	}
}

// Where startup code is accepted, everything must pass without it and with it. What passes
// with it alone is decided by it.
func TestStartupRounds(t *testing.T) {
	t.Parallel()
	module := dynload + "_json" + suffix
	test := Test{KindCommand, []string{"demo"}}
	for name, c := range map[string]struct {
		// known takes a file that needs no exception; fails lists what fails: load or test,
		// without or with the code.
		known   bool
		fails   []string
		missing bool
		want    []string
	}{
		"both pass":                              {want: nil},
		"a load fails without":                   {fails: []string{"load without"}, want: []string{"warn load"}},
		"a load fails with":                      {fails: []string{"load with"}, want: []string{"refuse load"}},
		"a load fails in both":                   {fails: []string{"load with", "load without"}, want: []string{"refuse load"}},
		"a test fails without":                   {fails: []string{"test without"}, want: []string{"warn recipe-tests"}},
		"a test fails with":                      {fails: []string{"test with"}, want: []string{"refuse recipe-tests"}},
		"a known form decides a test":            {known: true, fails: []string{"test without"}, want: []string{"refuse recipe-tests"}},
		"a known form decides a load":            {known: true, fails: []string{"load without"}, want: []string{"refuse load"}},
		"nothing was tried with the code at all": {missing: true, want: []string{"refuse load", "refuse recipe-tests"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := startupFile("z", site+"z.pth", "import z\n")
			if c.known {
				file = startupFile("z", site+"z-nspkg.pth", namespaceText)
			}
			s := startupSubject(t, append(file, fromFile(t, module, extension(t, "_json")))...)
			s.Tests, s.Targets = []Test{test}, s.Targets[:1]
			if !c.known {
				s.Exceptions = []Exception{{Check: "startup", Files: []string{site + "z.pth"}, Why: "traces"}}
			}
			for _, startup := range []bool{false, true} {
				s.Reports = append(s.Reports, TestReport{Target: "container", Kind: test.Kind, Args: test.Args, Startup: startup})
			}
			mode := map[bool]string{false: "without", true: "with"}
			for i := range s.Loads {
				s.Loads[i].OK = !slices.Contains(c.fails, "load "+mode[s.Loads[i].Startup])
			}
			for i := range s.Reports {
				if slices.Contains(c.fails, "test "+mode[s.Reports[i].Startup]) {
					s.Reports[i].Code = 1
				}
			}
			if c.missing {
				s.Loads = slices.DeleteFunc(s.Loads, func(r LoadReport) bool { return r.Startup })
				s.Reports = slices.DeleteFunc(s.Reports, func(r TestReport) bool { return r.Startup })
			}
			var got []string
			for _, f := range judge(t, s).Findings {
				if f.Check != "startup" {
					got = append(got, string(f.Severity)+" "+f.Check)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Of files that were found, startup code is a warning, and a wheel that would stand before
// the standard library is refused.
func TestStartupFound(t *testing.T) {
	t.Parallel()
	const home = "opt/venv/lib/python3.13/site-packages/"
	for name, c := range map[string]struct {
		alone   bool
		entries []tree.Entry
		want    []string
	}{
		"an environment's": {entries: []tree.Entry{tree.FileEntry(home+"z.pth", 0o644, []byte("import z")), tree.FileEntry("opt/venv/pyvenv.cfg", 0o644, nil)}, want: []string{
			"warn startup /" + home + "z.pth: path configuration import z",
		}},
		"a wheel's": {alone: true, entries: []tree.Entry{tree.FileEntry(home+"z.pth", 0o644, []byte("import z"))}, want: []string{
			"warn startup /" + home + "z.pth: path configuration import z",
		}},
		"a wheel with an archive": {alone: true, entries: []tree.Entry{tree.FileEntry(home+"z-1.data/data/lib/python313.zip", 0o644, nil)}, want: []string{
			"refuse startup /" + home + "z-1.data/data/lib/python313.zip: shadow ",
		}},
		"a wheel with a standard module": {alone: true, entries: []tree.Entry{tree.FileEntry(home+"z-1.data/data/lib/python3.13/sitecustomize.py", 0o644, nil)}, want: []string{
			"refuse startup /" + home + "z-1.data/data/lib/python3.13/sitecustomize.py: shadow ",
		}},
		"a wheel with data": {alone: true, entries: []tree.Entry{tree.FileEntry(home+"z-1.data/data/share/z.txt", 0o644, nil)}, want: []string{}},
	} {
		got := inspected(t, "startup", nil, Place{Tree: newTree(t, c.entries...), Site: strings.TrimSuffix(home, "/"), Alone: c.alone})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
