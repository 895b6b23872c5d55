//go:build docker

package endtoend

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/builder/unpack/unpacktest"
	"ampoule/recipes"
)

// evilWheels try to be more than files of their own distribution; each stands in a tree
// beside the wheel victim.
var evilWheels = []struct {
	name    string
	members []unpacktest.Member
	says    string
}{
	// Where one sandbox has a tree for each wheel, 00000 and 00001, and pip installs them, the
	// script is written into victim's tree.
	{"writes-into-another", []unpacktest.Member{
		unpacktest.Text("INFO/entry_points.txt", "[console_scripts]\nevil = evil:main\n../../00001/lib/python3.13/site-packages/victim.py = evil:main\n"),
	}, "no plain file name"},
	// pip refuses these.
	{"is-refused-by-pip", []unpacktest.Member{unpacktest.Text("INFO/WHEEL", "Wheel-Version: 2.0\nTag: py3-none-any\n")}, `Wheel-Version: "2.0"`},
	{"has-no-function", []unpacktest.Member{unpacktest.Text("INFO/entry_points.txt", "[console_scripts]\nevil = evil\n")}, "is not MODULE:FUNCTION"},
	// These have the places of files of the interpreter, or stand before them on sys.path.
	{"is-the-interpreter", []unpacktest.Member{unpacktest.Text("DATA/scripts/python3", "#!python\n")}, "which is the interpreter's name"},
	{"is-pip", []unpacktest.Member{unpacktest.Text("DATA/scripts/pip3", "#!python\n")}, "would take the place of a file of"},
	{"is-a-header", []unpacktest.Member{unpacktest.Text("DATA/data/include/python3.13/Python.h", "")}, "would take the place of a file of interpreter"},
	{"is-the-standard-library", []unpacktest.Member{unpacktest.Text("DATA/data/lib/python313.zip", "")}, "wheels bring files for site-packages and"},
}

// TestWheelsReachOut installs wheels that reach for what is not theirs, beside one that is
// sound: they are refused by name, at once, and the sound one is what it was.
func TestWheelsReachOut(t *testing.T) {
	beside(t)
	f := newFaultWorld(t)
	// Another wheel each time, since what it installs is remembered.
	nonce := fmt.Sprint(time.Now().UnixNano())
	victim := unpacktest.Wheel(t, "victim-1.0-py3-none-any.whl", unpacktest.Text("victim.py", "answer = "+nonce+"\n"))
	for _, evil := range evilWheels {
		t.Run(evil.name, func(t *testing.T) {
			members := append([]unpacktest.Member{unpacktest.Text("evil.py", "def main(): pass\n# "+nonce+"\n")}, evil.members...)
			recipe := f.writeWheels(t, evil.name, map[string][]byte{
				"victim": victim, "evil": unpacktest.Wheel(t, "evil-1.0-py3-none-any.whl", members...),
			})
			begun := time.Now()
			out, errs, code := f.startRecipe(t, recipe)()
			if code != 4 || !strings.Contains(errs, evil.says) || !strings.Contains(errs, "evil-1.0-py3-none-any.whl") || !strings.Contains(errs, "hint: ") {
				t.Errorf("exit code %d, want 4 and %q:\n%s", code, evil.says, last(errs, 4000))
			}
			if took := time.Since(begun); took > 2*time.Minute {
				t.Errorf("it took %s", took)
			}
			f.notPublished(t, evil.name, out)
		})
	}
	out, errs, code := f.startRecipe(t, f.writeWheels(t, "victim-alone", map[string][]byte{"victim": victim}))()
	if code != 0 {
		t.Fatalf("victim alone: exit code %d\n%s", code, last(errs, 4000))
	}
	if got := ampoule(t, "run", out, "--", "-c", "import victim; print(open(victim.__file__).read())"); strings.TrimSpace(got) != "answer = "+nonce {
		t.Errorf("victim's module is %q", got)
	}
}

// writeWheels writes a recipe that requires pure wheels of version 1.0, by their names.
func (f *faultWorld) writeWheels(t *testing.T, name string, wheels map[string][]byte) (recipe string) {
	t.Helper()
	recipe = filepath.Join(t.TempDir(), "ampoule.yaml")
	lock := *f.lock
	var pins []string
	for _, dist := range []string{"evil", "victim"} {
		data, ok := wheels[dist]
		if !ok {
			continue
		}
		sum := sha256.Sum256(data)
		file := hex.EncodeToString(sum[:])
		if err := os.WriteFile(filepath.Join(f.kept, file), data, 0o644); err != nil {
			t.Fatal(err)
		}
		pins = append(pins, dist+"==1.0")
		lock.Dists = append(lock.Dists, recipes.Dist{Name: dist, Version: "1.0", File: dist + "-1.0-py3-none-any.whl", SHA256: file})
	}
	if err := os.WriteFile(recipe, fmt.Appendf(nil, f.recipe, "fault-"+name, strings.Join(pins, ", ")), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := recipes.ReadRecipe(recipe)
	if err != nil {
		t.Fatal(err)
	}
	reqs, err := recipes.ReadRequirements(r)
	if err != nil {
		t.Fatal(err)
	}
	lock.Answers, lock.Requirements = recipes.MakeAnswers(r, reqs), pins
	if err := os.WriteFile(filepath.Join(filepath.Dir(recipe), "ampoule.lock"), lock.Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	return recipe
}
