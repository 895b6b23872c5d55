package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/builder/sandbox"
	"ampoule/tree"
)

// hostile are modules that try to answer for others. Whatever they do, they are no better
// off by it than by a lie about themselves, and the module that is loaded next is what it is.
var hostile = map[string]struct {
	code string
	// passes says that it imports. ends says that the process which asks has ended with it, or
	// has said what nobody asked: then the next module is loaded in another sandbox.
	passes, ends bool
}{
	"kills who asks":             {code: "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(5)", ends: true},
	"takes files from who asks":  {code: "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))\nos._exit(0)", ends: true},
	"answers in its place":       {code: `import os; os.write(os.open("/proc/%d/fd/1" % os.getppid(), os.O_WRONLY), b'{"Kind": "import", "Module": "victim", "File": "victim.so", "OK": true}\n'); os._exit(0)`, ends: true},
	"answers for the next":       {code: answering(`{"Kind": "import", "Module": "victim", "File": "victim.so", "OK": False}`)},
	"answers and says done":      {code: answering(`{"OK": False, "Kind": 1, "File": 1, "kind": "done", "file": "victim.so"}`)},
	"answers not a number":       {code: answering(`{"OK": float("nan")}`), ends: true},
	"answers a text":             {code: answering(`{"OK": "yes"}`), ends: true},
	"answers a list":             {code: answering(`[{"OK": True}]`)},
	"answers deeply":             {code: raw(`b"[" * 200000 + b"\n"`)},
	"answers without end":        {code: raw(`b"x" * (4 << 20)`)},
	"answers too much":           {code: answering(`{"OK": True, "Error": "x" * (2 << 20)}`), ends: true},
	"answers odd characters":     {code: answering(`{"OK": False, "Error": "\ud800\x00\n\x1b[2J", "Missed": ["\udfff"]}`)},
	"answers no text":            {code: raw(`b"\xff\xfe\n"`)},
	"answers nothing":            {code: raw(`b"\n"`)},
	"closes everything":          {code: "import os; os.closerange(0, 100)"},
	"becomes another program":    {code: `import os; os.execv("/bin/true", ["true"])`},
	"exits well":                 {code: "raise SystemExit(0)"},
	"exits at once":              {code: "import os; os._exit(0)"},
	"replaces json":              {code: `import json; json.dumps = json.loads = lambda *a, **k: '{"OK": true}'`, passes: true},
	"replaces os":                {code: "import os; os.fork = os.waitpid = os.pipe = None; os._exit = lambda code: None", passes: true},
	"replaces what asks":         {code: "import __main__\nfor name in ('tell', 'attempt', 'mapped', 'understood'): setattr(__main__, name, lambda *a, **k: None)\n__main__.imported = {'victim'}", passes: true},
	"takes all finders away":     {code: "import sys; sys.meta_path.clear(); sys.path.clear()", passes: true},
	"puts the next one in place": {code: "import sys, types; sys.modules['victim'] = types.ModuleType('victim')", passes: true},
	"doubles itself":             {code: "import os; os.fork()", passes: true},
	"leaves a process":           {code: "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(2); os._exit(0)", passes: true},
	"ignores signals":            {code: "import signal\nfor s in (signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)", passes: true},
	"takes the terminal":         {code: "import os; os.setsid(); os.write(1, b'{\"OK\": true}\\n'); os.write(2, b'x')", passes: true},
	"leaves threads":             {code: "import threading, time; threading.Thread(target=time.sleep, args=(9,)).start()", passes: true},
	"takes memory away":          {code: "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)", passes: true}, // PR_SET_DUMPABLE
	"exits at its end":           {code: "import atexit, os; atexit.register(os._exit, 7)", passes: true},
}

// raw is a module that writes bytes wherever it can, as an answer, and ends.
func raw(expression string) string {
	return "import os\nfor fd in range(3, 64):\n try: os.write(fd, " + expression + ")\n except OSError: pass\nos._exit(0)\n"
}

// answering is a module that answers a Python expression as JSON.
func answering(expression string) string {
	return "import json\n" + raw(`(json.dumps(`+expression+`) + "\n").encode()`)
}

