package lint

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layouts are hand-made wheels; text is a file's content where it matters.
var layouts = []struct {
	name  string
	files map[string]string
	// rule is the one that has something to say, about which files; empty is none.
	rule  string
	about []string
}{
	{"sound", map[string]string{"spam/__init__.py": "import eggs", "spam/eggs.py": "eggs = 1", "spam/py.typed": ""}, "", nil},
	{"one module", map[string]string{"spam.py": "x", "spam.pyi": "y", "spam.pth": "z"}, "", nil},
	{"bytecode", map[string]string{"spam/__init__.py": "x", "spam/__pycache__/__init__.cpython-313.pyc": "c", "spam/old.pyo": "o"}, "bytecode", []string{"spam/__pycache__/__init__.cpython-313.pyc", "spam/old.pyo"}},
	{"bytecode in data", map[string]string{"spam/__init__.py": "x", "spam-1.0.data/scripts/x.pyc": "c"}, "bytecode", []string{"spam-1.0.data/scripts/x.pyc"}},
	{"duplicates", map[string]string{"spam/__init__.py": "x = 1", "spam/a.py": "y = 22", "spam/b.py": "y = 22"}, "duplicates", []string{"spam/a.py", "spam/b.py"}},
	{"empty files repeat", map[string]string{"spam/__init__.py": "", "spam/a/__init__.py": "", "spam/b/__init__.py": "\n", "spam/c/__init__.py": "\n"}, "", nil},
	{"coding comments repeat", map[string]string{"spam/__init__.py": "# -*- coding: utf-8 -*-\n", "spam/a.py": "# -*- coding: utf-8 -*-\n"}, "", nil},
	{"licences repeat", map[string]string{"spam/__init__.py": "x", info + "licenses/a/LICENSE": "free", info + "licenses/b/LICENSE": "free"}, "", nil},
	{"README", map[string]string{"spam/__init__.py": "x", "README.md": "r", "LICENSE": "l"}, "toplevel-file", []string{"LICENSE", "README.md"}},
	{"py.typed at the top", map[string]string{"spam.py": "x", "py.typed": ""}, "toplevel-file", []string{"py.typed"}},
	{"a stub without its module", map[string]string{"spam.py": "x", "eggs.pyi": "y"}, "toplevel-file", []string{"eggs.pyi"}},
	{"a file in purelib", map[string]string{"spam/__init__.py": "x", "spam-1.0.data/purelib/notes.txt": "n"}, "toplevel-file", []string{"spam-1.0.data/purelib/notes.txt"}},
	{"a script is no library", map[string]string{"spam/__init__.py": "x", "spam-1.0.data/scripts/notes.txt": "n"}, "", nil},
	{"a dash in a package", map[string]string{"spam/__init__.py": "x", "spam/my-data/a.py": "y"}, "unimportable", []string{"spam/my-data/a.py"}},
	{"a keyword", map[string]string{"spam/__init__.py": "x", "spam/import.py": "y"}, "unimportable", []string{"spam/import.py"}},
	{"letters of other alphabets", map[string]string{"spam/__init__.py": "x", "spam/größe.py": "y"}, "", nil},
	{"a number first", map[string]string{"spam/__init__.py": "x", "spam/2to3.py": "y"}, "unimportable", []string{"spam/2to3.py"}},
	{"tests", map[string]string{"spam/__init__.py": "x", "tests/__init__.py": "t"}, "common-name", []string{"tests/"}},
	{"a script at the top", map[string]string{"_spam.py": "x", "test.py": "t"}, "common-name", []string{"test.py"}},
	{"__init__ at the top", map[string]string{"spam/__init__.py": "x", "__init__.py": "y"}, "toplevel-init", []string{"__init__.py"}},
	{"scripts alone", map[string]string{"spam-1.0.data/scripts/spam": "#!python"}, "empty-library", nil},
	{"nothing", nil, "empty", nil},
	{"what it requires", map[string]string{info + "METADATA": "Metadata-Version: 2.1\nName: spam\nVersion: 1.0\nRequires-Dist: eggs\n"}, "", nil},
	{"data at the top", map[string]string{"spam/__init__.py": "x", "share/doc/spam.txt": "d"}, "no-modules", []string{"share/"}},
	{"stubs", map[string]string{"spam-stubs/__init__.pyi": "x"}, "", nil},
	{"stubs that are named as the package", map[string]string{"spam/__init__.pyi": "x"}, "no-modules", []string{"spam/"}},
	{"two packages", map[string]string{"spam/__init__.py": "x", "eggs/__init__.py": "y"}, "several-toplevels", []string{"eggs/", "spam/"}},
	{"a private package beside", map[string]string{"spam/__init__.py": "x", "_spam/__init__.py": "y"}, "", nil},
	{"carried libraries beside", map[string]string{"spam/__init__.py": "x", "spam.libs/libx-1.so": "y"}, "", nil},
	{"a name that is not there", map[string]string{"spam/__init__.py": "x", info + "top_level.txt": "spam\neggs\n"}, "toplevel-missing", []string{"eggs"}},
	{"a name that is not told", map[string]string{"spam/__init__.py": "x", "_eggs.py": "y", info + "top_level.txt": "spam\n"}, "toplevel-undeclared", []string{"_eggs"}},
}

func TestLayout(t *testing.T) {
	t.Parallel()
	for _, test := range layouts {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := check(t, wheelOf("py3-none-any", test.files))
			if test.rule != "several-toplevels" {
				r.Without([]string{"several-toplevels"})
			}
			want := []string{}
			if test.rule != "" {
				want = append(want, test.rule)
			}
			if diff := cmp.Diff(want, rulesOf(r)); diff != "" {
				t.Fatalf("rules (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.about, filesOf(r, test.rule)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}
