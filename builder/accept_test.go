package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/builder/gate"
	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/internal/basetime"
	"ampoule/recipes"
)

// accepting is a part of a recipe. An acceptance has its last day some days from the world's
// today on, another one later.
func accepting(t *testing.T, days int) string {
	return `binary:
  accept:
    - {match: [other], why: no sdist, until: ` + day(t, days+100) + `}
    - match: ["onnx*"]
      why: no sdist either
      until: ` + day(t, days) + "\n"
}

// day is the day that is some days from the world's today on.
func day(t *testing.T, days int) string {
	return basetime.Of(t).AddDate(0, 0, days).Format(time.DateOnly)
}

// accepts replaces the world's recipe by one that accepts binary wheels, and makes its
// lock answer it.
func (w *world) accepts(text string) {
	w.t.Helper()
	r, err := recipes.ParseRecipe("ampoule.yaml", []byte(recipeText+text))
	if err != nil {
		w.t.Fatal(err)
	}
	w.recipe = r
	w.lock.Answers = recipes.MakeAnswers(r, w.reqs)
}

// An acceptance that has expired ends a build before anything is looked up, even one that
// would only find what is published.
func TestExpiredAcceptance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.accepts(accepting(t, -1))
	w.published[MakePlan(w.recipe, w.lock, "linux/amd64", "").Key] = digest
	_, built := w.build()
	_, locked := w.builder().Lock(t.Context(), w.request(), LockOptions{})
	for name, err := range map[string]error{"build": built, "lock": locked} {
		var faults recipes.Faults
		if !errors.As(err, &faults) || len(faults) != 1 || faults[0].String() != "ampoule.yaml:17:14: the acceptance of onnx* ended with "+day(t, -1) || faults[0].Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.opened != 0 || len(w.asked) != 0 {
		t.Errorf("sandboxes were opened %d times, the registry asked %d times", w.opened, len(w.asked))
	}
	if entries, err := os.ReadDir(w.st.Dir("logs")); len(entries) > 0 {
		t.Errorf("there are logs: %v, %v", entries, err)
	}
	// Its last day is one on which it holds.
	w.accepts(accepting(t, 0))
	w.published[MakePlan(w.recipe, w.lock, "linux/amd64", "").Key] = digest
	if got, err := w.build(); err != nil || !got.Reused {
		t.Errorf("on its last day: %+v, %v", got, err)
	}
}

func TestBinaryWheels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.accepts(accepting(t, 42))
	wheel := func(name, tags string) recipes.Dist {
		return recipes.Dist{Name: name, Version: "1.0", File: strings.ReplaceAll(name, "-", "_") + "-1.0-" + tags + ".whl", SHA256: "of " + name}
	}
	w.lock.Dists = []recipes.Dist{
		w.lock.Dists[0], wheel("onnx-tool", "py3-none-manylinux_2_17_x86_64"), wheel("onnxpure", "py3-none-any"),
		wheel("onnxruntime", "cp313-cp313-manylinux_2_28_x86_64"), {Name: "other", Version: "1.0", File: "other-1.0.tar.gz", Build: &recipes.BuildSet{}},
	}
	// A tool that only builds take is not in the tree.
	w.lock.Requirements = []string{"demo==1.0", "onnxpure==1.0", "onnxruntime==1.0", "other==1.0"}
	got := accepted(w.recipe, w.lock)
	binary := audit.BinaryWheel{File: "onnxruntime-1.0-cp313-cp313-manylinux_2_28_x86_64.whl", SHA256: "of onnxruntime", Why: "no sdist either", Until: day(t, 42)}
	want := []gate.Accepted{{Dist: "onnxruntime", Wheel: binary}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	verdict := audit.Verdict{Binary: []audit.BinaryWheel{binary}}
	var text strings.Builder
	if err := verdict.WriteText(&text); err != nil || !strings.Contains(text.String(), binary.File) || !strings.Contains(text.String(), "no sdist either") {
		t.Errorf("the verdict says %s, %v", text.String(), err)
	}
}