func TestHostileModules(t *testing.T) {
	t.Parallel()
	for name, c := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range map[string]string{"load.py": string(loadScript), "evil.py": c.code, "victim.py": "raise ImportError('broken')"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			modules := []audit.Module{{File: "evil.so", Name: "evil"}, {File: "victim.so", Name: "victim"}}
			wanted, err := json.Marshal(modules)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "python3", "-I", "-S", filepath.Join(dir, "load.py"), dir, dir, "view")
			cmd.WaitDelay = time.Second
			ear := listen(modules, time.Minute, cancel)
			cmd.Stdin, cmd.Stdout = bytes.NewReader(wanted), ear
			ended := cmd.Run()
			got, unasked := ear.stop()
			heard := got.whole
			if failed := len(heard) < len(modules); failed != c.ends || failed && ended == nil && unasked == nil {
				t.Fatalf("heard %d answers (%v, %v)", len(heard), ended, unasked)
			}
			for i, answers := range heard {
				if want := i == 0 && c.passes; len(answers) != 1 || answers[0].OK != want || answers[0].Module != modules[i].Name {
					t.Errorf("%s: %+v", modules[i].Name, answers)
				}
			}
		})
	}
}

// What a process has mapped is read from outside: it does not decide which file it is found
// to have, nor that one failed for a reason of Python's.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code := `import json, os, sys, time
for fd in range(3, 64):
    try: os.write(fd, json.dumps({"OK": True, "Mapped": ["/forged"], "Behind": ["x"], "Ended": True, "ended": True}).encode() + b"\n")
    except OSError: pass
