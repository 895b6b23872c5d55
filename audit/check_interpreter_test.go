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
		"libpython in a search path":    {[]tree.Entry{sysconfigOf("LDSHARED", "gcc -shared -L/build/libpython -Wl,-rpath,/opt/libpython3.13")}, nil},
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
		"build details that are broken": {[]tree.Entry{details(`{`)}, []string{detailsFile + "JSON *"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, judge(t, subject(t, c.entries...)), c.want...)
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
