package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"ampoule/audit"
	"ampoule/builder"
	"ampoule/config"
	"ampoule/recipes"
	"ampoule/service/client"
	"ampoule/wiring"
)

// Builder turns a recipe with its lock into a published artifact.
type Builder interface {
	Build(ctx context.Context, req builder.Request) (builder.Result, error)
}

func newBuild(s *Session) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build [--all [DIR]]",
		Short: "Builds what recipe and lock say, and publishes it",
		Long: `Build compiles the interpreter and its wheels without a network, puts them
together, has the gate judge the result in each runtime target, and publishes it
to the registry. What the registry has already is found by its key, and nothing
is built. No flag leaves the gate out.

With --group a dependency group of the recipe is built too, judged by the gate together
with the artifact, and published as a referrer of it; --groups builds all of them. The
artifact stays what it is without them.

The result is NAME@sha256:…, which every other verb takes. A lock that is missing
or does not answer the recipe any more is refused: see ampoule lock.

With --all every ampoule.yaml that has a name is built, in a directory and below it, in
one process: what services share is made once, and they share the processors. The
result has a line for each. Hidden directories, vendored code and virtual environments
are left out. After a failure no further service is begun, unless --keep-going is given.

With --cache what others have compiled is read from a cache in a registry, if one of the
trusted keys has signed it; with --cache-key what is compiled here is put there.

With --server a service builds. It gets the recipe, the files that it names, the lock and
first-party code; progress, result and exit code are as here. Interrupting withdraws the
submission. --force has it build what is published already, from nothing but its inputs, and
compare; --label, --priority and --limit say which worker takes the build, when, and for how
long.

With --sign-key, or a key in config.toml, what is built is signed before it can be found:
the artifact, how it was built, and what the gate said of it. What is published already
is not: ampoule sign signs that.

With --check the build is done a second time, from nothing but its inputs: in another
store, with another number of jobs, and in sandboxes that have another host name, user,
time zone, locale and order of files. What differs is told by file and place, with the likely
cause, and the exit code is 4. --only has one wheel or the interpreter built again.`,
		Example: `  ampoule build
  ampoule build -f services/web/ampoule.yaml --progress plain
  ampoule build --keep-going
  ampoule build --all services --keep-going
  ampoule build --group test
  ampoule build --check
  ampoule build --check --only psycopg2
  ampoule build --cache registry.example/team/cache
  ampoule build --registry registry.example/team --output json
  ampoule build --server https://ampoule.example --force --limit 2h`,
		Args:              usage(allArgs(&f.services, cobra.NoArgs)),
		ValidArgsFunction: completeDirs(&f.services, cobra.NoFileCompletions),
		RunE: func(cmd *cobra.Command, args []string) error {
			how, err := f.request(cmd)
			if err != nil {
				return err
			}
			c, err := s.serviceFor(cmd, f.wishes)
			if err != nil {
				return err
			}
			if c != nil {
				return f.remote(cmd, s, c, how, args)
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error { return f.build(ctx, s, w, how, args) })
		},
	}
	f.add(cmd)
	s.addCacheFlags(cmd)
	return cmd
}

// remote has a service do what the flags say.
func (f *buildFlags) remote(cmd *cobra.Command, s *Session, c *client.Client, how builder.Request, args []string) error {
	err := hereAlone(cmd, c, "jobs", "step-timeout", "step-memory", "step-disk", "check", "only", "sign-key", "passphrase-file", "cache", "cache-key", "registry")
	b := s.remote(c, f.wishes)
	switch {
	case err != nil:
		return err
	case f.services:
		return BuildAll(cmd.Context(), s, b, how, args, b.Reference)
	}
	return Build(cmd.Context(), s, b, how, b.Reference)
}

// build does what the flags say.
func (f *buildFlags) build(ctx context.Context, s *Session, w *wiring.Parts, how builder.Request, args []string) error {
	if err := s.signBuilds(ctx, w, f.sign); err != nil {
		return err
	}
	b, set, err := s.builder(w)
	if err != nil {
		return err
	}
	defer collectAfter(ctx, w, set.Bounds, s.tell)
	switch {
	case f.check:
		return Check(ctx, s, b, how, f.only, w.Reference)
	case f.services:
		return BuildAll(ctx, s, b, how, args, w.Reference)
	}
	return Build(ctx, s, b, how, w.Reference)
}

