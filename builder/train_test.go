package builder

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/recipes"
	"ampoule/tree"
)

// optimise has the world's recipe optimise its interpreter, and train it with some lines of YAML. The
// counts of a training are an object's without functions; runs is how often it ran.
func (w *world) optimise(lines string, runs *uint32) {
	w.t.Helper()
	text := strings.Replace(recipeText, "3.13.5}", "3.13.5, configure: [--enable-optimizations, --with-lto]}", 1) + lines
	var err error
	if w.recipe, err = recipes.ParseRecipe("ampoule.yaml", []byte(text)); err != nil {
		w.t.Fatal(err)
	}
	w.runner = fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		line := strings.Join(step.Args, " ")
		switch {
		case line == "gcc -dumpfullversion":
			fmt.Fprintln(step.Stdout, "12.2.0")
			return nil
		case strings.HasPrefix(line, "find . -name *.o"):
			fmt.Fprintln(step.Stdout, "Objects/list.o")
			return nil
		case strings.Contains(line, "*.gcda"):
			*runs++
			var counts []byte
			for _, word := range []uint32{0x67636461, 0x4232322a, *runs, 7, 0xa1000000, 8, *runs, 1, 0} {
				counts = binary.LittleEndian.AppendUint32(counts, word)
			}
			return s.Write(below(sandbox.WorkDir+"/counts/Objects", []tree.Entry{tree.FileEntry("list.gcda", 0o644, counts)})...)
		}
		return w.step(ctx, s, step)
	})
}

// The commands of a recipe run in its artifact's tree, with the interpreter that counts in it.
func TestTrainWithCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var runs uint32
	w.optimise("train:\n  commands: [[python3, -m, demo, --bench], [demo]]\n", &runs)
	b := w.builder()
	trained, kept, err := b.Train(t.Context(), w.request(), LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(trained.About.Commands) != 2 || trained.About.Task != nil || trained.About.Counted() != 1 || kept.Files[0].SHA256 != trained.SHA256 {
		t.Errorf("trained %+v, kept %+v", trained, kept)
	}
	if ends := w.outcomes(); !slices.Contains(ends, "sha256:"+trained.SHA256) || !slices.Contains(ends, "laid out") {
		t.Errorf("runs ended with %q", ends)
	}
	var plain, trainer string
	for _, s := range w.runner.Sandboxes() {
		var lines strings.Builder
		for _, step := range s.Steps() {
			fmt.Fprintln(&lines, strings.Join(step.Args, " "))
			if step.Args[0] == "demo" && !strings.Contains(strings.Join(step.Env, "\n"), "PATH=/"+Prefix+"/bin:/") {
				t.Errorf("a command runs with %q", step.Env)
			}
		}
		switch {
		case strings.Contains(lines.String(), "finish.py"):
			plain = lines.String()
		case strings.Contains(lines.String(), "profile-gen-stamp"):
			trainer = lines.String()
			if _, ok := s.Files().Lookup(Prefix + "/" + library + "site-packages/demo/__init__.py"); !ok {
				t.Error("what the recipe requires is not there to train with")
			}
		}
	}
	if !strings.Contains(plain, "./configure --prefix=/"+Prefix+"\n") {
		t.Errorf("the tree's own interpreter is compiled by\n%s", plain)
	}
	if !strings.Contains(trainer, "--enable-optimizations --with-lto\n") || !strings.Contains(trainer, "\npython3 -m demo --bench\ndemo\n") || strings.Contains(trainer, "--pgo") {
		t.Errorf("training runs\n%s", trainer)
	}
}

// What is trained with is locked without BOLT, and what is trained with it: at the versions of the former.
func TestLockToTrain(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string][]string{
		"--enable-optimizations":                {"1 upgraded"},
		"--enable-optimizations, --enable-bolt": {"1 upgraded", "0 BOLT"},
	} {
		text := strings.Replace(recipeText, "3.13.5}", "3.13.5, configure: ["+flags+"]}", 1) + "train:\n  commands: [[demo]]\n"
		r, err := recipes.ParseRecipe("ampoule.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		reqs, err := recipes.ReadRequirements(r)
		if err != nil {
			t.Fatal(err)
		}
		var asked []string
		var made []*recipes.Lock
		with, in, err := lockToTrain(t.Context(), Request{Recipe: r, Requirements: reqs}, LockOptions{Upgrade: true},
			func(_ context.Context, req Request, opts LockOptions) (*recipes.Lock, error) {
				what := []string{fmt.Sprint(len(req.Requirements.Requirements))}
				if req.Recipe.Python.Bolt() {
					what = append(what, "BOLT")
				}
				if opts.Upgrade {
					what = append(what, "upgraded")
				}
				if len(made) > 0 && req.Lock != made[0] {
					t.Errorf("%s: the second lock does not begin with the first", flags)
				}
				asked, made = append(asked, strings.Join(what, " ")), append(made, &recipes.Lock{})
				return made[len(made)-1], nil
			})
		if err != nil || !slices.Equal(asked, want) || with != made[0] || in != made[len(made)-1] {
			t.Errorf("%s: locked %q, %v", flags, asked, err)
		}
	}
}

// Two trainings are merged, in any order, to one profile that is kept.
func TestMergeProfiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var runs uint32
	w.optimise("train:\n  commands: [[python3, -m, demo]]\n", &runs)
	b := w.builder()
	var sums []string
	for range 2 {
		trained, _, err := b.Train(t.Context(), w.request(), LockOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, trained.SHA256)
	}
	first, kept, err := b.MergeProfiles(t.Context(), w.recipe, sums)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := b.MergeProfiles(t.Context(), w.recipe, []string{sums[1], sums[0]})
	if err != nil || again.SHA256 != first.SHA256 || first.SHA256 == sums[0] || len(first.About.Merged) != 2 || kept.Key != "sha256:"+first.SHA256 {
		t.Errorf("of %q: %+v, then %+v, %v; kept %+v", sums, first, again, err, kept)
	}
	if _, _, err := b.MergeProfiles(t.Context(), w.recipe, []string{sums[0], strings.Repeat("ab", 32)}); err == nil {
		t.Error("a profile that is nowhere was merged")
	}
}
