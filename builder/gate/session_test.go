package gate

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/tree"
)

// A job stands behind another one only if it sees all that the other sees.
func TestChains(t *testing.T) {
	t.Parallel()
	of := func(owner string, modules int, seen ...string) job {
		j := job{owner: owner, modules: make([]audit.Module, modules), seen: owners{}}
		for i := range j.modules {
			j.modules[i].Name = "m"
		}
		for _, o := range seen {
			j.seen[audit.OwnerWheel+o] = true
		}
		return j
	}
	for name, c := range map[string]struct {
		jobs []job
		want []string
	}{
		"one requires the other":     {[]job{of("user", 1, "user", "lib"), of("lib", 1, "lib")}, []string{"lib user"}},
		"they have nothing to share": {[]job{of("a", 1, "a"), of("b", 1, "b")}, []string{"a", "b"}},
		"the interpreter":            {[]job{of("a", 1, "a"), of("b", 1, "b"), of("interpreter", 1)}, []string{"interpreter a", "b"}},
		"another one than it sees":   {[]job{of("a", 1, "a"), of("b", 1, "b"), of("c", 1, "c", "b")}, []string{"a", "b c"}},
		"one that is seen by half":   {[]job{of("a", 1, "a", "x"), of("b", 1, "b", "a", "y")}, []string{"a", "b"}},
		"too many modules":           {[]job{of("lib", 60, "lib"), of("user", 60, "user", "lib")}, []string{"lib", "user"}},
	} {
		var got []string
		for _, chain := range chains(c.jobs) {
			var names []string
			for _, j := range chain {
				names = append(names, j.owner)
			}
			got = append(got, strings.Join(names, " "))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A sandbox serves the next load as long as that sees all whose code may have run there.
func TestSessions(t *testing.T) {
	t.Parallel()
	a, r, b := audit.OwnerWheel+"a", audit.OwnerWheel+"r", audit.OwnerWheel+"b"
	for name, c := range map[string]struct {
		views []owners
		want  int
	}{
		"the same":               {[]owners{{r: true}, {r: true}}, 1},
		"more":                   {[]owners{{}, {r: true}, {r: true, a: true}, nil}, 1},
		"less":                   {[]owners{{r: true, a: true}, {r: true}}, 2},
		"others":                 {[]owners{{r: true}, {b: true}}, 2},
		"after the whole tree":   {[]owners{nil, {r: true, a: true, b: true}}, 2},
		"the whole tree, twice":  {[]owners{nil, nil}, 1},
		"what ran before counts": {[]owners{{r: true}, {r: true, a: true}, {r: true, b: true}}, 2},
	} {
		w := newWorld(t)
		round := &round{trial: &trial{Target: Target{Name: "vm", Place: placeOfVM, Base: w.base, Root: w.root}, stage: w.stage, sub: subjectOf(t, memoryEntries()...)}}
		var err error
		if round.image, err = round.trial.image(t.Context(), round.what()); err != nil {
			t.Fatal(err)
		}
		s := &session{round: round}
		for _, seen := range c.views {
			if err := s.ask(t.Context(), seen, []audit.Module{{Name: "ssl"}}, func(audit.Module, []answer) {}); err != nil {
				t.Fatal(err)
			}
		}
		s.drop()
		if err := round.closing.Wait(); err != nil {
			t.Fatal(err)
		}
		if n := len(w.runner.Sandboxes()); n != c.want {
			t.Errorf("%s: %d sandboxes, want %d", name, n, c.want)
		}
		w.checkClosed()
	}
}

// A sandbox in which a module ended the process that asks serves nothing else.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.load = func(_ []string, m audit.Module) []answer {
		if m.Name == "dies" {
			return []answer{{Kind: "die"}}
		}
		return []answer{w.passes(m)}
	}
	s := subjectOf(t, memoryEntries()...)
	s.modules = nil
	_, err := w.try(t.Context(), s, audit.Test{Kind: audit.KindImport, Args: []string{"dies"}}, audit.Test{Kind: audit.KindImport, Args: []string{"c"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, sb := range w.runner.Sandboxes() {
		for i, step := range sb.Steps() {
			if strings.Contains(fmt.Sprint(step.Args), "load.py") && i > 0 && len(sb.Steps()) > 1 {
				t.Errorf("%d loads after one that ended who asks", len(sb.Steps())-1)
			}
		}
	}
	w.checkClosed()
}

// What one load had closed is opened again, as it was, for one that sees it.
func TestCoverIsOpened(t *testing.T) {
	t.Parallel()
	s := subjectOf(t, with(owned("c", "c.py", "x = 1"), owned("c", "deep/er/c.py", ""))...)
	session := &session{round: &round{trial: &trial{Target: Target{Place: placeOfVM}, sub: s}}, hidden: map[string]bool{}}
	spell := func(seen owners) map[string]string {
		var hidden []tree.Entry
		if seen != nil {
			hidden = s.parts.view(seen, placeOfVM, nil).hidden
		}
		got := map[string]string{}
		for _, e := range session.cover(hidden) {
			text := ""
			if e.Kind == tree.File {
				data, err := e.ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				text = " " + string(data)
			}
			got[strings.TrimPrefix(strings.TrimPrefix(e.Path, placeOfVM+"/"), memorySite)] = fmt.Sprintf("%o%s", e.Mode&fs.ModePerm, text)
		}
		return got
	}
	a, c := audit.OwnerWheel+"a", audit.OwnerWheel+"c"
	top := strings.TrimSuffix(memorySite, "/")
	first := spell(owners{a: true})
	for _, want := range []string{"b.py", "c.py", "deep", "r.py", "bin/c", top} {
		if _, ok := first[want]; !ok {
			t.Errorf("%s is open", want)
		}
	}
	for i, want := range []map[string]string{
		{"c.py": "644 x = 1", "deep": "755", "bin/c": "755 1"},
		{},
		{"b.py": "644 1", "r.py": "644 1", top: "755"},
	} {
		seen := owners{a: true, c: true}
		if i == 2 {
			seen = nil
		}
		if diff := cmp.Diff(want, spell(seen)); diff != "" {
			t.Errorf("%d (-want +got):\n%s", i, diff)
		}
	}
	if len(session.hidden) != 0 {
		t.Error("something is hidden")
	}
}
