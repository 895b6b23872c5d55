package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"ampoule/builder"
	"ampoule/builder/progress"
	"ampoule/cmd/ampoule/display"
	"ampoule/faults"
	"ampoule/recipes"
)

// mostServices is how many services are built or locked at once at most.
const mostServices = 4

// service is one recipe of a tree of them.
type service struct {
	// session is the call's, about this recipe.
	session *Session
	inputs
	// err is what is wrong with the files.
	err error
}

// name is how people know it: its name, or the file if that cannot be read.
func (v *service) name() string {
	if v.recipe == nil {
		return v.session.Recipe
	}
	return v.recipe.Name
}

// served is what came of one service.
type served[T any] struct {
	service *service
	result  T
	err     error
	// begun is not set for a service that was left out after another one had failed.
	begun bool
}

// FailedService is an error of one service.
type FailedService struct {
	Recipe string
	Err    error
}

// ServicesError says which services of several failed. Its kind, and so the exit code, is the
// one that wins among theirs.
type ServicesError struct {
	Failed []FailedService
	// Left are the recipes of services that were not begun after that.
	Left []string
}

func (e *ServicesError) Error() string {
	lines := make([]string, len(e.Failed))
	for i, f := range e.Failed {
		lines[i] = f.Recipe + ": " + f.Err.Error()
	}
	return strings.Join(lines, "\n")
}

// Kind is the one that wins among those of the services' errors.
func (e *ServicesError) Kind() faults.Kind { return faults.Of(errors.Join(e.Unwrap()...)) }

// Unwrap returns the errors of the services.
func (e *ServicesError) Unwrap() []error {
	all := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		all[i] = f.Err
	}
	return all
}

// report tells the error of each service under its recipe, and what was left out.
func (e *ServicesError) report(w io.Writer) {
	for _, f := range e.Failed {
		line(w, "error", f.Recipe+" failed:")
		report(w, f.Err)
	}
	if len(e.Left) > 0 {
		line(w, "error", "not begun after that: "+strings.Join(recipes.First(e.Left), ", "))
		line(w, "hint", "--keep-going does the others, too")
	}
}

// completeDirs completes the directory of --all, and leaves other calls to others.
func completeDirs(all *bool, others cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, text string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if *all {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
		return others(cmd, args, text)
	}
}

// allArgs takes one directory with --all, and leaves other calls to others.
func allArgs(all *bool, others cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if !*all {
			return others(cmd, args)
		}
		if cmd.Flags().Changed("file") {
			return errors.New("--all finds the recipes: -f names one")
		}
		if len(args) > 1 {
			return fmt.Errorf("%q: --all takes one directory", args[1])
		}
		return nil
	}
}

// services finds the recipes in a directory and below it, and reads each with read. What is
// wrong with the files of any is an error, unless the others are to go on.
func (s *Session) services(args []string, keepGoing bool, read func(*Session) (inputs, error)) ([]*service, error) {
	dir := "."
	if len(args) > 0 {
		dir = args[0]
	}
	files, err := recipes.Find(dir)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, recipes.Faults{{File: dir, What: "there is no " + recipes.FileName + " with a name in it or below it", Hint: "write one with `ampoule init`"}}
	}
	var all []*service
	wrong := &ServicesError{}
	named := map[string]*service{}
	for _, file := range files {
		one := *s
		one.Recipe = file
		v := &service{session: &one}
		v.inputs, v.err = read(&one)
		if v.recipe != nil {
			if other, twice := named[v.recipe.Name]; twice {
				return nil, recipes.Faults{v.recipe.Fault(fmt.Sprintf("%s has the name %s, too", other.session.Recipe, v.recipe.Name), "a name is one artifact's: choose another one", "name")}
			}
			named[v.recipe.Name] = v
		}
		if v.err != nil {
			wrong.Failed = append(wrong.Failed, FailedService{file, v.err})
		}
		all = append(all, v)
	}
	if len(wrong.Failed) > 0 && !keepGoing {
		return nil, wrong
	}
	return all, nil
}

// eventsOf shows the events of one service among those of others.
type eventsOf struct {
	name string
	to   progress.Observer
}

// Observe puts the service's name before the task's.
func (l eventsOf) Observe(e progress.Event) {
	e.Task = strings.TrimSuffix(l.name+": "+e.Task, ": ")
	l.to.Observe(e)
}

// each does work for all services within one budget, and shows the events of all. The first
// service has the whole budget and runs alone, so that what all share, such as the interpreter,
// is made once and fast; then some run at a time and share the processors: those that a person
// allows evenly, those of the machine as they need them. After a failure no further service is
// begun unless keepGoing is set.
func each[T any](ctx context.Context, s *Session, all []*service, how builder.Request, work func(context.Context, *service, builder.Request) (T, error)) []served[T] {
	d := display.New(s.Err, s.Progress)
	defer d.Close()
	outcomes := make([]served[T], len(all))
	var mu sync.Mutex
	failed := false
	one := func(i int, how builder.Request) {
		v := all[i]
		mu.Lock()
		begin := (!failed || how.KeepGoing) && ctx.Err() == nil
		mu.Unlock()
		outcomes[i] = served[T]{service: v, begun: begin, err: v.err}
		if !begin || v.err != nil {
			return
		}
		feed := progress.NewFeed()
		defer feed.Follow(eventsOf{v.name(), d})()
		outcomes[i].result, outcomes[i].err = work(progress.With(ctx, feed), v, how)
		if outcomes[i].err != nil {
			mu.Lock()
			failed = true
			mu.Unlock()
		}
	}
	one(0, how)
	at := places(how.Budget.Processors())
	if how.Budget.Jobs > 0 {
		how.Budget.Jobs = max(1, how.Budget.Jobs/at)
	}
	slots := make(chan struct{}, at)
	var running sync.WaitGroup
	for i := 1; i < len(all); i++ {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			one(i, how)
		})
	}
	running.Wait()
	return outcomes
}

