package builder

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/wheels"
	"ampoule/faults"
	"ampoule/recipes"
)

func TestNewWantsEveryDependency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, without := range map[string]func(*Dependencies){
		"store":      func(d *Dependencies) { d.Store = nil },
		"downloader": func(d *Dependencies) { d.Fetch = nil },
		"sandboxes":  func(d *Dependencies) { d.Sandboxes = nil },
		"publish to": func(d *Dependencies) { d.Publisher = nil },
		"bases":      func(d *Dependencies) { d.Bases = nil },
	} {
		d := w.needs
		without(&d)
		if b, err := New(d); b != nil || err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v, %v", name, b, err)
		}
	}
	d := w.needs
	d.Now = nil
	if b, err := New(d); err != nil || b.d.Now().IsZero() {
		t.Errorf("without a clock: %v", err)
	}
}

// A builder that is made is the same for all calls: nobody can reach its fields, and no
// method of its own sets one or copies it.
func TestBuilderDoesNotChange(t *testing.T) {
	t.Parallel()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Builder]()) {
		if f.IsExported() && len(f.Index) == 1 {
			t.Errorf("field %s can be set by anybody", f.Name)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %q, %v", files, err)
	}
	methods := 0
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, receiver := builderMethod(d)
			if receiver == "" {
				continue
			}
			methods++
			for _, change := range changes(f.Body, receiver) {
				t.Errorf("%s: %s %s", file, f.Name.Name, change)
			}
		}
	}
	if methods < 5 {
		t.Errorf("only %d methods were found", methods)
	}
}

// builderMethod returns a method of Builder and the name of its receiver, if a declaration is one.
func builderMethod(d ast.Decl) (f *ast.FuncDecl, receiver string) {
	f, ok := d.(*ast.FuncDecl)
	if !ok || f.Recv == nil || len(f.Recv.List[0].Names) == 0 {
		return nil, ""
	}
	star, ok := f.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return nil, ""
	}
	if of, ok := star.X.(*ast.Ident); !ok || of.Name != "Builder" {
		return nil, ""
	}
	return f, f.Recv.List[0].Names[0].Name
}

// changes lists where a function sets what a variable points to, or copies it.
func changes(body *ast.BlockStmt, variable string) []string {
	var found []string
	for node := range ast.Preorder(body) {
		switch n := node.(type) {
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if selector, ok := left.(*ast.SelectorExpr); ok && rootOf(selector) == variable {
					found = append(found, "sets "+selector.Sel.Name)
				}
			}
		case *ast.StarExpr:
			if of, ok := n.X.(*ast.Ident); ok && of.Name == variable {
				found = append(found, "copies the builder")
			}
		}
	}
	return found
}

