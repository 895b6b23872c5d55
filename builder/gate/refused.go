package gate

import (
	"context"
	"path"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/builder/failure"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
)

// step is the gate's name among a recipe's failed steps: no distribution can have it.
const step = ".gate"

// KeepRefused keeps a refused tree for a person to look at: laid on the base of a target in
// which something was found, with the command of a test that failed there. It returns that
// target's name.
func (s *Stage) KeepRefused(ctx context.Context, recipe string, c Case, targets []Target, v audit.Verdict) (string, error) {
	t, args := where(c, targets, v)
	parts, err := layers.SaveParts(ctx, s.Store, progress.StageGate, layers.SplitCoarsely(c.Tree), t.Place)
	if err != nil {
		return "", err
	}
	host, err := s.hostLayer(ctx, c.Tree, t.Host)
	if err != nil {
		return "", err
	}
	image := t.Base.With(parts...).With(host...)
	image.Config = sandbox.Config{Architecture: "amd64"}
	return t.Name, failure.Keep(ctx, s.Store, nil, failure.State{
		Recipe: recipe, Step: step, Title: "the refused tree of " + recipe + " in target " + t.Name, Image: image,
		Args: args, Env: environ(path.Join("/", t.Place, "bin")), Dir: "/tmp", Log: s.Log.Path(),
	})
}

// ForgetRefused drops what was kept of a recipe's refused tree.
func (s *Stage) ForgetRefused(ctx context.Context, recipe string) error {
	return failure.Forget(ctx, s.Store, recipe, step)
}

// where finds a target in which something was found, and what to run there. A test that
// failed says most.
func where(c Case, targets []Target, v audit.Verdict) (Target, []string) {
	at, args := targets[0], []string{"python3"}
	found := false
	for _, f := range v.Findings {
		i := slices.IndexFunc(targets, func(t Target) bool { return slices.Contains(f.Targets, t.Name) })
		if i < 0 || f.Severity == audit.Warn || f.Excepted != "" {
			continue
		}
		if !found {
			at, found = targets[i], true
		}
		if command := commandOf(c.Tests, f); command != nil {
			return targets[i], command
		}
	}
	return at, args
}

// commandOf is what runs the test that a finding is about; nil if it is about no test.
func commandOf(tests []audit.Test, f audit.Finding) []string {
	i := slices.IndexFunc(tests, func(t audit.Test) bool { return t.Kind == f.Field && strings.Join(t.Args, " ") == f.Value })
	switch {
	case i < 0:
		return nil
	case tests[i].Kind == audit.KindImport:
		return []string{"python3", "-c", "import " + tests[i].Args[0]}
	}
	return tests[i].Args
}