`
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "load.py"), loadScript, 0o644), os.WriteFile(filepath.Join(dir, "evil.py"), []byte(code), 0o644)); err != nil {
		t.Fatal(err)
	}
	modules := []audit.Module{{File: "evil.so", Name: "evil"}}
	wanted, err := json.Marshal(modules)
	if err != nil {
		t.Fatal(err)
	}
	ear := listen(modules, time.Minute, func() {})
	cmd := exec.CommandContext(t.Context(), "python3", "-I", "-S", filepath.Join(dir, "load.py"), dir, dir, "view")
	cmd.Stdin, cmd.Stdout = bytes.NewReader(wanted), ear
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	heard, err := ear.stop()
	if err != nil || len(heard.whole) != 1 {
		t.Fatal(heard, err)
	}
	if a := heard.whole[0][0]; !a.OK || slices.Contains(a.Mapped, "/forged") || len(a.Mapped) == 0 || a.Ended || a.Behind != nil {
		t.Errorf("%+v", a)
	}
}

// A module that fails is tried behind those that its own failure names, and not behind
// others that say that they require it; one that ended its process behind none.
func TestHostileRequirement(t *testing.T) {
	t.Parallel()
	got := script(t, map[string]string{
		"dies.py": "import os; os.abort()", "fails.py": "raise ImportError('the psycopg package should be imported before')",
		"evil.py": "import sys, types; sys.modules['fails'] = types.ModuleType('fails')", "psycopg.py": "",
	}, []audit.Module{
		{File: "dies.so", Name: "dies", Behind: []string{"evil", "signal"}},
		{File: "fails.so", Name: "fails", Behind: []string{"evil", "psycopg"}},
	}, "tree")
	var behind [][]string
	for _, answers := range got {
		for _, a := range answers {
			if len(a.Behind) > 0 {
				behind = append(behind, append(a.Behind, a.Module, fmt.Sprint(a.OK)))
			}
		}
	}
	if diff := cmp.Diff([][]string{{"psycopg", "fails", "false"}}, behind); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a := got[0][0]; !a.Ended || a.OK {
		t.Errorf("%+v", a)
	}
}

// Whoever answers byte by byte, or again and again, is late or said what nobody asked.
func TestEarIsNotKept(t *testing.T) {
	t.Parallel()
	modules := []audit.Module{{File: "a.so", Name: "a", Packages: []string{"p"}}}
	late := make(chan struct{})
	slow := listen(modules, 50*time.Millisecond, func() { close(late) })
	patience := time.After(10 * time.Second)
	for dripping := true; dripping; {
		select {
		case <-patience:
			t.Fatal("whoever answers byte by byte is waited for")
		case <-late:
			dripping = false
		case <-time.After(10 * time.Millisecond):
			if _, err := slow.Write([]byte(" ")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, said := range map[string]string{
		"the same answer again": strings.Repeat(`{"Kind": "import", "Module": "p", "OK": true}`+"\n", 2),
		"a long line":           strings.Repeat(" ", maxAnswer+1),
	} {
		ear := listen(modules, time.Minute, func() {})
		_, err := ear.Write([]byte(said))
		if ear.stop(); !errors.Is(err, errUnasked) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A process that does not end after its last answer is not waited for.
func TestEarDoesNotWait(t *testing.T) {
	t.Parallel()
	late := make(chan struct{})
	ear := listen([]audit.Module{{File: "a.so", Name: "a"}}, 30*time.Millisecond, func() { close(late) })
	if _, err := ear.Write([]byte(`{"Kind": "import", "Module": "a", "File": "a.so", "OK": true}` + "\n" + `{"Kind": "done", "File": "a.so"}` + "\n")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-late:
	case <-time.After(10 * time.Second):
		t.Fatal("what has answered everything is waited for")
	}
	if heard, err := ear.stop(); len(heard.whole) != 1 || err != nil {
		t.Error(heard, err)
	}
}

// Nothing that was decided by a file which another recipe does not have is recalled there:
// neither a library of another distribution, nor names that look like several files.
func TestOthersDoNotDecide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.load = func(_ []string, m audit.Module) []answer { return []answer{w.passes(m, memorySite+"evil.libs/x.so")} }
	evil := owned("evil", "evil.libs/x.so", "1")
	if _, err := w.try(t.Context(), subjectOf(t, append(memoryEntries(), evil)...)); err != nil {
		t.Fatal(err)
	}
	w.load = func(_ []string, m audit.Module) []answer { return failed(m, nil, "no x.so") }
	got, err := w.try(t.Context(), subjectOf(t, memoryEntries()...))
	if err != nil || len(got.Loads) == 0 || got.Loads[0].OK {
		t.Errorf("without the other's library: %+v, %v", got.Loads, err)
	}
	of := func(files ...string) string {
		var entries []tree.Entry
		for _, f := range files {
			entries = append(entries, owned("a", f, ""))
		}
		return subjectOf(t, append(entries, python("1"))...).parts.of[audit.OwnerWheel+"a"]
	}
	sum := owned("a", "x", "").SHA256
	if of("x", "y") == of("x 644 "+sum+" \n"+memorySite+"y") {
		t.Error("two files and one look the same")
	}
}

// What a view has not is closed to whoever looks around in the tree: other distributions'
// directories, their files beside one's own, modules of one file, and programs.
func TestViewHidesOthers(t *testing.T) {
	t.Parallel()
	s := subjectOf(t, with(owned("c", "ns/c.py", ""), owned("a", "ns/a.py", ""), owned("c", "deep/er/c.py", ""), owned("c", "a/hidden.py", ""))...)
	view := s.parts.view(owners{audit.OwnerWheel + "a": true}, placeOfVM, map[string]bool{memorySite + "r.py": true})
	got := map[string]string{}
	for _, e := range view.hidden {
		if e.UID != 0 || e.Size != 0 {
			t.Errorf("%+v", e)
		}
		got[strings.TrimPrefix(e.Path, placeOfVM+"/")] = fmt.Sprintf("%v %o", e.Kind, e.Mode)
	}
	dir, file := fmt.Sprintf("%v 0", tree.Dir), fmt.Sprintf("%v 0", tree.File)
	want := map[string]string{
		memorySite + "b.py": file, memorySite + "c.py": file, memorySite + "ns/c.py": file, memorySite + "a/hidden.py": file,
		memorySite + "deep": dir, "bin/c": file, strings.TrimSuffix(memorySite, "/"): fmt.Sprintf("%v 711", tree.Dir),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever a distribution says that it requires, a view is made of what the tree has.
func TestHostileRequirements(t *testing.T) {
	t.Parallel()
	s := subjectOf(t, memoryEntries()...)
	many := make([]string, 100_000)
	for i := range many {
		many[i] = fmt.Sprint("none-", i)
	}
	s.requires = map[string][]string{"a": append(many, "a", "b", "interpreter", "", "wheel:c"), "b": {"a", "b"}, "c": {"a"}}
	got := owners{}.with(owners{audit.OwnerWheel + "a": true}, s)
	if diff := cmp.Diff(owners{audit.OwnerWheel + "a": true, audit.OwnerWheel + "b": true}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is too large to be remembered is no reason to fail.
func TestLargeMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	loads := 0
	w.load = func(_ []string, m audit.Module) []answer {
		loads++
		a := w.passes(m)
		for i := range 20_000 {
			a.Missed = append(a.Missed, fmt.Sprint("a.module.that.is.nowhere", i))
		}
		return []answer{a}
	}
	files := memoryEntries()
	var modules []audit.Module
	for i := range 20 {
		e := owned("a", fmt.Sprintf("a/m%02d.so", i), "")
		files = append(files, e)
		modules = append(modules, audit.Module{File: e.Path, Name: fmt.Sprintf("a.m%02d", i)})
	}
	s := subjectOf(t, files...)
	s.modules = modules
	if got, err := w.try(t.Context(), s); err != nil || len(got.Loads) != 20 || loads != 20 {
		t.Errorf("%d loads, %d reports, %v", loads, len(got.Loads), err)
	}
}

// brokenImages fail from the second image on.
type brokenImages struct {
	sandbox.Images
	loaded int
}

var errNoSpace = errors.New("no space left on device")

func (b *brokenImages) Load(ctx context.Context, c sandbox.Config, l ...sandbox.Layer) (sandbox.ID, error) {
	if b.loaded++; b.loaded > 1 {
		return "", errNoSpace
	}
	return b.Images.Load(ctx, c, l...)
}

// Nothing goes on behind an image that could not be made.
func TestNothingOutlivesATrial(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stage.Images = &brokenImages{Images: w.runner}
	pth := owned("z", "z.pth", "import z")
	s := subjectOf(t, with(pth)...)
	s.startups, s.accepted = []audit.Startup{{File: pth.Path, Owner: pth.Owner, Kind: audit.StartupPath}}, true
	if _, err := w.try(t.Context(), s, commands("pass")...); !errors.Is(err, errNoSpace) {
		t.Errorf("got %v", err)
	}
	if n := len(w.runner.Sandboxes()); n != 0 {
		t.Errorf("%d sandboxes were started", n)
	}
}

// Reports have one order, whatever ended first.
func TestReportsAreInOrder(t *testing.T) {
	t.Parallel()
	loads := []audit.LoadReport{
		{Kind: audit.KindImport, Module: "p"}, {Kind: audit.KindDlopen, File: "a"}, {Kind: audit.KindDlopen, File: "a", Startup: true},
		{Kind: audit.KindImport, File: "a", Module: "a"}, {Kind: audit.KindImport, File: "a", Module: "a", Startup: true},
		{Kind: audit.KindImport, File: "a", Module: "a", Behind: []string{"b"}},
	}
	tests := []audit.TestReport{
		{Kind: audit.KindCommand, Args: []string{"a"}}, {Kind: audit.KindCommand, Args: []string{"a"}, Startup: true}, {Kind: audit.KindImport, Args: []string{"a"}},
	}
	backwards := Result{Loads: slices.Clone(loads), Tests: slices.Clone(tests)}
	slices.Reverse(backwards.Loads)
	slices.Reverse(backwards.Tests)
	backwards.sort()
	if diff := cmp.Diff(Result{Loads: loads, Tests: tests}, backwards); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// BenchmarkViews makes a view for each of 300 distributions with 30,000 files.
func BenchmarkViews(b *testing.B) {
	var entries []tree.Entry
	for d := range 300 {
		name := fmt.Sprintf("dist%03d", d)
		for f := range 100 {
			entries = append(entries, owned(name, fmt.Sprintf("%s/sub%d/m%d.py", name, f%7, f), ""))
		}
		entries = append(entries, owned(name, fmt.Sprintf("shared/%s.py", name), ""))
	}
	made, err := tree.New(entries)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p := partsOf(made, memorySite)
		for d := range 300 {
			p.view(owners{fmt.Sprintf("%sdist%03d", audit.OwnerWheel, d): true}, placeOfVM, nil)
			p.providers("*")
			p.providers(fmt.Sprintf("dist%03d.sub1", d))
		}
	}
}
