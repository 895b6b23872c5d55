package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/builder/compare"
	"ampoule/builder/cpython"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/builder/vary"
	"ampoule/builder/wheels"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/store"
)

// OnlyInterpreter has a check build the interpreter alone.
const OnlyInterpreter = "interpreter"

// Checked is the outcome of a check.
type Checked struct {
	Name string `json:"name"`
	// What was built again: "everything", "interpreter", or a wheel as NAME==VERSION.
	What string `json:"what"`
	// First and Second are what the two builds gave, as "sha256:" and a hash: digests
	// of artifacts, or hashes of the part that was built again.
	First       string               `json:"first"`
	Second      string               `json:"second"`
	Differences []compare.Difference `json:"differences"`
	// Groups are the dependency groups that the first build gave.
	Groups []GroupResult `json:"-"`
}

// Same reports whether both builds gave the same bits.
func (c Checked) Same() bool { return c.First == c.Second && len(c.Differences) == 0 }

// Check builds a recipe with its lock, or finds what was built, and then builds it again
// from nothing but the inputs: in another store, with other jobs, and in sandboxes
// that have another host name, user, time zone, locale and order of files. With only, NAME or
// NAME==VERSION of a wheel or [OnlyInterpreter], that part alone is built again. What differs is looked for
// in files; that something does is no error.
//
// Publisher makes what the second build publishes to: a registry of its own in the store.
func (b *Builder) Check(ctx context.Context, req Request, only string, publisher func(*store.Store) (Publisher, io.Closer, error)) (_ Checked, err error) {
	if err := req.check(); err != nil {
		return Checked{}, err
	}
	ctx = progress.Of(ctx, req.Recipe.Name)
	if req, err = withWorkspace(ctx, req, b.d.Environ); err != nil {
		return Checked{}, err
	}
	var wheel recipes.Dist
	if only != "" && only != OnlyInterpreter {
		if wheel, err = wheelNamed(req.Lock, only); err != nil {
			return Checked{}, err
		}
	}
	first, err := b.Build(ctx, req)
	if err != nil {
		return Checked{}, err
	}
	release, err := b.d.Store.Use(ctx)
	if err != nil {
		return Checked{}, err
	}
	defer release()
	inputs, err := b.fetchInputs(ctx, req)
	if err != nil {
		return Checked{}, err
	}
	dir, remove, err := b.d.Store.TempDir()
	if err != nil {
		return Checked{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	st, err := b.cloneFor(filepath.Join(dir, "second"), inputs, only)
	if err != nil {
		return Checked{}, err
	}
	published, closer, err := publisher(st)
	if err != nil {
		return Checked{}, err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	second, err := b.varied(st, published)
	if err != nil {
		return Checked{}, err
	}
	check := &check{first: b, second: second, req: req}
	switch only {
	case "":
		return check.whole(ctx, first)
	case OnlyInterpreter:
		return check.interpreter(ctx)
	}
	return check.wheel(ctx, wheel)
}

// cloneFor makes the store of a second build: with the inputs and what is known of the time and the
// memory of builds, or, where one part is built again, with all but the records of that part.
func (b *Builder) cloneFor(dir string, inputs Inputs, only string) (*store.Store, error) {
	if only == "" {
		wanted := map[string]bool{}
		for _, f := range inputs.Files {
			wanted[f.SHA256] = true
		}
		return b.d.Store.Clone(dir, func(sum string) bool { return wanted[sum] }, func(kind string, _ []byte) bool { return wheels.Measure(kind) || cpython.Measure(kind) })
	}
	return b.d.Store.Clone(dir, func(string) bool { return true }, func(kind string, value []byte) bool {
		if only == OnlyInterpreter {
			return kind != "interpreter"
		}
		var wheel struct{ File string }
		if kind != "wheel" || json.Unmarshal(value, &wheel) != nil {
			return true
		}
		name, err := packaging.ParseWheelName(wheel.File)
		wanted, _ := wheelName(only)
		return err != nil || packaging.NormalName(name.Distribution) != wanted
	})
}

// varied is a builder that builds in another environment.
func (b *Builder) varied(st *store.Store, published Publisher) (*Builder, error) {
	d := b.d
	// The second store goes, the logs stay.
	d.Store, d.Fetch, d.Publisher = st, b.d.Fetch.With(st), published
	// It would find what the first build made, and compare that with itself.
	d.Caches = nil
	d.Sandboxes = func(ctx context.Context) (Sandboxes, error) {
		s, err := b.d.Sandboxes(ctx)
		s.Runner = vary.Runner{Runner: s.Runner, Tmp: st.Dir(store.Tmp)}
		return s, err
	}
	return New(d)
}

// check compares two builds.
type check struct {
	first, second *Builder
	// req is the request of both builds.
	req Request
}

// The users of the two environments: those from [sandbox.FirstUser] on, and those from
// [sandbox.ApartUser] on.
var usualUser, apartUser = regexp.MustCompile(`\b[23]\d{4}\b`), regexp.MustCompile(`\b[45]\d{4}\b`)

// marks are texts that belong to one of the two environments.
func (c *check) marks() []compare.Mark {
	return []compare.Mark{
		{Text: vary.Hostname, Means: "the host name where it was built"},
		{Forms: [2]*regexp.Regexp{usualUser, apartUser}, Means: "the user who built it"},
		{Text: "XYZ", Means: "the time zone where it was built"},
		{Text: c.second.d.Store.Root(), Means: "the path of the store"},
		{Text: fmt.Sprintf("-j%d", c.req.Budget.Processors()), Means: "how many jobs the build had"},
		{Text: fmt.Sprintf("-j%d", vary.Jobs(c.req.Budget.Processors())), Means: "how many jobs the build had"},
	}
}

// whole builds everything again.
func (c *check) whole(ctx context.Context, first Result) (Checked, error) {
	out := Checked{Name: c.req.Recipe.Name, What: "everything", First: first.Digest, Groups: first.Groups}
	again, err := c.second.Build(ctx, c.req)
	if err != nil {
		return Checked{}, fmt.Errorf("building again: %w", err)
	}
	out.Second = again.Digest
	if out.Same() {
		out.Differences = groups(first.Groups, again.Groups)
		return out, nil
	}
	out.Differences, err = c.differences(ctx)
	return out, err
}

// groups compares dependency groups of one artifact, by their digests.
func groups(first, second []GroupResult) []compare.Difference {
	var found []compare.Difference
	for i, g := range first {
		if g.Digest != second[i].Digest {
			found = append(found, compare.Difference{File: "dependency group " + g.Name, Place: "its digest", First: g.Digest, Second: second[i].Digest})
		}
	}
	return found
}

// differences looks in what both builds left: their interpreters, then their wheels, and
// where those are the same in the sealed trees.
func (c *check) differences(ctx context.Context) (_ []compare.Difference, err error) {
	was, is, end, err := c.both(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, made := range []*opened{was, is} {
		if made.wheels, err = made.run.buildWheels(ctx); err != nil {
			return nil, err
		}
	}
	found, err := c.interpreters(was, is)
	if err != nil {
		return nil, err
	}
	for i, w := range was.wheels {
		more, err := c.wheels(w.File, w.SHA256, is.wheels[i].SHA256)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	more, err := c.debugs(was, is)
	found = append(found, more...)
	if len(found) > 0 || err != nil {
		return found, err
	}
	return c.sealed(ctx, was, is)
}

// opened is a build of which everything is found again.
type opened struct {
	run    *build
	open   *layers.Opened
	wheels []seal.Wheel
	end    func() error
}

func (o *opened) close() error { return errors.Join(o.open.Close(), o.end()) }

// open runs a build as far as the interpreter.
func open(ctx context.Context, b *Builder, req Request) (_ *opened, err error) {
	logs, err := b.logs("check-" + req.Recipe.Name)
	if err != nil {
		return nil, err
	}
	outcome := b.begin(req.Recipe.Name, "")
	outcome.Did = "found again"
	defer func() { b.end(ctx, logs, outcome, err) }()
	run := &build{b: b, req: req, plan: req.plan(), logs: logs}
	if err := run.takeCode(ctx); err != nil {
		return nil, err
	}
	end, err := run.begin(ctx)
	if err != nil {
		return nil, err
	}
	return &opened{run: run, open: layers.Open(b.d.Store), end: end}, nil
}

func (c *check) interpreters(was, is *opened) ([]compare.Difference, error) {
	found, err := c.layers("", was, is, was.run.env.Interpreter.Layer, is.run.env.Interpreter.Layer)
	if err != nil {
		return nil, err
	}
	more, err := c.layers("debug", was, is, was.run.env.Interpreter.Debug, is.run.env.Interpreter.Debug)
	return append(found, more...), err
}

// layers compares what two layers hold.
func (c *check) layers(prefix string, was, is *opened, first, second sandbox.Layer) ([]compare.Difference, error) {
	if first.DiffID == second.DiffID {
		return nil, nil
	}
	a, err := was.open.Read(first)
	if err != nil {
		return nil, err
	}
	b, err := is.open.Read(second)
	if err != nil {
		return nil, err
	}
	return compare.Trees(prefix, a, b, c.marks()...)
}

// debugs compares the debug information of wheels.
func (c *check) debugs(was, is *opened) ([]compare.Difference, error) {
	var found []compare.Difference
	for _, name := range slices.Sorted(maps.Keys(was.run.debug)) {
		second, ok := is.run.debug[name]
		if !ok || strings.HasPrefix(name, "cpython-") {
			continue
		}
		more, err := c.layers("debug", was, is, was.run.debug[name], second)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// wheels compares two wheels of one name, by their hashes.
func (c *check) wheels(file, was, is string) ([]compare.Difference, error) {
	if was == is {
		return nil, nil
	}
	first, err := readContent(c.first.d.Store, was)
	if err != nil {
		return nil, err
	}
	second, err := readContent(c.second.d.Store, is)
	if err != nil {
		return nil, err
	}
	return compare.Bytes(file, first, second, c.marks()...), nil
}

func readContent(st *store.Store, sum string) ([]byte, error) {
	f, err := st.Open(sum)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// sealed compares the trees that were published.
func (c *check) sealed(ctx context.Context, was, is *opened) ([]compare.Difference, error) {
	first, err := was.run.seal(ctx, was.open, was.wheels)
	if err != nil {
		return nil, err
	}
	second, err := is.run.seal(ctx, is.open, is.wheels)
	if err != nil {
		return nil, err
	}
	found, err := compare.Trees("", first.Tree, second.Tree, c.marks()...)
	if len(found) > 0 || err != nil {
		return found, err
	}
	a, err := was.run.image(ctx, first)
	if err != nil {
		return nil, err
	}
	b, err := is.run.image(ctx, second)
	if err != nil {
		return nil, err
	}
	return artifacts(a, b), nil
}

// artifacts compares two artifacts with the same tree: their layers and configuration.
func artifacts(first, second artifact.Artifact) []compare.Difference {
	var found []compare.Difference
	add := func(place string, a, b any) {
		was, is := fmt.Sprint(a), fmt.Sprint(b)
		if was != is {
			found = append(found, compare.Difference{File: "the artifact", Place: place, First: was, Second: is})
		}
	}
	add("layers of the base", layers.DiffIDs(sandbox.Image{Layers: first.Base}), layers.DiffIDs(sandbox.Image{Layers: second.Base}))
	for i := range max(len(first.Layers), len(second.Layers)) {
		var a, b artifact.Layer
		if i < len(first.Layers) {
			a = first.Layers[i]
		}
		if i < len(second.Layers) {
			b = second.Layers[i]
		}
		add(fmt.Sprintf("layer %d", i+1), a.Name+" "+a.DiffID, b.Name+" "+b.DiffID)
	}
	add("environment", fmt.Sprintf("%q", first.Config.Env), fmt.Sprintf("%q", second.Config.Env))
	labels := slices.AppendSeq(slices.Collect(maps.Keys(first.Config.Labels)), maps.Keys(second.Config.Labels))
	slices.Sort(labels)
	for _, name := range slices.Compact(labels) {
		add("label "+name, first.Config.Labels[name], second.Config.Labels[name])
	}
	first.Config.Env, first.Config.Labels, second.Config.Env, second.Config.Labels = nil, nil, nil, nil
	add("configuration", fmt.Sprintf("%+q", first.Config), fmt.Sprintf("%+q", second.Config))
	if len(found) == 0 {
		found = append(found, compare.Difference{
			File: "the artifact", Place: "what was published before",
			Cause: "both builds give the same now: what is published under this key was built by another version of Ampoule, or the registry has changed it",
		})
	}
	return found
}

// both opens both builds as far as the interpreter.
func (c *check) both(ctx context.Context) (was, is *opened, end func() error, err error) {
	if was, err = open(ctx, c.first, c.req); err != nil {
		return nil, nil, nil, err
	}
	if is, err = open(ctx, c.second, c.req); err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("building again: %w", err), was.close())
	}
	return was, is, func() error { return errors.Join(was.close(), is.close()) }, nil
}

// interpreter builds the interpreter again.
func (c *check) interpreter(ctx context.Context) (_ Checked, err error) {
	was, is, end, err := c.both(ctx)
	if err != nil {
		return Checked{}, err
	}
	defer func() { err = errors.Join(err, end()) }()
	out := Checked{Name: c.req.Recipe.Name, What: OnlyInterpreter, First: was.run.env.Interpreter.Layer.DiffID, Second: is.run.env.Interpreter.Layer.DiffID}
	if out.Differences, err = c.interpreters(was, is); len(out.Differences) > 0 && out.First == out.Second {
		// Its debug information alone.
		out.First, out.Second = was.run.env.Interpreter.Debug.DiffID, is.run.env.Interpreter.Debug.DiffID
	}
	return out, err
}

// wheel builds one wheel again.
func (c *check) wheel(ctx context.Context, d recipes.Dist) (_ Checked, err error) {
	was, is, end, err := c.both(ctx)
	if err != nil {
		return Checked{}, err
	}
	defer func() { err = errors.Join(err, end()) }()
	var made []wheels.Wheel
	for _, o := range []*opened{was, is} {
		built, err := o.run.env.House.Wheels(ctx, o.run.dist, []string{d.ID()})
		if err != nil {
			return Checked{}, err
		}
		made = append(made, built...)
	}
	out := Checked{Name: c.req.Recipe.Name, What: d.ID(), First: "sha256:" + made[0].SHA256, Second: "sha256:" + made[1].SHA256}
	out.Differences, err = c.wheels(made[0].File, made[0].SHA256, made[1].SHA256)
	if first, second := made[0].Debug, made[1].Debug; err == nil && out.Same() && first != nil && second != nil && first.DiffID != second.DiffID {
		out.First, out.Second = first.DiffID, second.DiffID
		out.Differences, err = c.layers("debug", was, is, *first, *second)
	}
	return out, err
}
