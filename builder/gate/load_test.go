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
)

// script runs load.py under this machine's Python over modules in Python: which attempts
// it makes does not depend on what a module is written in.
func script(t *testing.T, files map[string]string, modules []audit.Module, mode ...string) [][]answer {
	t.Helper()
	dir := t.TempDir()
	files["load.py"] = string(loadScript)
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	wanted, err := json.Marshal(modules)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", append([]string{"-I", "-S", filepath.Join(dir, "load.py"), dir, dir}, mode...)...)
	ear := listen(modules, time.Minute, func() { t.Error("it takes too long") })
	cmd.Stdin, cmd.Stderr, cmd.Stdout = bytes.NewReader(wanted), os.Stderr, ear
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	heard, err := ear.stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, answers := range heard.whole {
		for i := range answers {
			if answers[i].Kind == audit.KindDlopen {
				answers[i].Error = "" // the C library's words
			}
			// Whose words they are is not of interest, nor what this machine maps.
			answers[i].Mapped, answers[i].Trace = nil, ""
		}
	}
	return heard.whole
}

func TestLoadScript(t *testing.T) {
	t.Parallel()
	got := script(t, map[string]string{
		"good.py": "", "user.py": "", "ends.py": "import os\nos._exit(3)\n",
		"shy.py": "import sys\nif 'user' not in sys.modules: raise ImportError('after user, or none.')\n",
	}, []audit.Module{
		{File: "good.so", Name: "good", Packages: []string{"user"}},
		{File: "shy.so", Name: "shy", Packages: []string{"user"}, Behind: []string{"none", "user"}},
		{File: "none.so", Name: "none", Packages: []string{"user"}, Behind: []string{"user"}},
		{File: "ends.so", Name: "ends"},
	}, "tree")
	want := [][]answer{
		{{Kind: "import", Module: "good", File: "good.so", OK: true, Missed: []string{}}},
		{
			{Kind: "import", Module: "shy", File: "shy.so", Error: "ImportError: after user, or none.", Missed: []string{}},
			{Kind: "import", Module: "shy", File: "shy.so", Behind: []string{"none", "user"}, OK: true, Missed: []string{"none"}},
			{Kind: "import", Module: "user", OK: true, Missed: []string{}},
			{Kind: "dlopen", File: "shy.so", Missed: []string{}},
		},
		{
			{Kind: "import", Module: "none", File: "none.so", Error: "ModuleNotFoundError: No module named 'none'", Missed: []string{"none"}},
			{Kind: "dlopen", File: "none.so", Missed: []string{}},
		},
		{
			{Kind: "import", Module: "ends", File: "ends.so", Ended: true, Error: "the process ended by exit code 3"},
			{Kind: "dlopen", File: "ends.so", Missed: []string{}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a module looks for in vain is told: modules, distributions, and everybody's metadata.
func TestLoadScriptMissed(t *testing.T) {
	t.Parallel()
	got := script(t, map[string]string{
		"looks.py": "import importlib.metadata\ntry: import gone\nexcept ImportError: pass\n" +
			"try: importlib.metadata.version('Plug.In')\nexcept importlib.metadata.PackageNotFoundError: pass\n",
		"scans.py": "import importlib.metadata\nlist(importlib.metadata.distributions())\n",
	}, []audit.Module{{File: "looks.so", Name: "looks"}, {File: "scans.so", Name: "scans"}}, "view")
	if missed := got[0][0].Missed; !slices.Contains(missed, "gone") || !slices.Contains(missed, "distribution Plug.In") || slices.Contains(missed, "*") {
		t.Errorf("looks: %q", missed)
	}
	if missed := got[1][0].Missed; !slices.Contains(missed, "*") {
		t.Errorf("scans: %q", missed)
	}
}

// Startup code runs where it was accepted, and nowhere else: not in the process that asks.
func TestLoadScriptStartup(t *testing.T) {
	t.Parallel()
	files := func() map[string]string {
		return map[string]string{
			"a.pth": "import sys; sys.started = ['pth']\n", "sitecustomize.py": "import sys; sys.started.append('site')\n",
			"usercustomize.py": "import sys; sys.started.append('user')\n", "m.py": "import sys\nassert sys.started == ['pth', 'site', 'user']\n",
		}
	}
	modules := []audit.Module{{File: "m.so", Name: "m"}}
	if got := script(t, files(), modules, "view"); got[0][0].OK {
		t.Error("startup code ran")
	}
	if got := script(t, files(), modules, "view", "startup"); !got[0][0].OK {
		t.Errorf("startup code did not run: %+v", got)
	}
}

// What a module does in its own process decides nothing but its own answer: neither what it
// prints, nor an answer that it makes up and dies, nor a process that it leaves.
func TestLoadScriptLies(t *testing.T) {
	t.Parallel()
	forge := `import os
line = b'{"OK": true, "Kind": "import", "Module": "x", "File": "x.so"}\n{"Kind": "done", "File": "x.so"}\n'
for fd in range(64):
    try: os.write(fd, line)
    except OSError: pass
`
	got := script(t, map[string]string{
		"prints.py": "print('{\"OK\": true}')\nraise ImportError('no')\n",
		"stays.py":  "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(3); os._exit(0)\n",
		"good.py":   "",
		"forges.py": forge + "os._exit(0)\n",
	}, []audit.Module{{File: "prints.so", Name: "prints"}, {File: "stays.so", Name: "stays"}, {File: "good.so", Name: "good"}, {File: "forges.so", Name: "forges"}}, "view")
	var ok []bool
	for _, answers := range got {
		ok = append(ok, answers[0].OK)
	}
	// The last one lies about itself alone; that its file is not mapped tells.
	if diff := cmp.Diff([]bool{false, true, true}, ok[:3]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a := got[3][0]; a.Module != "forges" || a.File != "forges.so" {
		t.Errorf("a lie about another one was believed: %+v", a)
	}
}

// Answers are taken for what was asked, once, in order.
func TestEar(t *testing.T) {
	t.Parallel()
	modules := []audit.Module{{File: "a.so", Name: "a", Packages: []string{"p"}}, {File: "b.so", Name: "b"}}
	line := func(kind, module, file string) string {
		text, _ := json.Marshal(answer{Kind: kind, Module: module, File: file, OK: true})
		return string(text) + "\n"
	}
	a, b := line("import", "a", "a.so")+line("done", "", "a.so"), line("import", "b", "b.so")+line("done", "", "b.so")
	for name, c := range map[string]struct {
		said  string
		heard int
		fails bool
	}{
		"as asked":            {a + b, 2, false},
		"in pieces":           {a[:9], 0, false},
		"a package":           {line("import", "p", "") + a + b, 2, false},
		"another package":     {line("import", "q", "") + a, 0, true},
		"of the next one":     {b, 0, true},
		"twice":               {a + a, 1, true},
		"more than asked":     {a + b + a, 2, true},
		"done without one":    {line("done", "", "a.so"), 0, true},
		"another name":        {line("import", "b", "a.so"), 0, true},
		"no JSON":             {a + "Fatal Python error\n", 1, true},
		"a number":            {"1\n", 0, true},
		"another kind":        {line("told", "a", "a.so"), 0, true},
		"without end":         {strings.Repeat("x", maxReport+1), 0, true},
		"an answer, not done": {a + line("import", "b", "b.so"), 1, false},
	} {
		ear := listen(modules, time.Minute, func() {})
		_, err := ear.Write([]byte(c.said))
		if heard, said := ear.stop(); !errors.Is(said, err) || len(heard.whole) != c.heard || (err != nil) != c.fails || err != nil && !errors.Is(err, errUnasked) {
			t.Errorf("%s: heard %d, %v", name, len(heard.whole), err)
		}
	}
}

// A module that ends the process which asks, or hangs, has failed; the others are loaded
// all the same. A distribution that does that again and again is given up.
func TestAskGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stage.patience = 100 * time.Millisecond
	odd := map[string]string{"m1": "die", "m2": "hang", "m3": "forge"}
	w.load = func(_ []string, m audit.Module) []answer {
		if kind := odd[m.Name]; kind != "" {
			return []answer{{Kind: kind}}
		}
		return []answer{w.passes(m)}
	}
	s := subjectOf(t, memoryEntries()...)
	s.modules = nil
	r := &round{trial: &trial{Target: Target{Name: "vm", Place: placeOfVM, Base: w.base, Root: w.root}, stage: w.stage, sub: s}}
	var err error
	if r.image, err = r.trial.image(t.Context(), s.Tree); err != nil {
		t.Fatal(err)
	}
	ask := func(names ...string) map[string]string {
		t.Helper()
		var modules []audit.Module
		for _, n := range names {
			modules = append(modules, audit.Module{File: n + ".so", Name: n})
		}
		got := map[string]string{}
		s := &session{round: r}
		defer s.drop()
		err := s.ask(t.Context(), nil, modules, func(m audit.Module, answers []answer) { got[m.Name] = answers[0].Error })
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := map[string]string{
		"m0": "", "m1": "the process that loads modules ended with code 137", "m2": "not done after 100ms", "m3": "the process that loads modules answered what nobody asked*", "m4": "",
	}
	got := ask("m0", "m1", "m2", "m3", "m4")
	for name, pattern := range want {
		start, end, _ := strings.Cut(pattern, "*")
		if said, ok := got[name]; !ok || !strings.HasPrefix(said, start) || !strings.Contains(said, strings.TrimSuffix(end, "*")) || pattern == "" && said != "" {
			t.Errorf("%s: %q, want %q", name, said, pattern)
		}
	}
	var many []string
	for i := range maxDeaths + 3 {
		name := "d" + strings.Repeat("x", i)
		many, odd[name] = append(many, name), "die"
	}
	if err := r.closing.Wait(); err != nil {
		t.Fatal(err)
	}
	before := len(w.runner.Sandboxes())
	if got := ask(many...); len(got) != len(many) || !strings.Contains(got[many[len(many)-1]], "too often") {
		t.Errorf("got %d answers", len(got))
	}
	if n := len(w.runner.Sandboxes()) - before; n != maxDeaths {
		t.Errorf("%d sandboxes were started", n)
	}
	if err := r.closing.Wait(); err != nil {
		t.Fatal(err)
	}
	w.checkClosed()
}
