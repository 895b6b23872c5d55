package gate

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/builder/sandbox"
	"ampoule/tree"
)

// A load is remembered as long as everything that it could see is the same, and nothing that
// it looked for has come: each row changes one thing.
func TestLoadsAreRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	loads := 0
	w.load = func(_ []string, m audit.Module) []answer {
		loads++
		a := w.passes(m, "lib/libx.so.1")
		a.Missed = []string{"numpy", "ns.late", "distribution Plug.In"}
		return []answer{a}
	}
	try := func(t *testing.T, change func(*trial), entries ...tree.Entry) (int, audit.LoadReport) {
		t.Helper()
		before := loads
		at := &trial{
			Target: Target{Name: "vm", Place: placeOfVM, Base: w.base, Root: w.root},
			stage:  w.stage, sub: subjectOf(t, entries...), places: make(chan struct{}, 1), laid: func() {},
		}
		if change != nil {
			change(at)
		}
		if err := at.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		return loads - before, at.result.Loads[0]
	}
	if n, r := try(t, nil, memoryEntries()...); n != 1 || !r.OK {
		t.Fatalf("loaded %d times: %+v", n, r)
	}
	library, idle, more := tree.FileEntry("lib/libx.so.1", 0o644, []byte("y")), tree.FileEntry("lib/libidle.so.1", 0o644, []byte("y")), tree.FileEntry("lib/libmore.so.1", 0o644, nil)
	library.Owner, idle.Owner, more.Owner = "native", "native", "native"
	data, program, unowned := tree.FileEntry("share/c/c.cfg", 0o644, []byte("2")), tree.FileEntry("bin/c", 0o755, []byte("2")), tree.FileEntry(memorySite+"odd.py", 0o644, nil)
	data.Owner, program.Owner = audit.OwnerWheel+"c", audit.OwnerWheel+"c"
	for name, c := range map[string]struct {
		tree   []tree.Entry
		change func(*trial)
		holds  bool
	}{
		"the same":                         {tree: memoryEntries(), holds: true},
		"a distribution beside it":         {tree: with(owned("c", "c.py", "2")), holds: true},
		"one more distribution":            {tree: with(owned("d", "d/__init__.py", "")), holds: true},
		"a program of another":             {tree: with(program), holds: true},
		"data of another":                  {tree: with(data)},
		"a file of nobody":                 {tree: with(unowned)},
		"its own files":                    {tree: with(owned("a", "a/__init__.py", "2"))},
		"the module":                       {tree: with(owned("a", "a/_a.so", "2"))},
		"what it requires":                 {tree: with(owned("r", "r.py", "2"))},
		"what it requires has one more":    {tree: with(owned("r", "r_more.py", ""))},
		"another's file beside its own":    {tree: with(owned("c", "a/more.py", "")), holds: true},
		"the interpreter":                  {tree: with(python("2"))},
		"what it missed":                   {tree: with(owned("numpy", "numpy/__init__.py", ""))},
		"what it missed, a module":         {tree: with(owned("numpy", "numpy.cpython-313-x86_64-linux-gnu.so", ""))},
		"what it missed, deeper":           {tree: with(owned("late", "ns/late.py", ""))},
		"what it missed, a distribution":   {tree: with(owned("plug-in", "plugged.py", ""))},
		"a library that it maps":           {tree: with(library)},
		"a library that is gone":           {tree: slices.DeleteFunc(memoryEntries(), func(e tree.Entry) bool { return e.Path == library.Path })},
		"another library":                  {tree: with(idle), holds: true},
		"one more library":                 {tree: with(more), holds: true},
		"another place":                    {tree: memoryEntries(), change: func(at *trial) { at.Place = "elsewhere" }},
		"another base":                     {tree: memoryEntries(), change: func(at *trial) { at.Base = at.Base.With(at.Base.Layers[0]) }},
		"another name":                     {tree: memoryEntries(), change: func(at *trial) { at.sub.modules = []audit.Module{{File: module.File, Name: "a.b"}} }},
		"another requirement":              {tree: memoryEntries(), change: func(at *trial) { at.sub.requires = map[string][]string{"a": {"r", "b"}} }},
		"a requirement less":               {tree: memoryEntries(), change: func(at *trial) { at.sub.requires = nil }},
		"a requirement that nobody brings": {tree: memoryEntries(), change: func(at *trial) { at.sub.requires = map[string][]string{"a": {"r", "none"}} }, holds: true},
	} {
		try(t, nil, memoryEntries()...)
		n, _ := try(t, c.change, c.tree...)
		if holds := n == 0; holds != c.holds {
			t.Errorf("%s: remembered is %t", name, holds)
		}
	}
	w.checkClosed()
}

