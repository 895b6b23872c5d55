package audit

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

func TestInterpreter(t *testing.T) {
	t.Parallel()
	details := func(text string) tree.Entry {
		return tree.FileEntry("lib/python3.13/build-details.json", 0o644, []byte(text))
	}
	pkgConfig := func(kind, libs string) tree.Entry {
		return tree.FileEntry("lib/pkgconfig/python-3.13"+kind+".pc", 0o644, []byte("prefix=${pcfiledir}/../..\n\nLibs.private: -lpython3.13\nLibs: "+libs+"\n"))
	}
	// pcFile has a field more than the one that links.
	pcFile := func(text string) tree.Entry {
		return tree.FileEntry("lib/pkgconfig/python-3.13.pc", 0o644, []byte(text))
	}
	const makefileName = "lib/python3.13/config-3.13-x86_64-linux-gnu/Makefile"
	makefile := func(text string) tree.Entry { return tree.FileEntry(makefileName, 0o644, []byte(text)) }
	refuse := func(rest string) []string { return []string{"refuse interpreter " + sysconfigFile + ": " + rest} }
	const detailsFile = "refuse interpreter lib/python3.13/build-details.json: "
	for name, c := range map[string]struct {
		entries []tree.Entry
		want    []string
	}{
		"as CPython is built":           {[]tree.Entry{sysconfigOf("CXX", "x86_64-linux-gnu-g++-12", "LDSHARED", "gcc -shared", "LDCXXSHARED", "g++ -shared", "BLDLIBRARY", "-L. -lpython3.13")}, nil},
		"LIBPYTHON":                     {[]tree.Entry{sysconfigOf("LIBPYTHON", "-lpython3.13")}, refuse("LIBPYTHON -lpython3.13")},
		"by file":                       {[]tree.Entry{sysconfigOf("LDSHARED", "gcc -shared /usr/lib/libpython3.13.so")}, refuse("LDSHARED gcc -shared /usr/lib/libpython3.13.so")},
		"a directory of that name":      {[]tree.Entry{sysconfigOf("LDSHARED", "gcc -shared -L/usr/lib/python3.13/config")}, nil},
		"a launcher before it":          {[]tree.Entry{sysconfigOf("CXX", "ccache /usr/bin/g++ -pthread")}, nil},
		"libpython in a search path":    {[]tree.Entry{sysconfigOf("LDSHARED", "gcc -shared -L/srv/libpython -Wl,-rpath,/opt/libpython3.13")}, nil},
		"C for C++":                     {[]tree.Entry{sysconfigOf("CXX", "gcc -pthread")}, refuse("CXX gcc -pthread")},
		"C for C++ when linking":        {[]tree.Entry{sysconfigOf("LDCXXSHARED", "/usr/bin/cc -shared")}, refuse("LDCXXSHARED /usr/bin/cc -shared")},
		"clang":                         {[]tree.Entry{sysconfigOf("CXX", "/usr/bin/clang++-16 -pthread")}, nil},
		"no sysconfig":                  {[]tree.Entry{tree.FileEntry("lib/python3.13/_sysconfigdata_x.txt", 0o644, nil)}, []string{"refuse interpreter lib/python3.13: _sysconfigdata *"}},
		"pkg-config links":              {[]tree.Entry{pkgConfig("", "-L${libdir} -lpython3.13")}, []string{"refuse interpreter lib/pkgconfig/python-3.13.pc: Libs -L${libdir} -lpython3.13"}},
		"pkg-config does not":           {[]tree.Entry{pkgConfig("", "-L${libdir}")}, nil},
		"pkg-config links programs":     {[]tree.Entry{pkgConfig("-embed", "-L${libdir} -lpython3.13")}, nil},
		"build details that link":       {[]tree.Entry{details(`{"libpython": {"link_extensions": true}}`)}, []string{detailsFile + "libpython.link_extensions true"}},
		"build details that do not":     {[]tree.Entry{details(`{"libpython": {"dynamic": "/x/libpython3.14.so", "link_extensions": false}}`)}, nil},
		"build details without a word":  {[]tree.Entry{details(`{"schema_version": "1.0"}`)}, nil},
		"headers of a build":            {[]tree.Entry{sysconfigOf("CFLAGS", "-O2 -I/build/deps/include", "PY_CFLAGS", "-O2 -I/build/deps/include")}, refuse("CFLAGS, PY_CFLAGS /build/deps/include")},
		"libraries of a build":          {[]tree.Entry{sysconfigOf("LDSHARED", "gcc -shared -L /home/me/ssl/lib")}, refuse("LDSHARED /home/me/ssl/lib")},
		"a search path of a build":      {[]tree.Entry{sysconfigOf("LDFLAGS", "-Wl,-rpath,/opt/x:/tmp/x -Wl,-rpath=/root/y -isystem /var/tmp")}, []string{"refuse interpreter " + sysconfigFile + ": LDFLAGS /root/y", "refuse interpreter " + sysconfigFile + ": LDFLAGS /tmp/x", "refuse interpreter " + sysconfigFile + ": LDFLAGS /var/tmp"}},
		"directories of systems":        {[]tree.Entry{sysconfigOf("CFLAGS", "-I/usr/include -I. -I/buildings -I/opt/x", "LDFLAGS", "-L/opt/web/lib -L/usr/local/lib -Wl,-rpath,$ORIGIN/../lib")}, nil},
		"how it was configured":         {[]tree.Entry{sysconfigOf("CONFIG_ARGS", `\'LDFLAGS=-L/build/lib -L/build/lib64\'`)}, nil},
		"a Makefile of a build":         {[]tree.Entry{makefile("# -L/tmp/comment\nCC=\tgcc -I/builds/1/include\nLDFLAGS=-L/builds/1/lib\nall:\n\tgcc -I/tmp\n")}, []string{"refuse interpreter " + makefileName + ": CC /builds/1/include", "refuse interpreter " + makefileName + ": LDFLAGS /builds/1/lib"}},
		"a Makefile of the system's":    {[]tree.Entry{makefile("CPPFLAGS= -I. -I./Include\nDESTDIR?=/tmp/x\n")}, nil},
		"pkg-config of a build":         {[]tree.Entry{pcFile("prefix=/ampoule-build/out\nlibdir=${prefix}/lib\nCflags: -I${prefix}/include\nLibs: -L${libdir}\n")}, []string{"refuse interpreter lib/pkgconfig/python-3.13.pc: Cflags /ampoule-build/out/include", "refuse interpreter lib/pkgconfig/python-3.13.pc: Libs /ampoule-build/out/lib"}},
		"pkg-config that is moved":      {[]tree.Entry{pcFile("# prefix=/tmp\nprefix=${pcfiledir}/../..\nCflags: -I${prefix}/include\nLibs.private: -L/opt/web/lib -L$ORIGIN/tmp -ldl\n")}, nil},
		"build details of a build":      {[]tree.Entry{details(`{"base_prefix": "/home/me/py", "c_api": {"headers": "/opt/web/include"}, "libpython": {"dynamic": "/tmp/a.so"}}`)}, []string{detailsFile + "base_prefix /home/me/py", detailsFile + "libpython.dynamic /tmp/a.so"}},
		"build details of this place":   {[]tree.Entry{details(`{"base_prefix": "../..", "c_api": {"headers": "/opt/web/include"}}`)}, nil},
		"build details that are broken": {[]tree.Entry{details(`{`)}, []string{detailsFile + "JSON *"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, judge(t, subject(t, c.entries...)), c.want...)
		})
	}
}

