package overlay

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/tree"
)

const site = "lib/python3.13/site-packages/"

// owned makes a tree of files, "PATH=CONTENT", by who brought them.
func owned(t *testing.T, files map[string][]string) *tree.Tree {
	t.Helper()
	var entries []tree.Entry
	for owner, list := range files {
		for _, file := range list {
			name, content, _ := strings.Cut(file, "=")
			e := tree.FileEntry(name, 0o644, []byte(content))
			e.Owner = owner
			entries = append(entries, e)
		}
	}
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// baseTree is an interpreter with a package, a module, a namespace package and an old one.
func baseTree(t *testing.T) *tree.Tree {
	return owned(t, map[string][]string{
		audit.OwnerInterpreter: {"bin/python3.13=elf", "lib/python3.13/json/__init__.py=", site + "pip/__init__.py="},
		audit.OwnerWheel + "flask": {
			site + "flask/__init__.py=app", site + "flask/json/tag.py=", site + "tests/__init__.py=", site + "tests/test_flask.py=", "bin/flask=run",
			site + "flask-3.1.dist-info/METADATA=m", site + "LICENSE=mit",
		},
		audit.OwnerWheel + "google-auth": {site + "google/auth/__init__.py="},
		audit.OwnerWheel + "six":         {site + "six.py=", site + "_native.cpython-313-x86_64-linux-gnu.so=elf"},
		audit.OwnerWheel + "old":         {site + "zope/__init__.py=__import__('pkg_resources').declare_namespace(__name__)", site + "zope/old.py="},
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lays []string
		want []string
	}{
		"a package of its own":     {[]string{site + "pytest/__init__.py=", site + "_pytest/x.py=", site + "pytest-8.dist-info/RECORD=", "bin/pytest=run", site + "py.py="}, nil},
		"bytecode":                 {[]string{site + "__pycache__/py.cpython-313.pyc=", site + "py.py="}, nil},
		"a standard module's name": {[]string{site + "json.py="}, nil},
		"the same file":            {[]string{site + "LICENSE=mit"}, nil},
		"a namespace's part":       {[]string{site + "google/cloud/__init__.py="}, nil},
		"an old namespace's part":  {[]string{site + "zope/__init__.py=__import__('pkg_resources').declare_namespace(__name__)", site + "zope/new.py="}, nil},

		"another file":              {[]string{site + "LICENSE=gpl"}, []string{"g would change " + site + "LICENSE of flask"}},
		"a script":                  {[]string{"bin/flask=other"}, []string{"g would change bin/flask of flask"}},
		"the interpreter's":         {[]string{site + "pip/__init__.py=new"}, []string{"g would change " + site + "pip/__init__.py of the interpreter"}},
		"the interpreter's, same":   {[]string{site + "pip/__init__.py="}, []string{"g would add to lib/python3.13/site-packages/pip of the interpreter"}},
		"a package by a module":     {[]string{site + "flask.py="}, []string{"g would shadow lib/python3.13/site-packages/flask of flask"}},
		"a module by a package":     {[]string{site + "six/__init__.py=", site + "six/moves.py="}, []string{"g would shadow " + site + "six.py of six"}},
		"a module by an extension":  {[]string{site + "six.abi3.so="}, []string{"g would shadow " + site + "six.py of six"}},
		"an extension by a module":  {[]string{site + "_native.py="}, []string{"g would shadow " + site + "_native.cpython-313-x86_64-linux-gnu.so of six"}},
		"a package's part":          {[]string{site + "flask/extra.py="}, []string{"g would add to lib/python3.13/site-packages/flask of flask"}},
		"tests of both":             {[]string{site + "tests/__init__.py=", site + "tests/test_g.py="}, []string{"g would add to lib/python3.13/site-packages/tests of flask"}},
		"a namespace, as a package": {[]string{site + "google/__init__.py="}, []string{"g would add to lib/python3.13/site-packages/google of google-auth"}},
		"a module in a namespace":   {[]string{site + "google/auth.py="}, []string{"g would shadow lib/python3.13/site-packages/google/auth of google-auth"}},
		"an old namespace, another": {[]string{site + "zope/__init__.py=x"}, []string{"g would change " + site + "zope/__init__.py of old"}},
		"the standard library":      {[]string{"lib/python3.13/flask.py="}, []string{"g would add to lib/python3.13/flask.py of the interpreter"}},
	} {
		clashes, err := Check(baseTree(t), site, []Laid{{Name: "g", Tree: owned(t, map[string][]string{"": c.lays})}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, clash := range clashes {
			got = append(got, clash.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestBeyond(t *testing.T) {
	t.Parallel()
	base := owned(t, map[string][]string{
		audit.OwnerWheel + "flask": {site + "flask/__init__.py=app"}, "native": {"lib/libx.so.1=1"}, "metadata": {artifact.RecordFile + "=1"},
		audit.OwnerInterpreter: {site + "pip/x.py="},
	})
	lays := []string{site + "pytest/__init__.py=", "bin/pytest="}
	good := owned(t, map[string][]string{
		audit.OwnerWheel + "flask": {site + "flask/__init__.py=app"}, "native": {"lib/libx.so.1=1", "lib/liby.so.1=1"}, "metadata": {artifact.RecordFile + "=2"},
		audit.OwnerInterpreter: {site + "pip/x.py="}, audit.OwnerWheel + "pytest": lays,
	})
	beyond, clashes := Beyond(base, good)
	var files []string
	for _, e := range beyond.Entries() {
		if e.Kind != tree.Dir {
			files = append(files, e.Path)
		}
	}
	if diff := cmp.Diff([]string{"bin/pytest", site + "pytest/__init__.py", "lib/liby.so.1"}, files, cmp.Transformer("set", func(l []string) map[string]bool {
		m := map[string]bool{}
		for _, f := range l {
			m[f] = true
		}
		return m
	})); diff != "" || clashes != nil {
		t.Errorf("clashes %v (-want +got):\n%s", clashes, diff)
	}
	bad := owned(t, map[string][]string{
		audit.OwnerWheel + "flask": {site + "flask/__init__.py=app"}, "native": {"lib/libx.so.1=2"}, "metadata": {artifact.RecordFile + "=2"}, audit.OwnerWheel + "pip": {site + "pip/y.py="},
	})
	_, clashes = Beyond(base, bad)
	want := []Clash{
		{"lib/libx.so.1", "the group", "the artifact", "change"},
		{site + "pip/x.py", "the group", "the interpreter", "take away"},
	}
	if diff := cmp.Diff(want, clashes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRefusedError(t *testing.T) {
	t.Parallel()
	err := &RefusedError{Name: "test"}
	for range 12 {
		err.Clashes = append(err.Clashes, Clash{"x.py", "a", "b", "shadow"})
	}
	if text := err.Error(); !strings.HasPrefix(text, "dependency group test ") || !strings.HasSuffix(text, "and 2 more") || faults.Of(err) != faults.Refused || !strings.Contains(err.Hint(), "dependency-groups.test") {
		t.Errorf("%s", text)
	}
}
