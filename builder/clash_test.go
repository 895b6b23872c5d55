package builder

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"ampoule/audit"
	"ampoule/recipes"
	"ampoule/tree"
)

// addPure adds a published pure wheel NAME 1 to what is installed: files of its top, "PATH=TEXT".
func (w *world) addPure(name string, files ...string) {
	w.t.Helper()
	info := name + "-1.dist-info/"
	entries := []tree.Entry{
		tree.FileEntry(info+"METADATA", 0o644, []byte("Metadata-Version: 2.1\nName: "+name+"\nVersion: 1\n")),
		tree.FileEntry(info+"WHEEL", 0o644, []byte("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")),
	}
	for _, file := range files {
		p, text, _ := strings.Cut(file, "=")
		entries = append(entries, tree.FileEntry(p, 0o644, []byte(text)))
	}
	w.lock.Requirements = append(w.lock.Requirements, name+"==1")
	w.lock.Dists = append(w.lock.Dists, recipes.Dist{
		Name: name, Version: "1", File: name + "-1-py3-none-any.whl", SHA256: w.put(string(pack(recorded(info, entries)))),
	})
}

// recipeWith is the world's recipe with more in it.
func (w *world) recipeWith(more string) {
	w.t.Helper()
	var err error
	if w.recipe, err = recipes.ParseRecipe("ampoule.yaml", []byte(recipeText+more)); err != nil {
		w.t.Fatal(err)
	}
	w.lock.Answers = recipes.MakeAnswers(w.recipe, w.reqs)
}

// Two published wheels that both install tests are one artifact without either's, and the
// verdict says so; with the files of one left out, it has the other's, and nothing is said.
func TestClash(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		more, text string
		warned     bool
	}{
		"settled":  {"", "", true},
		"excluded": {"packages: {b: {exclude: [tests/**]}}\n", "a = 1", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.addPure("a", "a.py=", "tests/__init__.py=a = 1")
			w.addPure("b", "b.py=", "tests/__init__.py=b = 1")
			w.recipeWith(c.more)
			result, err := w.build()
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(result.Verdict.Findings, func(f audit.Finding) bool { return f.Check == "conflicts" })
			if (i >= 0) != c.warned || c.warned && !strings.Contains(result.Verdict.Findings[i].Cause, "a and b bring different files for tests") {
				t.Errorf("the verdict: %+v", result.Verdict.Findings)
			}
			var text []byte
			whole, _ := publishedTree(t, w, w.artifacts[0])
			for _, e := range whole.Entries() {
				if strings.HasSuffix(e.Path, "site-packages/tests/__init__.py") {
					if text, err = e.ReadAll(); err != nil {
						t.Error(err)
					}
				}
			}
			if string(text) != c.text {
				t.Errorf("tests/__init__.py is %q, want %q", text, c.text)
			}
		})
	}
}

// What cannot be settled has a hint with the recipe's own entry.
func TestClashIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addPure("a", "a.py=", "shared/x.py=a = 1")
	w.addPure("b", "b.py=", "shared/x.py=b = 1")
	_, err := w.build()
	if err == nil || !strings.Contains(err.Error(), "a and b both install") || len(w.artifacts) > 0 {
		t.Errorf("got %v", err)
	}
}

// What a group's published wheel does not have is known when the lock is, and told before its build
// compiles anything.
func TestExcludeOfGroupPlaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addPure("a", "a.py=", "docs/x.txt=")
	w.withGroup(map[string]string{"extra/__init__.py": "", "tests/x.py": ""}, "packages: {extra: {exclude: [tests, tset]}, a: {exclude: [dosc]}}\n")
	w.lock.Answers = recipes.MakeAnswers(w.recipe, w.reqs)
	err := w.builder().checkExcludes(t.Context(), w.recipe, w.lock, "linux/amd64")
	faults, _ := errors.AsType[recipes.Faults](err)
	if len(faults) != 2 || faults[1].Line != 13 || !strings.Contains(faults[1].What, `"dosc" matches no file of a-1-py3-none-any.whl`) ||
		faults[0].Line != 13 || faults[0].Column != 37 || !strings.Contains(faults[0].What, `"tset" matches no file of extra-1.0-py3-none-any.whl`) || faults[0].Hint != "the wheel has extra/, tests/" {
		t.Fatalf("got %v", faults)
	}
	// The artifact has no part in what is wrong with the group.
	w.withGroup(map[string]string{"extra/__init__.py": "", "tests/x.py": ""}, "packages: {extra: {exclude: [tests, tset]}}\n")
	w.lock.Answers = recipes.MakeAnswers(w.recipe, w.reqs)
	result, err := w.buildGroups()
	if faults, ok := errors.AsType[recipes.Faults](err); !ok || len(faults) != 1 || result.Digest == "" || len(w.groups) != 0 {
		t.Errorf("the build of the group: %+v, %v", result, err)
	}
}

// A pattern that matches nothing is told where the recipe has it.
func TestExcludePlaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addPure("a", "a.py=", "tests/x.py=")
	w.recipeWith("packages: {a: {exclude: [tests, tset]}}\n")
	_, err := w.build()
	var faults recipes.Faults
	if !errors.As(err, &faults) || faults[0].Line != 12 || faults[0].Column != 33 || !strings.Contains(faults[0].What, `"tset" matches no file of a-1-py3-none-any.whl`) ||
		faults[0].Hint != "the wheel has a.py, tests/" {
		t.Errorf("got %v, %+v", err, faults)
	}
	for _, s := range w.runner.Sandboxes() {
		if strings.HasPrefix(s.Spec.Name, "wheel") {
			t.Error("a wheel was compiled before it was told")
		}
	}
	w.recipeWith("packages: {nobody: {exclude: [tests]}}\n")
	if _, err := w.build(); !errors.As(err, &faults) || !strings.Contains(faults[0].What, "which is not installed") {
		t.Errorf("of what is not installed: %v", err)
	}
}