// buildFlags are the verb's own flags.
type buildFlags struct {
	jobs                int
	keepGoing, services bool
	// groups are dependency groups by name; all stands for every one.
	groups []string
	all    bool
	bounds stepBounds
	check  bool
	only   string
	sign   config.Sign
	wishes client.Wishes
}

func (f *buildFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVarP(&f.jobs, "jobs", "j", 0, "how many processors the build may use (default: all)")
	flags.BoolVarP(&f.keepGoing, "keep-going", "k", false, "after a wheel or a service has failed, build the others too, and tell of all failures at the end")
	flags.BoolVar(&f.services, "all", false, "build all recipes in a directory and below it (default: the current one)")
	flags.StringSliceVar(&f.groups, "group", nil, "build and publish this dependency group beside the artifact")
	flags.BoolVar(&f.all, "groups", false, "build and publish all dependency groups of the recipe")
	f.bounds.add(cmd)
	flags.BoolVar(&f.check, "check", false, "build a second time in another environment, and compare")
	signKeyFlags(cmd, &f.sign)
	forceFlag(cmd, &f.wishes)
	wishFlags(cmd, &f.wishes)
	flags.StringVar(&f.only, "only", "", "what --check builds again: a wheel by its name, or interpreter (default: everything)")
}

// request is what the flags say of a build. Flags that do not go together are wrong usage.
func (f *buildFlags) request(cmd *cobra.Command) (builder.Request, error) {
	budget, err := f.bounds.check(cmd)
	if err != nil {
		return builder.Request{}, err
	}
	budget.Jobs = f.jobs
	wrong := ""
	switch {
	case f.jobs < 0:
		wrong = fmt.Sprintf("--jobs %d is not a number of processors", f.jobs)
	case cmd.Flags().Changed("only") && (!f.check || f.only == ""):
		wrong = "--only names what --check builds again"
	case f.check && (f.all || len(f.groups) > 0):
		wrong = "--check builds the artifact again, which has no dependency groups"
	case f.check && f.services:
		wrong = "--check builds one artifact again: leave --all out"
	}
	if wrong != "" {
		return builder.Request{}, &UsageError{Verb: cmd.CommandPath(), Err: errors.New(wrong)}
	}
	how := builder.Request{Budget: budget, KeepGoing: f.keepGoing, Groups: f.groups}
	if f.all {
		how.Groups = []string{allGroups}
	}
	return how, nil
}

// stepBounds are the flags that bound build steps.
type stepBounds struct {
	time         time.Duration
	memory, disk string
}

func (s *stepBounds) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&s.time, "step-timeout", builder.StepTime, "how long one build step may take")
	cmd.Flags().StringVar(&s.memory, "step-memory", "", "how much memory a build step and what runs beside it in its sandbox may use, as 6GiB (default: 80 % of the machine's)")
	cmd.Flags().StringVar(&s.disk, "step-disk", "", "how much a build step and what runs beside it in its sandbox may write, as 64GiB; one file a quarter, what is kept of it half (default: 32GiB)")
}

// check returns the bounds as a budget; no step ends in no time or without memory.
func (s *stepBounds) check(cmd *cobra.Command) (builder.Budget, error) {
	if s.time <= 0 {
		return builder.Budget{}, &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--step-timeout must be more than nothing")}
	}
	memory, err := size(cmd, "--step-memory", s.memory, minStepMemory)
	if err != nil {
		return builder.Budget{}, err
	}
	disk, err := size(cmd, "--step-disk", s.disk, minStepDisk)
	return builder.Budget{StepTime: s.time, StepMemory: memory, StepDisk: disk}, err
}

// size reads a flag's size in bytes; 0 if it was not given.
func size(cmd *cobra.Command, flag, text string, least int64) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := units.RAMInBytes(text)
	if err != nil || n < least {
		return 0, &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%s %q is no size of at least %s, such as 6GiB", flag, text, units.BytesSize(float64(least)))}
	}
	return n, nil
}