// An accepted wheel is told in the verdict that is published.
func TestAcceptedInVerdict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.accepts("binary: {accept: [{match: [demo], why: no sdist, until: " + day(t, 42) + "}]}\n")
	file := "demo-1.0-cp313-cp313-linux_x86_64.whl"
	w.lock.Dists[0] = recipes.Dist{Name: "demo", Version: "1.0", File: file, SHA256: w.put(string(pack(distributionFor("cp313-cp313-linux_x86_64", []byte("answer = 42\n")))))}
	got, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	want := []audit.BinaryWheel{{File: file, SHA256: w.lock.Dists[0].SHA256, Why: "no sdist", Until: day(t, 42)}}
	if diff := cmp.Diff(want, got.Verdict.Binary); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if published := string(w.artifacts[0].Verdict); !strings.Contains(published, file) {
		t.Errorf("published: %s", published)
	}
}

// What was built elsewhere may name where that was.
func TestAcceptedNamesItsBuild(t *testing.T) {
	t.Parallel()
	named := []byte("where = '" + sandbox.WorkDir + "/x'\n")
	for tag, want := range map[string]audit.Severity{"cp313-cp313-linux_x86_64": audit.Warn, "py3-none-any": audit.Refuse} {
		w := newWorld(t)
		w.accepts("binary: {accept: [{match: [demo], why: no sdist, until: " + day(t, 42) + "}]}\n")
		w.lock.Dists[0] = recipes.Dist{Name: "demo", Version: "1.0", File: "demo-1.0-" + tag + ".whl", SHA256: w.put(string(pack(distributionFor(tag, named))))}
		got, err := w.build()
		if got.Verdict == nil {
			t.Fatalf("%s: %v", tag, err)
		}
		i := slices.IndexFunc(got.Verdict.Findings, func(f audit.Finding) bool { return f.Check == "paths" })
		if i < 0 || got.Verdict.Findings[i].Severity != want || (err == nil) != (want == audit.Warn) {
			t.Errorf("%s: %+v, %v", tag, got.Verdict.Findings, err)
		}
	}
}

func TestKeepPatches(t *testing.T) {
	t.Parallel()
	// Any file that ships stands for a patch: there need not be one.
	const shippedFile = "overrides/ninja.yaml"
	shipped, err := recipes.ShippedPatch(shippedFile)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(text string) string {
		hash := sha256.Sum256([]byte(text))
		return hex.EncodeToString(hash[:])
	}
	reqs := &recipes.RequirementSet{Patches: map[string][]byte{"patches/own.patch": []byte("own")}}
	for name, c := range map[string]struct {
		patch recipes.Patch
		lost  bool
	}{
		"own":              {recipes.Patch{File: "patches/own.patch", SHA256: sum("own")}, false},
		"own, changed":     {recipes.Patch{File: "patches/own.patch", SHA256: sum("before")}, true},
		"shipped":          {recipes.Patch{File: shippedFile, SHA256: sum(string(shipped))}, false},
		"shipped, changed": {recipes.Patch{File: shippedFile, SHA256: sum("before")}, true},
		"lost":             {recipes.Patch{File: "overrides/none.patch", SHA256: sum("none")}, true},
		"kept from before": {recipes.Patch{File: "overrides/none.patch", SHA256: sum("kept")}, false},
	} {
		w := newWorld(t)
		w.put("kept")
		w.lock.Dists = append(w.lock.Dists, recipes.Dist{Name: "wheel", Version: "1"})
		w.lock.Dists[0].Build.Patches = []recipes.Patch{c.patch}
		err := w.builder().keepPatches(t.Context(), Request{Requirements: reqs, Lock: w.lock})
		switch {
		case !c.lost && (err != nil || !w.st.Has(c.patch.SHA256)):
			t.Errorf("%s: %v, kept: %t", name, err, w.st.Has(c.patch.SHA256))
		case c.lost && (!isLostPatch(err, c.patch.File) || len(faults.Hints(err)) != 1):
			t.Errorf("%s: %v", name, err)
		}
	}
	// A build says so before it opens a sandbox.
	w := newWorld(t)
	w.lock.Dists[0].Build.Patches = []recipes.Patch{{File: "overrides/none.patch", SHA256: sum("none")}}
	if _, err := w.build(); !isLostPatch(err, "overrides/none.patch") || w.opened != 0 {
		t.Errorf("a build: %v, after sandboxes were opened %d times", err, w.opened)
	}
}

// isLostPatch reports whether an error says that a patch of demo is not there any more.
func isLostPatch(err error, file string) bool {
	return faults.Of(err) == faults.Input && strings.Contains(err.Error(), "the lock patches demo==1.0 with "+file+",")
}