// rootOf is the variable that a selector begins with.
func rootOf(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.SelectorExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func TestChangesAreFound(t *testing.T) {
	t.Parallel()
	const source = `package p
func f(b *Builder) {
	b.d.Store = nil
	other := *b
	other.d.Store = nil
	c.d.Store = b.d.Store
}`
	parsed, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := changes(parsed.Decls[0].(*ast.FuncDecl).Body, "b")
	if want := []string{"sets Store", "copies the builder"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// tasks are what a call's observer was told of.
type tasks struct {
	mu   sync.Mutex
	seen map[string]bool
}

// Observe implements [progress.Observer].
func (o *tasks) Observe(e progress.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[e.Stage.String()+" "+e.Task] = true
}

// asking is one of several calls at once, and what came of it.
type asking struct {
	req Request
	// flag is what its interpreter is configured with.
	flag   string
	told   tasks
	result Result
	err    error
}

// Calls at once on one builder have each their own processors, bounds and events.
func TestRequestsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	calls := map[string]*asking{
		"first":     {flag: "--without-doc-strings", req: Request{Budget: Budget{Jobs: 3, StepMemory: 3 << 30}}},
		"second":    {flag: "--with-assertions", req: Request{Budget: Budget{Jobs: 5, StepMemory: 5 << 30, StepDisk: 7 << 30}}},
		"impatient": {flag: "--with-pydebug", req: Request{Budget: Budget{Jobs: 7, StepTime: 1}}},
	}
	b := w.builder()
	var all sync.WaitGroup
	for name, c := range calls {
		recipe := *w.recipe
		recipe.Name, recipe.Python.Configure = name, []string{c.flag}
		lock := *w.lock
		lock.Answers = recipes.MakeAnswers(&recipe, w.reqs)
		c.req.Recipe, c.req.Requirements, c.req.Lock = &recipe, w.reqs, &lock
		c.told.seen = map[string]bool{}
		all.Go(func() {
			feed := progress.NewFeed()
			defer feed.Follow(&c.told)()
			c.result, c.err = b.Build(progress.With(t.Context(), feed), c.req)
		})
	}
	all.Wait()
	if err := calls["impatient"].err; faults.Of(err) != faults.Build || !strings.Contains(err.Error(), "not done after 1ns") {
		t.Errorf("whose steps may take a nanosecond has %v", err)
	}
	for name, c := range calls {
		if name != "impatient" && (c.err != nil || c.result.Name != name || c.result.Digest == "") {
			t.Errorf("%s: %+v, %v", name, c.result, c.err)
		}
		for other := range calls {
			if told := c.told.seen["publish "+other]; told != (other == name && c.err == nil) {
				t.Errorf("%s was told of the publication of %s: %t", name, other, told)
			}
		}
		w.checkCompiled(c)
	}
	w.checkClosed()
}

// checkCompiled wants the interpreter of a call compiled with what the call may take.
func (w *world) checkCompiled(c *asking) {
	w.t.Helper()
	budget := c.req.Budget
	want := sandbox.Limits{CPUs: int64(budget.Jobs), Memory: budget.StepMemory, Disk: budget.StepDisk}
	found := 0
	for _, s := range w.runner.Sandboxes() {
		var words []string
		for _, step := range s.Steps() {
			words = append(words, step.Args...)
		}
		if !slices.Contains(words, c.flag) {
			continue
		}
		found++
		if s.Spec.Limits != want {
			w.t.Errorf("the interpreter with %s was compiled within %+v, not within %+v", c.flag, s.Spec.Limits, want)
		}
		jobs := slices.IndexFunc(words, func(word string) bool { return strings.HasPrefix(word, "-j") })
		if c.err == nil && (jobs < 0 || words[jobs] != "-j"+string(rune('0'+budget.Jobs))) {
			w.t.Errorf("the interpreter with %s was compiled by %q", c.flag, words)
		}
	}
	// Whoever has no time begins with something else than configure.
	if found != 1 && c.err == nil {
		w.t.Errorf("%d sandboxes compiled the interpreter with %s", found, c.flag)
	}
}

// Of two calls at once one keeps going after a failure, and the other does not.
func TestOneRequestKeepsGoing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.runner = fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if strings.Contains(strings.Join(step.Args, " "), "driver.py wheel") {
			return &sandbox.ExitError{Args: step.Args, Code: 1}
		}
		return w.step(ctx, s, step)
	})
	b := w.builder()
	patient, hasty := make(chan error, 1), make(chan error, 1)
	for told, keepGoing := range map[chan error]bool{patient: true, hasty: false} {
		req := w.request()
		req.KeepGoing = keepGoing
		// Both would be one build.
		recipe := *w.recipe
		if keepGoing {
			recipe.Test.Commands = nil
		}
		req.Recipe = &recipe
		go func() {
			_, err := b.Build(t.Context(), req)
			told <- err
		}()
	}
	var all *wheels.FailedError
	if err := <-patient; !errors.As(err, &all) {
		t.Errorf("who keeps going has %v", err)
	}
	var one *wheels.BuildError
	if err := <-hasty; errors.As(err, &all) || !errors.As(err, &one) {
		t.Errorf("who does not has %v", err)
	}
}
