package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/tree"
)

// One process imports a distribution's own modules; what comes behind one that prints, exits,
// hangs, forks or ends its process is imported all the same.
func TestOwnImports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := map[string]string{
		"load.py": strings.Replace(string(loadScript), "OWN = 120", "OWN = 2", 1),
		"aa.py":   "import builtins; builtins.seen = True", "ab.py": "import builtins; builtins.seen",
		"ba_prints.py": "import os; print('{\"OK\": false}'); os.write(2, b'x')",
		"bb_exits.py":  "import sys; sys.exit(3)", "bc_ends.py": "import os; os._exit(0)",
		"bd_hangs.py":   "import time\nwhile True: time.sleep(1)",
		"be_forks.py":   "import os, time\nif os.fork() == 0: time.sleep(30)",
		"bf_doubles.py": "import os; os.fork()",
		"bg_leaves.py":  "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(30); os._exit(0)\nos._exit(1)",
		"ca.py":         "raise ImportError('one\\ntwo')",
		"cb.py":         "import none",
		"da.py":         "import builtins; builtins.seen",
	}
	var names []string
	for name, text := range files {
		if name != "load.py" {
			names = append(names, strings.TrimSuffix(name, ".py"))
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(names)
	modules := []audit.Module{{Packages: names}, {Name: "aa"}}
	wanted, err := json.Marshal(modules)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	ear := listen(modules, time.Minute, func() { t.Error("it takes too long") })
	cmd := exec.CommandContext(t.Context(), "python3", "-I", "-S", filepath.Join(dir, "load.py"), dir, dir, "view")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(wanted), ear, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	heard, err := ear.stop()
	if err != nil || len(heard.whole) != 2 {
		t.Fatal(heard, err)
	}
	got := map[string]string{}
	for _, a := range heard.whole[0] {
		got[a.Module] = a.Error
	}
	want := map[string]string{
		"aa": "", "ab": "", "ba_prints": "", "bb_exits": "SystemExit: 3", "bc_ends": "the process ended by exit code 0",
		"bd_hangs": "not done after 2 seconds", "be_forks": "", "bf_doubles": "", "bg_leaves": "the process ended by exit code 1",
		"ca": "ImportError: one\ntwo", "cb": "ModuleNotFoundError: No module named 'none'",
		// It is in another process than aa.
		"da": "AttributeError: module 'builtins' has no attribute 'seen'",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// Answers about a distribution's own modules count when each has one.
func TestEarOfOwn(t *testing.T) {
	t.Parallel()
	line := func(a answer) string {
		text, _ := json.Marshal(a)
		return string(text) + "\n"
	}
	about := func(name string) string { return line(answer{Kind: audit.KindImport, Module: name, OK: true}) }
	done := line(answer{Kind: doneKind})
	for name, c := range map[string]struct {
		said         string
		whole, begun int
		fails        bool
	}{
		"all":               {about("a") + about("b") + done, 1, 0, false},
		"one is missing":    {about("a") + done, 0, 1, true},
		"twice":             {about("a") + about("a"), 0, 1, true},
		"another":           {about("c"), 0, 0, true},
		"nothing of a name": {line(answer{Kind: audit.KindImport, OK: true}), 0, 0, true},
		"another kind":      {line(answer{Kind: audit.KindDlopen, Module: "a"}), 0, 0, true},
		"not yet":           {about("a"), 0, 1, false},
	} {
		ear := listen([]audit.Module{{Packages: []string{"a", "b"}}}, time.Minute, func() {})
		_, err := ear.Write([]byte(c.said))
		if heard, _ := ear.stop(); len(heard.whole) != c.whole || len(heard.begun) != c.begun || (err != nil) != c.fails || err != nil && !errors.Is(err, errUnasked) {
			t.Errorf("%s: heard %+v, %v", name, heard, err)
		}
	}
}

// ownSubject is what has a distribution whose own modules are imported.
func ownSubject(t *testing.T, entries ...tree.Entry) *subject {
	t.Helper()
	s := subjectOf(t, entries...)
	s.modules = nil
	s.tops = []audit.TopLevel{{Dist: "a", Name: "a"}, {Dist: "a", Name: "second"}}
	return s
}

// The imports of own modules are remembered together, and told as such.
func TestOwnIsRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	loads := 0
	broken, failing := "", ""
	w.load = func(seen []string, m audit.Module) []answer {
		loads++
		var all []answer
		for _, name := range m.Packages {
			a := w.passes(audit.Module{Name: name}, "lib/libx.so.1")
			a.Missed = []string{"numpy"}
			if name == broken {
				a.OK, a.Error = false, failing
			}
			all = append(all, a)
		}
		return all
	}
	try := func(entries ...tree.Entry) (int, []audit.LoadReport) {
		t.Helper()
		before := loads
		got, err := w.try(t.Context(), ownSubject(t, entries...))
		if err != nil {
			t.Fatal(err)
		}
		return loads - before, got.Loads
	}
	report := func(name, fault string) audit.LoadReport {
		return audit.LoadReport{Target: "vm", Kind: audit.KindImport, Module: name, OK: fault == "", Error: fault, Runtimes: 1, Own: true}
	}
	well := []audit.LoadReport{report("a", ""), report("second", "")}
	for i, want := range []int{1, 0} {
		n, got := try(memoryEntries()...)
		if diff := cmp.Diff(well, got); diff != "" || n != want {
			t.Errorf("%d: asked %d times (-want +got):\n%s", i, n, diff)
		}
	}
	library := tree.FileEntry("lib/libx.so.1", 0o644, []byte("y"))
	library.Owner = "native"
	for name, c := range map[string]struct {
		tree  []tree.Entry
		holds bool
	}{
		"a distribution beside it": {with(owned("c", "c.py", "2")), true},
		"one more distribution":    {with(owned("d", "d/__init__.py", "")), true},
		"its own files":            {with(owned("a", "a/__init__.py", "2")), false},
		"what it requires":         {with(owned("r", "r.py", "2")), false},
		"what it missed":           {with(owned("numpy", "numpy/__init__.py", "")), false},
		"a library that it maps":   {with(library), false},
		"the interpreter":          {with(python("2")), false},
		"a file of nobody":         {with(tree.FileEntry(memorySite+"odd.py", 0o644, nil)), false},
	} {
		try(memoryEntries()...)
		if n, _ := try(c.tree...); (n == 0) != c.holds {
			t.Errorf("%s: asked %d times", name, n)
		}
	}
	// What fails for want of something is remembered, too; what fails otherwise is tried anew.
	broken = "second"
	for fault, again := range map[string]int{"ImportError: no": 0, "RuntimeError: no": 1} {
		failing = fault
		changed := with(owned("a", "a/__init__.py", fault))
		for i, want := range []int{1, again} {
			n, got := try(changed...)
			if diff := cmp.Diff([]audit.LoadReport{report("a", ""), report("second", fault)}, got); diff != "" || n != want {
				t.Errorf("%s, %d: asked %d times (-want +got):\n%s", fault, i, n, diff)
			}
		}
	}
	w.checkClosed()
}

// Distributions without native code share a sandbox. What one of them could see there decides
// what is remembered of it; what it looked for it sees in the next round.
func TestPureShareASandbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var rounds []string
	w.load = func(seen []string, m audit.Module) []answer {
		rounds = append(rounds, m.Packages[0]+": "+strings.Join(seen, " "))
		a := w.passes(audit.Module{Name: m.Packages[0]})
		if m.Packages[0] == "a" && !slices.Contains(seen, "c") {
			a.Missed = []string{"c"}
		}
		return []answer{a}
	}
	try := func(entries ...tree.Entry) []string {
		t.Helper()
		rounds = nil
		s := subjectOf(t, entries...)
		s.modules, s.requires = nil, map[string][]string{"a": {"r"}}
		s.tops = []audit.TopLevel{{Dist: "a", Name: "a"}, {Dist: "b", Name: "b"}}
		got, err := w.try(t.Context(), s)
		if err != nil || len(got.Loads) != 2 || !got.Loads[0].OK || !got.Loads[1].OK {
			t.Fatalf("%+v, %v", got, err)
		}
		return rounds
	}
	for i, want := range [][]string{{"a: a b r", "b: a b r", "a: a c r"}, nil} {
		if diff := cmp.Diff(want, try(memoryEntries()...)); diff != "" {
			t.Errorf("%d (-want +got):\n%s", i, diff)
		}
	}
	if n := len(w.runner.Sandboxes()); n != 2 {
		t.Errorf("%d sandboxes", n)
	}
	// What was there when it passed has changed.
	if diff := cmp.Diff([]string{"a: a b r", "b: a b r", "a: a c r"}, try(with(owned("r", "r.py", "2"))...)); diff != "" {
		t.Errorf("what one requires has changed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a: a r", "a: a c r"}, try(with(owned("c", "c.py", "2"), owned("r", "r.py", "2"))...)); diff != "" {
		t.Errorf("what one looked for has changed (-want +got):\n%s", diff)
	}
	w.checkClosed()
}

// Of a distribution with native code its own modules are imported where its native ones are
// loaded, in a sandbox that no other distribution has.
func TestOwnBesideNative(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.load = func(_ []string, m audit.Module) []answer {
		if m.Name == "" {
			return []answer{w.passes(audit.Module{Name: "a"})}
		}
		return []answer{w.passes(m)}
	}
	s := subjectOf(t, memoryEntries()...)
	s.tops = []audit.TopLevel{{Dist: "a", Name: "a"}}
	got, err := w.try(t.Context(), s)
	if err != nil || len(got.Loads) != 2 || got.Loads[0].Own == got.Loads[1].Own {
		t.Fatalf("%+v, %v", got, err)
	}
	if n := len(w.runner.Sandboxes()); n != 1 {
		t.Errorf("%d sandboxes", n)
	}
}

// A distribution that ends the process that asks has answers all the same: for what was said,
// for what was begun, and for what was not tried.
func TestOwnEndsWhoAsks(t *testing.T) {
	t.Parallel()
	for kind, why := range map[string]string{"die": "ended with code 137", "hang": "not done after 50ms"} {
		w := newWorld(t)
		w.stage.patience = 50 * time.Millisecond
		w.load = func(_ []string, m audit.Module) []answer {
			return []answer{w.passes(audit.Module{Name: "a"}), {Kind: kind}}
		}
		s := ownSubject(t, memoryEntries()...)
		s.tops = append(s.tops, audit.TopLevel{Dist: "a", Name: "third"})
		got, err := w.try(t.Context(), s)
		if err != nil || len(got.Loads) != 3 {
			t.Fatalf("%+v, %v", got, err)
		}
		for i, want := range []string{"", why, "not tried: the import of second"} {
			if r := got.Loads[i]; r.OK != (want == "") || !strings.Contains(r.Error, want) || !r.Own {
				t.Errorf("%s: %+v, want %q", kind, r, want)
			}
		}
		w.checkClosed()
	}
}

// A package without native code that cannot be imported, since a library that it loads by name is
// not there, is told of by a gate that passes it.
func TestPureImportIsToldOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.load = func(_ []string, m audit.Module) []answer {
		return []answer{{
			Kind: audit.KindImport, Module: "psycopg",
			Error: "ImportError: no pq wrapper available.\nAttempts made:\n- couldn't import psycopg 'c' implementation: No module named 'psycopg_c'\n- couldn't import psycopg 'python' implementation: libpq library not found",
		}}
	}
	c := caseOf(t)
	c.Terms, c.Record = Terms{}, &audit.ArtifactRecord{Wheels: []audit.WheelMade{{Name: "psycopg", Version: "3.2"}}}
	const info = "psycopg-3.2.dist-info/"
	record := "psycopg/__init__.py,,\n" + info + "METADATA,,\n" + info + "RECORD,,\n"
	var err error
	c.Tree, err = tree.New([]tree.Entry{
		python("1"), owned("psycopg", "psycopg/__init__.py", ""), owned("psycopg", info+"METADATA", "Name: psycopg\nVersion: 3.2\n"), owned("psycopg", info+"RECORD", record),
	})
	if err != nil {
		t.Fatal(err)
	}
	v, err := w.stage.Judge(t.Context(), c, w.targets())
	if err != nil {
		t.Fatal(err)
	}
	found := findings(v, "load")
	if len(found) != 1 || found[0].Severity != audit.Warn || !slices.Equal(found[0].Targets, []string{"container", "vm"}) {
		t.Fatalf("it says %+v", found)
	}
	for _, want := range []string{"no pq wrapper available", "libpq library not found"} {
		if !strings.Contains(found[0].Cause, want) {
			t.Errorf("the cause is %s", found[0].Cause)
		}
	}
	if !strings.Contains(found[0].Remedy, "libraries: [libpq5]") {
		t.Errorf("the remedy is %s", found[0].Remedy)
	}
}
