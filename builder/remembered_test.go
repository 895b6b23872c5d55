package builder

import (
	"path/filepath"
	"testing"

	"ampoule/audit"
	"ampoule/builder/cpython"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

const memorySite = "lib/python3.13/site-packages/"

// owned makes a file of a distribution.
func owned(name, file, text string) tree.Entry {
	e := tree.FileEntry(memorySite+file, 0o644, []byte(text))
	e.Owner = audit.OwnerWheel + name
	return e
}

func memoryTree(t *testing.T, more ...tree.Entry) *tree.Tree {
	t.Helper()
	native := tree.FileEntry("lib/libx.so.1", 0o644, []byte("x"))
	idle := tree.FileEntry("lib/libidle.so.1", 0o644, []byte("x"))
	native.Owner, idle.Owner = "native", "native"
	made, err := tree.New(append([]tree.Entry{
		owned("a", "a/_a.so", "1"), owned("a", "a/__init__.py", "1"), owned("b", "b.py", "1"), owned("c", "c.py", "1"), native, idle,
	}, more...))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// replaced makes the tree with another entry at one path.
func replaced(t *testing.T, e tree.Entry) *tree.Tree {
	t.Helper()
	made, err := memoryTree(t).Select(func(old tree.Entry) bool { return old.Path != e.Path }).With(e)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// A load is remembered as long as everything that decided it is the same: what was
// imported, what was looked for in vain, what each interpreter runs at its start.
func TestLoadsAreRemembered(t *testing.T) {
	t.Parallel()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	run := &build{
		b: &Builder{Store: st}, recipe: &recipes.Recipe{Name: "web"}, lock: &recipes.Lock{Python: recipes.LockedPython{Version: "3.13.5"}},
		interpreter: &cpython.Interpreter{Layer: sandbox.Layer{DiffID: "sha256:1"}},
	}
	at := &target{r: run, name: "vm", place: places["vm"]}
	module := audit.Module{File: memorySite + "a/_a.so", Name: "a._a", Packages: []string{"a"}}
	memory := at.remember(memoryTree(t))
	if _, ok, err := memory.recall(module); ok || err != nil {
		t.Fatalf("before anything was loaded %t is remembered, %v", ok, err)
	}
	answer := loadAnswer{
		Kind: audit.KindImport, Module: "a._a", File: module.File, OK: true,
		Mapped:   []string{"/usr/lib/libc.so.6", "/" + at.place + "/lib/libx.so.1", "/" + at.place + "/" + module.File},
		Imported: []string{memorySite + "a/__init__.py", memorySite + "b.py"}, Missed: []string{"numpy", "ns.late"},
	}
	if err := memory.note(answer, audit.LoadReport{Kind: audit.KindImport, File: module.File, OK: true}, []audit.Module{module}); err != nil {
		t.Fatal(err)
	}
	if err := memory.save(); err != nil {
		t.Fatal(err)
	}
	pth := tree.FileEntry(memorySite+"z.pth", 0o644, []byte("import c"))
	pth.Owner = audit.OwnerWheel + "z"
	library, idle, more := tree.FileEntry("lib/libx.so.1", 0o644, []byte("y")), tree.FileEntry("lib/libidle.so.1", 0o644, []byte("y")), tree.FileEntry("lib/libmore.so.1", 0o644, nil)
	library.Owner, idle.Owner, more.Owner = "native", "native", "native"
	for name, c := range map[string]struct {
		tree   *tree.Tree
		change func(*target, *audit.Module)
		holds  bool
	}{
		"the same":                 {tree: memoryTree(t), holds: true},
		"another distribution":     {tree: replaced(t, owned("c", "c.py", "2")), holds: true},
		"one more distribution":    {tree: memoryTree(t, owned("d", "d/__init__.py", "")), holds: true},
		"its own files":            {tree: replaced(t, owned("a", "a/__init__.py", "2"))},
		"a file that it imports":   {tree: replaced(t, owned("b", "b.py", "2"))},
		"what it missed":           {tree: memoryTree(t, owned("numpy", "numpy/__init__.py", ""))},
		"what it missed, a module": {tree: memoryTree(t, owned("numpy", "numpy.cpython-313-x86_64-linux-gnu.so", ""))},
		"what it missed, deeper":   {tree: memoryTree(t, owned("late", "ns/late.py", ""))},
		"what runs at the start":   {tree: memoryTree(t, pth)},
		"a library that it maps":   {tree: replaced(t, library)},
		"a library that is gone":   {tree: memoryTree(t).Select(func(e tree.Entry) bool { return e.Path != library.Path })},
		"another library":          {tree: replaced(t, idle), holds: true},
		"one more library":         {tree: memoryTree(t, more), holds: true},
		"another place":            {tree: memoryTree(t), change: func(at *target, _ *audit.Module) { at.place = "elsewhere" }},
		"another name":             {tree: memoryTree(t), change: func(_ *target, m *audit.Module) { m.Name = "a.b" }},
	} {
		at, module := *at, module
		if c.change != nil {
			c.change(&at, &module)
		}
		if _, holds, err := at.remember(c.tree).recall(module); err != nil || holds != c.holds {
			t.Errorf("%s: remembered is %t, %v", name, holds, err)
		}
	}
}

// A load that failed is no knowledge: it may have failed for any reason.
func TestFailedLoadsAreNotRemembered(t *testing.T) {
	t.Parallel()
	memory := &loadMemory{known: map[string]map[string]remembered{audit.OwnerWheel + "a": {}}, noted: map[string]bool{}, tree: memoryTree(t)}
	module := audit.Module{File: memorySite + "a/_a.so", Name: "a._a"}
	for _, err := range []error{
		memory.note(loadAnswer{File: module.File}, audit.LoadReport{Kind: audit.KindImport, File: module.File}, []audit.Module{module}),
		memory.note(loadAnswer{File: module.File, OK: true}, audit.LoadReport{Kind: audit.KindDlopen, File: module.File}, []audit.Module{module}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if len(memory.noted) != 0 {
		t.Errorf("remembered: %+v", memory.known)
	}
}
