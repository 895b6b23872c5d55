package audit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLibraryCalls(t *testing.T) {
	t.Parallel()
	for source, want := range map[string][]string{
		"x = ctypes.util.find_library('magic')":                                       {"1 find_library magic"},
		"\n\nlib = CDLL(\"libx.so.1\", mode=2)":                                       {"3 CDLL libx.so.1"},
		"cdll.LoadLibrary(r'libx.so')":                                                {"1 LoadLibrary libx.so"},
		"_dlopen(ffi, 'a', u'liba.so.0', 'a.dylib')":                                  {"1 dlopen a liba.so.0"},
		"dlopen(ffi, ('cairo-2', 'cairo'), ['libcairo.so.2'],\n)":                     {"1 dlopen cairo-2 cairo libcairo.so.2"},
		"gi.require_version(\"Gtk\", '3.0')":                                          {"1 require_version Gtk 3.0"},
		"find_library(\n  # 'no'\n  'yes'\n)":                                         {"1 find_library yes"},
		"# find_library('magic')":                                                     nil,
		"'''find_library(\"magic\")'''":                                               nil,
		"\"find_library('magic')\"":                                                   nil,
		"s = 'a\\'find_library(\"x\")'":                                               nil,
		"def find_library(name='x'): pass":                                            {"1 find_library x"},
		"find_library(name)":                                                          nil,
		"find_library(f'x{y}')":                                                       nil,
		"find_library('x' + y)":                                                       nil,
		"find_library('x%s' % y)":                                                     nil,
		"CDLL(find_library('c'))":                                                     {"1 find_library c"},
		"CDLL(os.path.join(here, 'libx.so'))":                                         nil,
		"CDLL('/usr/lib/libx.so')":                                                    nil,
		"CDLL('kernel32'); CDLL('x.dll'); find_library('Foundation')":                 nil,
		"if sys.platform == 'win32':\n    CDLL('a')\nelse:\n    CDLL('b')":            {"4 CDLL b"},
		"if sys.platform == 'darwin':\n    x = (\n1)\n    CDLL('a')\nCDLL('b')":       {"5 CDLL b"},
		"if sys.platform != 'win32':\n    CDLL('a')":                                  {"2 CDLL a"},
		"if a:\n  pass\nelif os.name == 'nt':\n  if b:\n    CDLL('a')\n  CDLL('c')\n": nil,
		"find_library('a\nfind_library('b')":                                          {"2 find_library b"},
		"x = b'''\n''' ; find_library('b')":                                           {"2 find_library b"},
		"find_library('unended":                                                       nil,
		"windll.kernel32.LoadLibraryW('x'); x.find_library":                           nil,
	} {
		var got []string
		for _, c := range libraryCalls(source) {
			got = append(got, strings.TrimSpace(strings.Join(append([]string{string(rune('0' + c.line)), c.function}, c.names...), " ")))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source, diff)
		}
	}
}

// FuzzLibraryCalls wants reading to end, and calls to be of lines and names that are there.
func FuzzLibraryCalls(f *testing.F) {
	for _, seed := range []string{"find_library('x')", "'''a", "f'{x}'", "if x == 'nt':\n CDLL('a')", "CDLL(((((", "\\\n", "rb'\\", "é(\"x\")"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		for _, c := range libraryCalls(source) {
			if c.line < 1 || c.line > 1+strings.Count(source, "\n") {
				t.Errorf("line %d of %q", c.line, source)
			}
			for _, name := range c.names {
				if !strings.Contains(source, name) {
					t.Errorf("%q is not in %q", name, source)
				}
			}
		}
	})
}