// What stands for the machine's libraries decides, and so does startup code.
func TestMemoryKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := func(change func(*round)) string {
		at := &trial{Target: Target{Name: "vm", Place: placeOfVM, Base: w.base}, stage: w.stage, sub: subjectOf(t, memoryEntries()...)}
		r := &round{trial: at}
		if change != nil {
			change(r)
		}
		m, err := r.open(audit.OwnerWheel+"a", owners{audit.OwnerWheel + "a": true})
		if err != nil {
			t.Fatal(err)
		}
		return m.key
	}
	plain := key(nil)
	if again := key(nil); again != plain {
		t.Error("the key of one thing differs")
	}
	for name, change := range map[string]func(*round){
		"startup code":            func(r *round) { r.startup = true },
		"the machine's libraries": func(r *round) { r.host = []sandbox.Layer{{DiffID: "sha256:1"}} },
	} {
		if key(change) == plain {
			t.Errorf("%s: the key is the same", name)
		}
	}
}

// A distribution sees what it requires. What else it looks for it sees in the next round, if
// the tree has it; what none of that helps is tried in the whole tree, and never remembered.
func TestRounds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		load func(w *world, seen []string, m audit.Module) answer
		// rounds are what was seen, in each sandbox, the first time and the second.
		first, second []string
		ok            bool
	}{
		"with what it requires": {func(w *world, _ []string, m audit.Module) answer { return w.passes(m) }, []string{"a r"}, nil, true},
		"with an undeclared one": {func(w *world, seen []string, m audit.Module) answer {
			if slices.Contains(seen, "b") {
				return w.passes(m)
			}
			return answer{Kind: audit.KindImport, Module: m.Name, File: m.File, Error: "no b", Missed: []string{"b"}}
		}, []string{"a r", "a b c r"}, nil, true},
		"with an optional one": {func(w *world, seen []string, m audit.Module) answer {
			a := w.passes(m)
			if !slices.Contains(seen, "c") {
				a.Missed = []string{"c"}
			}
			return a
		}, []string{"a r", "a c r"}, nil, true},
		"with all that there is": {func(w *world, _ []string, m audit.Module) answer {
			a := w.passes(m)
			a.Missed = []string{"*"}
			return a
		}, []string{"a r", "a b c r"}, nil, true},
		"with a library of another": {func(w *world, _ []string, m audit.Module) answer {
			return w.passes(m, memorySite+"b.py")
		}, []string{"a r", "a b c r"}, nil, true},
		"in the tree alone": {func(w *world, seen []string, m audit.Module) answer {
			if len(seen) == 0 {
				return w.passes(m)
			}
			return answer{Kind: audit.KindImport, Module: m.Name, File: m.File, Error: "no"}
		}, []string{"a r", ""}, []string{"a r", ""}, true},
		"never": {func(_ *world, _ []string, m audit.Module) answer {
			return answer{Kind: audit.KindImport, Module: m.Name, File: m.File, Error: "no"}
		}, []string{"a r", ""}, []string{"a r", ""}, false},
		"another file than its own": {func(_ *world, _ []string, m audit.Module) answer {
			return answer{Kind: audit.KindImport, Module: m.Name, File: m.File, OK: true, Mapped: []string{"/" + placeOfVM + "/bin/python3.13"}}
		}, []string{"a r", ""}, []string{"a r", ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var rounds []string
			w.load = func(seen []string, m audit.Module) []answer {
				rounds = append(rounds, strings.Join(seen, " "))
				return []answer{c.load(w, seen, m)}
			}
			for _, want := range [][]string{c.first, c.second} {
				rounds = nil
				got, err := w.try(t.Context(), subjectOf(t, memoryEntries()...))
				if err != nil || len(got.Loads) != 1 || got.Loads[0].OK != c.ok {
					t.Fatalf("%+v, %v", got.Loads, err)
				}
				if diff := cmp.Diff(want, rounds); diff != "" {
					t.Errorf("rounds (-want +got):\n%s", diff)
				}
			}
			w.checkClosed()
		})
	}
}

// A view has what its owners see, file by file where they share a directory.
func TestView(t *testing.T) {
	t.Parallel()
	s := subjectOf(t, with(owned("a", "ns/a.py", ""), owned("c", "ns/c.py", ""), owned("c", "ns/deep/c.py", ""), owned("c", "a/hidden.py", ""))...)
	view := s.parts.view(owners{audit.OwnerWheel + "a": true}, placeOfVM, nil)
	got := map[string]string{}
	for _, e := range view.links {
		got[e.Path] = e.Link
	}
	at := func(file string) string { return "/" + placeOfVM + "/" + memorySite + file }
	want := map[string]string{"a/__init__.py": at("a/__init__.py"), "a/_a.so": at("a/_a.so"), "ns/a.py": at("ns/a.py")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