// What is found may name its own prefix, and what is there.
func TestFoundInterpreter(t *testing.T) {
	t.Parallel()
	const prefix = "root/python/"
	told := func(dir string) string { return "warn interpreter /" + prefix + sysconfigFile + ": LDFLAGS " + dir }
	for name, c := range map[string]struct{ flags, want string }{
		"its own prefix":              {"-L/root/python/lib -I/root/python/include", ""},
		"a directory that is there":   {"-L/home/me/lib", ""},
		"one that is not":             {"-L/home/me/lib64", told("/home/me/lib64")},
		"one that anybody may make":   {"-L/tmp/lib", told("/tmp/lib")},
		"another prefix of that name": {"-L/root/python2/lib", told("/root/python2/lib")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries := []tree.Entry{fromFile(t, prefix+"bin/python3.13", interpreter(t)), sysconfigOf("LDFLAGS", c.flags)}
			entries[1].Path = prefix + entries[1].Path
			machine := rootfs(t, "mid", tree.FileEntry("home/me/lib/libx.so", 0o644, nil), tree.FileEntry("tmp/lib/libx.so", 0o644, nil))
			got := strings.Join(inspected(t, "interpreter", machine, Place{
				Tree: newTree(t, entries...), Interpreter: prefix + "bin/python3.13", Site: prefix + strings.TrimSuffix(site, "/"),
			}), "\n")
			if got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func TestParseSysconfig(t *testing.T) {
	t.Parallel()
	got, err := parseSysconfig([]byte(`# text
build_time_vars = {'A': 'one '
          'two',
 "B": "it's",
 'C': -12, 'D': 'tab\there \\ \' \x41\u00e4',
 'E': ''}
`))
	want := map[string]string{"A": "one two", "B": "it's", "C": "-12", "D": "tab\there \\ ' Aä", "E": ""}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("(-want +got), %v:\n%s", err, diff)
	}
	for _, text := range []string{
		"", "build_time_vars", "build_time_vars = [", "build_time_vars = {", "build_time_vars = {'a'}", "build_time_vars = {'a': 'b",
		"build_time_vars = {'a': 'b' 'c}", "build_time_vars = {'a': os}", `build_time_vars = {'a': '\q'}`, `build_time_vars = {'a': '\x4'}`,
		`build_time_vars = {'a': '\U00ffffff'}`, "build_time_vars = {'a': 1 'b': 2}", "build_time_vars = {'a': '\n'}",
	} {
		if got, err := parseSysconfig([]byte(text)); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	}
}

func FuzzParseSysconfig(f *testing.F) {
	f.Add([]byte("build_time_vars = {'A': 'one ' 'two', 'B': -1, 'C': '\\x41'}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		vars, err := parseSysconfig(data)
		for name, value := range vars {
			if err == nil && len(name)+len(value) > len(data) {
				t.Errorf("%q: %q of %d bytes", name, value, len(data))
			}
		}
	})
}

// What has no sysconfig has no fingerprint.
func TestMeasureWithoutSysconfig(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "build_time_vars = {}", "build_time_vars = {'SOABI': 'x'}"} {
		e := sysconfigOf()
		if _, err := Measure(newTree(t, prefixWith(e.Replace([]byte(text)), in(t, "bin", interpreter(t)))...)); !errors.Is(err, ErrMeasure) || !strings.Contains(err.Error(), "sysconfig") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// prefixWith is what an interpreter installs beside its executable, with another sysconfig.
func prefixWith(sysconfig tree.Entry, more ...tree.Entry) []tree.Entry {
	var kept []tree.Entry
	for _, e := range prefix(more...) {
		if e.Path != sysconfig.Path {
			kept = append(kept, e)
		}
	}
	return append(kept, sysconfig)
}
