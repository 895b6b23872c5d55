package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder"
	"ampoule/faults"
	"ampoule/recipes"
)

func TestAddLocks(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	s.Output = JSON
	locker := lockerFunc(func(req builder.Request, _ builder.LockOptions) (*recipes.Lock, error) {
		if diff := cmp.Diff([]string{"idna==3.10", "six>=1"}, req.Recipe.Requirements.List); diff != "" {
			t.Errorf("locked (-want +got):\n%s", diff)
		}
		return lockOf(t, s.Recipe, "3.10", sumA), nil
	})
	if err := Add(t.Context(), s, locker, builder.Request{}, EditOptions{}, []string{"six>=1"}); err != nil {
		t.Fatal(err)
	}
	var result editResult
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	if len(result.Changes) != 1 || result.Changes[0].After != "six>=1" || result.Lock == nil || result.Lock.Lock != lockPath(s.Recipe) {
		t.Errorf("result %s", out)
	}
	if !strings.Contains(errs.String(), s.Recipe+":7: added six>=1") {
		t.Errorf("told %s", errs)
	}
}

// TestAddToExtending edits a recipe that extends another one, and not the list that all such
// recipes have.
func TestAddToExtending(t *testing.T) {
	t.Parallel()
	shared := strings.Replace(goodRecipe, "name: web\n", "", 1)
	own := strings.Replace(shared, "requirements: [idna==3.10]\n", "", 1)
	if own == shared || shared == goodRecipe {
		t.Fatal("the recipe is not written as it was")
	}
	for name, c := range map[string]struct{ shared, recipe, after, says string }{
		"a list of its own": {own, "extends: shared.yaml\nname: web\nrequirements: [idna==3.10]\n", "extends: shared.yaml\nname: web\nrequirements: [idna==3.10, six>=1]\n", ""},
		"the shared list":   {shared, "extends: shared.yaml\nname: web\n", "extends: shared.yaml\nname: web\n", "shared.yaml:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, _ := session(t, c.recipe)
			if err := os.WriteFile(filepath.Join(filepath.Dir(s.Recipe), "shared.yaml"), []byte(c.shared), 0o644); err != nil {
				t.Fatal(err)
			}
			locker := lockerFunc(func(builder.Request, builder.LockOptions) (*recipes.Lock, error) {
				return lockOf(t, s.Recipe, "3.10", sumA), nil
			})
			err := Add(t.Context(), s, locker, builder.Request{}, EditOptions{}, []string{"six>=1"})
			if (err != nil) != (c.says != "") || err != nil && (!strings.Contains(err.Error(), c.says) || ExitCode(err) != faults.Input.Code()) {
				t.Errorf("%v", err)
			}
			if text, err := os.ReadFile(s.Recipe); err != nil || string(text) != c.after {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

// A requirement that cannot be locked is not left behind.
func TestEditIsUndone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link := filepath.Join(dir, "base.txt"), filepath.Join(dir, "requirements.txt")
	recipe := strings.Replace(goodRecipe, "[idna==3.10]", "requirements.txt", 1)
	for file, text := range map[string]string{filepath.Join(dir, "ampoule.yaml"): recipe, target: "six\nidna\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("base.txt", link); err != nil {
		t.Fatal(err)
	}
	s, _, errs := session(t, recipe)
	s.Recipe = filepath.Join(dir, "ampoule.yaml")
	broken := errors.New("no such release")
	locker := lockerFunc(func(req builder.Request, _ builder.LockOptions) (*recipes.Lock, error) {
		if req.Requirements.Names("six") {
			t.Error("six is still required")
		}
		return nil, broken
	})
	if err := Remove(t.Context(), s, locker, builder.Request{}, EditOptions{}, []string{"six"}); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	text, err := os.ReadFile(target)
	if err != nil || string(text) != "six\nidna\n" {
		t.Errorf("%q, %v", text, err)
	}
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if !strings.Contains(errs.String(), "nothing was locked: "+link+" as before") {
		t.Errorf("told %s", errs)
	}
}