// places is how many services share some processors: each has two at least.
func places(processors int) int {
	return min(mostServices, max(1, min(processors, runtime.NumCPU())/2))
}

// failures are the outcomes that are errors, as one; nil if there is none. Services that were
// left out because the call ended are its cause.
func failures[T any](ctx context.Context, outcomes []served[T]) error {
	e := &ServicesError{}
	for _, o := range outcomes {
		switch {
		case !o.begun:
			e.Left = append(e.Left, o.service.session.Recipe)
		case o.err != nil:
			e.Failed = append(e.Failed, FailedService{o.service.session.Recipe, o.err})
		}
	}
	switch {
	case len(e.Failed) > 0:
		return e
	case len(e.Left) > 0:
		return context.Cause(ctx)
	}
	return nil
}

// BuildAll builds the recipes in a directory and below it, as how says.
func BuildAll(ctx context.Context, s *Session, b Builder, how builder.Request, args []string, reference func(name, digest string) string) error {
	all, err := s.services(args, how.KeepGoing, (*Session).readBuildable)
	if err != nil {
		return err
	}
	outcomes := each(ctx, s, all, how, func(ctx context.Context, v *service, how builder.Request) (builder.Result, error) {
		return b.Build(ctx, v.forBuild(how))
	})
	texts, results := []string{}, []serviceResult[buildResult]{}
	for _, o := range outcomes {
		if o.begun {
			s.tell("%s:", o.service.name())
		}
		result := s.tellBuilt(o.result, o.err, reference)
		if o.begun && o.err == nil {
			texts = append(texts, result.Ref)
		}
		results = append(results, serviceResultOf(o, result))
	}
	return errors.Join(s.printAll(texts, results), failures(ctx, outcomes))
}

// LockAll writes the locks of the recipes in a directory and below it, as far as they changed.
func LockAll(ctx context.Context, s *Session, l Locker, how builder.Request, o builder.LockOptions, args []string) error {
	all, err := s.services(args, o.KeepGoing, func(one *Session) (inputs, error) {
		in, err := one.read()
		if err == nil {
			err = one.agree(in.recipe, true)
		}
		return in, err
	})
	if err != nil {
		return err
	}
	upgrades, err := upgradesOf(all, o.UpgradeNames)
	if err != nil {
		return err
	}
	how.KeepGoing = o.KeepGoing
	outcomes := each(ctx, s, all, how, func(ctx context.Context, v *service, how builder.Request) (*recipes.Lock, error) {
		// A lock's own request has no such switch: its options have.
		how.KeepGoing = false
		own := o
		own.UpgradeNames = upgrades[v]
		return l.Lock(ctx, v.request(how), own)
	})
	texts, results := []string{}, []serviceResult[lockResult]{}
	for i := range outcomes {
		var result lockResult
		o := &outcomes[i]
		if o.begun {
			s.tell("%s:", o.service.name())
		}
		if o.begun && o.err == nil {
			result, o.err = o.service.session.writeLock(o.service.inputs, o.result)
		}
		if result.Lock != "" {
			texts = append(texts, result.Lock)
		}
		results = append(results, serviceResultOf(*o, result))
	}
	return errors.Join(s.printAll(texts, results), failures(ctx, outcomes))
}

// upgradesOf gives each service those of the names that its lock has. One that no lock has is
// wrong usage.
func upgradesOf(all []*service, names []string) (map[*service][]string, error) {
	of := map[*service][]string{}
	for _, name := range names {
		var missing error
		known := false
		for _, v := range all {
			found, err := lockedNames(v.lock, []string{name})
			if err != nil {
				missing = err
				continue
			}
			known = true
			of[v] = append(of[v], found...)
		}
		if !known {
			return nil, missing
		}
	}
	return of, nil
}

// serviceResult is the result of one service as JSON: what the verb gives for one recipe, or
// an error.
type serviceResult[T any] struct {
	Recipe string `json:"recipe"`
	// Result is missing where there is none.
	Result *T `json:"result,omitempty"`
	// Error is what failed, and Code the exit code for it; missing for a service that was
	// left out.
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"`
}

func serviceResultOf[R, T any](o served[R], result T) serviceResult[T] {
	r := serviceResult[T]{Recipe: o.service.session.Recipe}
	switch {
	case o.begun && o.err == nil:
		r.Result = &result
	case o.err != nil:
		r.Error, r.Code = o.err.Error(), ExitCode(o.err)
	}
	return r
}

// printAll writes the results of services: a line for each that has one, or all as one array.
func (s *Session) printAll(texts []string, results any) error {
	if s.Output != JSON && len(texts) == 0 {
		return nil
	}
	return s.print(strings.Join(texts, "\n"), results)
}