// The least bounds refuse what is a slip of the pen: no compiler works with less.
const (
	minStepMemory = 32 << 20
	minStepDisk   = 64 << 20
)

// buildResult is the verb's result as JSON.
type buildResult struct {
	Ref     string         `json:"ref"`
	Name    string         `json:"name"`
	Digest  string         `json:"digest"`
	Key     string         `json:"key"`
	Reused  bool           `json:"reused"`
	Verdict *audit.Verdict `json:"verdict,omitempty"`
	Logs    string         `json:"logs,omitempty"`
	// Source is set for a recipe with first-party code.
	Source *builder.Source `json:"source,omitempty"`
	// Stages is set where something was built with a cache.
	Stages *builder.Tally `json:"stages,omitempty"`
	Groups []groupResult  `json:"groups,omitempty"`
}

// Build builds the session's recipe, as how says. Reference makes the reference by which
// other verbs find an artifact of a name and digest.
func Build(ctx context.Context, s *Session, b Builder, how builder.Request, reference func(name, digest string) string) error {
	in, err := s.readBuildable()
	if err != nil {
		return err
	}
	res, err := watched(ctx, s, func(ctx context.Context) (builder.Result, error) {
		return b.Build(ctx, in.forBuild(how))
	})
	result := s.tellBuilt(res, err, reference)
	if err != nil {
		return err
	}
	return s.print(result.Ref, result)
}

// readBuildable reads the session's recipe, requirements and lock, and compares the recipe's
// Python with the repository's.
func (s *Session) readBuildable() (inputs, error) {
	in, err := s.readLocked()
	if err == nil {
		err = s.agree(in.recipe, false)
	}
	return in, err
}

// forBuild asks for a build of these, with all groups where how says so.
func (in inputs) forBuild(how builder.Request) builder.Request {
	if slices.Equal(how.Groups, []string{allGroups}) {
		how.Groups = slices.Sorted(maps.Keys(in.recipe.DependencyGroups))
	}
	return in.request(how)
}

// tellBuilt says what a build did, and gives its result; that of a build that failed is empty.
func (s *Session) tellBuilt(res builder.Result, err error, reference func(name, digest string) string) buildResult {
	if res.Verdict != nil {
		s.tellVerdict(*res.Verdict)
	}
	groups := s.tellGroups(res.Groups)
	if err != nil || res.Digest == "" {
		return buildResult{}
	}
	if res.Reused {
		s.tellReused()
	}
	s.tellSource(res.Source)
	ref := reference(res.Name, res.Digest)
	return buildResult{ref, res.Name, res.Digest, res.Key, res.Reused, res.Verdict, res.Logs, res.Source, res.Stages, groups}
}

// tellSource says which commit the application is of.
func (s *Session) tellSource(source *builder.Source) {
	switch {
	case source == nil:
	case source.Commit == "":
		s.tell("the application is of no commit")
	case source.Dirty:
		s.tell("the application is of commit %s, dirty: %s", source.Commit, strings.Join(recipes.First(source.Changed), ", "))
	default:
		s.tell("the application is of commit %s", source.Commit)
	}
}

// tellVerdict shows a verdict: the whole text if the gate has something to say,
// one line otherwise.
func (s *Session) tellVerdict(v audit.Verdict) {
	if v.Passed && len(v.Findings) == 0 && len(v.Exceptions)+len(v.Binary)+len(v.Providers) == 0 {
		examined := 0
		for _, c := range v.Checks {
			examined += c.Examined
		}
		with := ""
		if v.Group != "" {
			with = " with group " + v.Group
		}
		s.tell("gate: passed%s, %d checks, %d examined, %s", with, len(v.Checks), examined, targetNames(v))
		return
	}
	var text strings.Builder
	if err := v.WriteText(&text); err != nil {
		// A strings.Builder takes everything.
		panic("cli: writing a verdict: " + err.Error())
	}
	s.tell("%s", strings.TrimRight(text.String(), "\n"))
}

// targetNames lists where a verdict was found.
func targetNames(v audit.Verdict) string {
	names := make([]string, len(v.Targets))
	for i, t := range v.Targets {
		names[i] = t.Name
	}
	return "in " + strings.Join(names, ", ")
}
