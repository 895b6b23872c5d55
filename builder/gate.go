package builder

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/builder/buildlog"
	"ampoule/builder/gate"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/seal"
	"ampoule/builder/wheels"
	"ampoule/recipes"
)

// RefusedError says that the gate refused a tree.
type RefusedError = gate.RefusedError

// gate has the tree judged in each runtime target, and keeps the verdict beside the logs,
// whatever it says. It calls laid, if that is not nil, when the tree is laid on all targets.
func (r *build) gate(ctx context.Context, sealed *seal.Sealed, laid func()) (_ *audit.Verdict, err error) {
	task := progress.Start(ctx, progress.StageGate, r.req.Recipe.Name)
	defer func() { task.End(err) }()
	log, err := buildlog.Open(r.logs, "gate")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	task.SetLog(log.Path())
	open := layers.Open(r.with.Store)
	defer func() { err = errors.Join(err, open.Close()) }()
	targets, err := r.targets(ctx, open)
	if err != nil {
		return nil, err
	}
	stage := &gate.Stage{Store: r.with.Store, Runner: r.with.Sandboxes.Runner, Images: r.with.Sandboxes.Images, Jobs: r.with.Jobs, Log: log, Laid: laid}
	subject := gate.Case{
		Terms: gate.TermsOf(r.req.Recipe), Tree: sealed.Tree, Record: sealed.Record,
		Prefix: "/" + Prefix, Interpreter: strings.TrimPrefix(r.env.Python, "/"+Prefix+"/"),
		Accepted: accepted(r.req.Recipe, r.req.Lock), CompiledWith: compiledWith(r.req.Lock), NativeCalls: r.calls, Now: r.b.d.Now(),
	}
	verdict, err := stage.Judge(ctx, subject, targets)
	if err != nil {
		return nil, err
	}
	verdict.Group = r.group
	if err := r.keep(verdict); err != nil {
		return nil, err
	}
	if verdict.Passed {
		return &verdict, stage.ForgetRefused(ctx, r.req.Recipe.Name)
	}
	kept, err := stage.KeepRefused(ctx, r.req.Recipe.Name, subject, targets, verdict)
	if err != nil {
		// The verdict is what matters.
		log.Printf("%v", err)
		kept = ""
	}
	return &verdict, &RefusedError{Verdict: verdict, Kept: kept}
}

// targets are the runtime targets, in the order of their names. Their file systems stay
// readable as long as open is.
func (r *build) targets(ctx context.Context, open *layers.Opened) ([]gate.Target, error) {
	var targets []gate.Target
	for _, name := range slices.Sorted(maps.Keys(r.req.Lock.Targets)) {
		// Whatever a target promises, files for more than what is compiled here have no place in the tree.
		t := gate.Target{Name: name, Place: gate.PlaceOf(name, Prefix), CPU: r.req.Recipe.Python.CPU}
		if vm := r.req.Recipe.Runtime.VM; name == "vm" && vm != nil {
			t.Host, t.Glibc, t.CPU = vm.Host, vm.Glibc, vm.CPU
		}
		var err error
		if t.Base, err = r.env.Base(ctx, r.req.Lock.Targets[name]); err != nil {
			return nil, err
		}
		if t.Root, err = open.RootFS(ctx, t.Base); err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// accepted are the foreign binary wheels in the tree, as the recipe accepts them.
func accepted(r *recipes.Recipe, l *recipes.Lock) []gate.Accepted {
	var foreign []gate.Accepted
	for _, id := range l.Requirements {
		d, _ := l.Dist(id)
		a, ok := r.Accepted(d.Name)
		if ok && d.IsWheel() && !wheels.IsPure(d.File) {
			foreign = append(foreign, gate.Accepted{
				Dist: d.Name, Wheel: audit.BinaryWheel{File: d.File, SHA256: d.SHA256, Why: a.Why, Until: a.Until},
			})
		}
	}
	return foreign
}

// compiledWith are the build requirements of what is in the tree that the tree has in
// another version.
func compiledWith(l *recipes.Lock) map[string][]audit.Locked {
	versions := map[string]string{}
	for _, id := range l.Requirements {
		name, version, _ := strings.Cut(id, "==")
		versions[name] = version
	}
	others := map[string][]audit.Locked{}
	for _, id := range l.Requirements {
		d, _ := l.Dist(id)
		if d.Build == nil {
			continue
		}
		for _, with := range d.Build.Dists {
			name, version, _ := strings.Cut(with, "==")
			if runs, inTree := versions[name]; inTree && runs != version {
				others[d.Name] = append(others[d.Name], audit.Locked{Name: name, Version: version})
			}
		}
	}
	return others
}

// keep writes the verdict beside the logs.
func (r *build) keep(verdict audit.Verdict) error {
	return gate.Keep(r.logs, r.req.Recipe.Name, Version(), verdict)
}
