package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ampoule/address"
	"ampoule/artifact"
	"ampoule/builder"
	"ampoule/builder/docker"
	"ampoule/ci"
	"ampoule/cmd/ampoule/display"
	"ampoule/config"
	"ampoule/recipes"
	"ampoule/service/client"
	"ampoule/store"
	"ampoule/wiring"
)

func newCI(s *Session) *cobra.Command {
	var system string
	cmd := &cobra.Command{
		Use:   "ci",
		Short: "The steps of a pipeline",
		Long: `The verbs of ci are the steps of a pipeline: check looks whether the checkout agrees
with itself, build finds or builds its artifact, and run runs commands inside that. They
write groups, annotations, outputs and summaries as the CI system takes them, which is
known by its environment. What programs print is shown, and nothing in it is a command to
the system. Secrets are replaced by ***.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&system, "system", "", "the CI system: "+strings.Join(ci.Names(), ", ")+" (default: known by the environment)")
	if err := cmd.RegisterFlagCompletionFunc("system", cobra.FixedCompletions(ci.Names(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("cli: " + err.Error())
	}
	cmd.AddCommand(newCIBuild(s, &system), newCIRun(s, &system), newCICheck(s, &system), newCIAttest(s, &system))
	return cmd
}

// toldError is an error that was told already.
type toldError struct{ error }

func (e *toldError) Unwrap() error { return e.error }

// inCI does a step's work with the log of a CI system in the place of stderr, and tells there
// what goes wrong. Added are variables beside the environment, whose secrets are hidden, too.
func (s *Session) inCI(ctx context.Context, system string, added []string, work func(ci.System, *ci.Log) error) error {
	if s.Progress == display.JSON {
		return &UsageError{Verb: "ampoule ci", Err: errors.New("its log is in the form of the CI system: --progress json is for the other verbs")}
	}
	place := ci.Place{Environ: s.Environ, Run: runWith}
	on, err := ci.Open(system, place)
	if err != nil {
		return err
	}
	stderr := s.Err
	log := ci.NewLog(stderr, on, ci.Secrets(slices.Concat(s.Environ, added)), time.Now)
	s.Err = log
	err = interrupted(ctx, work(on, log))
	log.End()
	if !is[*ChildError](err) {
		for _, a := range ci.Annotations(err, place.Root()) {
			a.Message = display.Clean(address.Redact(a.Message), true)
			log.Annotate(a)
		}
	}
	report(log, err)
	s.Err = stderr
	err = errors.Join(err, log.Close())
	if err == nil {
		return nil
	}
	return &toldError{err}
}

// runWith runs a program of the machine with a text as its input.
func runWith(ctx context.Context, input, program string, args ...string) error {
	c := exec.CommandContext(ctx, program, args...)
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func newCIBuild(s *Session, system *string) *cobra.Command {
	var groups []string
	var export string
	var sign config.Sign
	var wishes client.Wishes
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Finds or builds the artifact of the checkout, and exports its digest",
		Long: `Build does what ampoule build does: the artifact of the checkout's recipe and lock is
found by its key, or built, judged and published. The result is its reference. Later steps
get it in the system's own form: the outputs ref, name, digest, key and reused of the step on
GitHub, ampoule.env in the checkout on GitLab and Jenkins, meta-data on Buildkite. With
--export a file of lines AMPOULE_REF=…, AMPOULE_DIGEST=… and so on is written anywhere.

With --server a service builds, as it does for ampoule build.`,
		Example: `  ampoule ci build --registry registry.example/team
  ampoule ci build --export ampoule.env --group test
  ampoule ci build --server https://ampoule.example`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.inCI(cmd.Context(), *system, nil, func(on ci.System, log *ci.Log) error {
				c, err := s.serviceFor(cmd, wishes)
				if err != nil {
					return err
				}
				if c != nil {
					if err := hereAlone(cmd, c, "sign-key", "passphrase-file", "cache", "cache-key", "registry"); err != nil {
						return err
					}
					b := s.remote(c, wishes)
					return CIBuild(cmd.Context(), s, on, log, b, builder.Request{Groups: groups}, export, b.Reference)
				}
				return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
					if err := s.signBuilds(ctx, w, sign); err != nil {
						return err
					}
					b, set, err := s.builder(w)
					if err != nil {
						return err
					}
					defer collectAfter(ctx, w, set.Bounds, s.tell)
					return CIBuild(ctx, s, on, log, b, builder.Request{Groups: groups}, export, w.Reference)
				})
			})
		},
	}
	cmd.Flags().StringSliceVar(&groups, "group", nil, "build and publish this dependency group beside the artifact")
	cmd.Flags().StringVar(&export, "export", "", "write the result as variables to this file")
	s.addCacheFlags(cmd)
	signKeyFlags(cmd, &sign)
	forceFlag(cmd, &wishes)
	wishFlags(cmd, &wishes)
	return cmd
}

// CIBuild builds the session's recipe in a part of the log, and exports the result.
func CIBuild(ctx context.Context, s *Session, on ci.System, log *ci.Log, b Builder, how builder.Request, export string, reference func(name, digest string) string) error {
	res, err := s.buildForCI(ctx, log, b, how)
	if err != nil {
		return err
	}
	ref := reference(res.Name, res.Digest)
	values := []ci.Value{
		{Name: "ref", Text: ref}, {Name: "name", Text: res.Name}, {Name: "digest", Text: res.Digest},
		{Name: "key", Text: res.Key}, {Name: "reused", Text: strconv.FormatBool(res.Reused)},
	}
	if err := on.Export(ctx, values); err != nil {
		return err
	}
	if export != "" {
		if err := replaceFile(export, ci.Variables(values)); err != nil {
			return fmt.Errorf("exporting the result: %w", err)
		}
	}
	if err := on.Summarize(ctx, ci.BuildMarkdown(ref, res.Reused)); err != nil {
		return err
	}
	return s.print(ref, buildResult{ref, res.Name, res.Digest, res.Key, res.Reused, res.Verdict, res.Logs, res.Source, res.Stages, groupResults(res.Groups)})
}

// buildForCI builds the session's recipe in a part of the log.
func (s *Session) buildForCI(ctx context.Context, log *ci.Log, b Builder, how builder.Request) (builder.Result, error) {
	in, err := s.readLocked()
	if err != nil {
		return builder.Result{}, err
	}
	if err := s.agree(in.recipe, false); err != nil {
		return builder.Result{}, err
	}
	log.Begin("ampoule build " + in.recipe.Name)
	defer log.End()
	res, err := watched(ctx, s, func(ctx context.Context) (builder.Result, error) { return b.Build(ctx, in.request(how)) })
	if res.Verdict != nil {
		s.tellVerdict(*res.Verdict)
	}
	s.tellGroups(res.Groups)
	if err != nil {
		return res, err
	}
	if res.Reused {
		s.tellReused()
	}
	s.tellSource(res.Source)
	return res, nil
}

// ciRunOptions are the flags of ci run.
type ciRunOptions struct {
	command, groups, env, junit           []string
	ref, workspace, at, user, network, to string
	copied                                bool
}

func newCIRun(s *Session, system *string) *cobra.Command {
	var o ciRunOptions
	cmd := &cobra.Command{
		Use:   "run [-- COMMAND ARG...]",
		Short: "Runs a command inside the artifact of the checkout, and records it",
		Long: `Run finds or builds the artifact of the checkout, and runs a command inside it: with the
workspace mounted at its own path, in the directory that this is called from, as the user and
group that call it. Nothing of the environment comes in but what -e names. The exit code
is the command's own. Without a command the recipe's tests are run: its test.imports and
test.commands, one after another in one container, until one leaves something running.

With --group a dependency group lies over the artifact. Since it could hide what the artifact
lacks, the recipe's tests are run before, without groups.

On a CI system all that programs print goes to stderr, in one order with the commands of
the log. In a shell it goes where they print it, unless --output json prints the record.

With --junit the named file in the workspace must have been written; its tests are counted.
What was run, how it ended, and the artifact's digest are a record in the store's logs, and
in the file that --record names.

With --server a service builds, and the artifact is taken from its registry.`,
		Example: `  ampoule ci run
  ampoule ci run --group test --junit report.xml -- python3 -m pytest --junitxml=report.xml
  ampoule ci run --ref "$AMPOULE_REF" --record tested.json -e DATABASE_URL -- ./test.sh`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash < 0 && len(args) > 0 || dash > 0 {
				return fmt.Errorf("%q stands before --: want a command behind it", args[0])
			}
			if cmd.ArgsLenAtDash() == 0 && len(args) == 0 {
				return errors.New("want a command behind --")
			}
			return nil
		}),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.command = args
			if len(args) == 0 && len(o.groups) > 0 {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--group lies over the artifact for a command: want one behind --")}
			}
			if o.user == "" {
				o.user = fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
			}
			return s.inCI(cmd.Context(), *system, o.env, func(on ci.System, log *ci.Log) error {
				c, err := s.service()
				if err == nil && c != nil {
					err = hereAlone(cmd, c, "cache", "cache-key")
				}
				if err != nil {
					return err
				}
				return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
					return s.ciRun(ctx, w, on, log, o)
				})
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.ref, "ref", "", "run this artifact, which must be published (default: that of the checkout)")
	flags.StringArrayVar(&o.groups, "group", nil, "lay this dependency group over the artifact for the command")
	flags.StringArrayVarP(&o.env, "env", "e", nil, "add KEY=VALUE to the programs' environment; KEY alone takes the value from here")
	flags.StringVar(&o.workspace, "workspace", ".", "the directory that is mounted")
	flags.BoolVar(&o.copied, "copy", false, "mount a copy of it, which is removed; the files of --junit are taken out of it")
	flags.StringVar(&o.at, "at", "", "mount it at this directory of the artifact (default: its own path)")
	flags.StringVarP(&o.user, "user", "u", "", "run as UID[:GID] (default: who calls this)")
	flags.StringVar(&o.network, "network", "", "connect the programs to this network of Docker's, or to none")
	flags.StringArrayVar(&o.junit, "junit", nil, "a JUnit file that the command writes, relative to the workspace")
	flags.StringVar(&o.to, "record", "", "write the record to this file, too")
	s.addCacheFlags(cmd)
	return cmd
}

// ciRun opens what [CIRun] works with.
func (s *Session) ciRun(ctx context.Context, w *wiring.Parts, on ci.System, log *ci.Log, o ciRunOptions) error {
	reg, err := w.Registry()
	if err != nil {
		return err
	}
	local, set, err := s.builder(w)
	if err != nil {
		return err
	}
	c, err := s.service()
	if err != nil {
		return err
	}
	b := Builder(local)
	if c != nil {
		b = s.remote(c, client.Wishes{})
	}
	return withEngine(ctx, w, func(engine Engine) error {
		defer collectAfter(ctx, w, set.Bounds, s.tell)
		return CIRun(ctx, s, on, log, CIParts{Builder: b, Puller: reg, Engine: engine, Reference: w.Reference, Keep: recordKeeper(w.Store)}, o)
	})
}

// recordKeeper keeps records among a store's logs.
func recordKeeper(st *store.Store) func(name string, record []byte) error {
	return func(name string, record []byte) error {
		dir, err := st.NewLogs(time.Now().UTC().Format("20060102T150405Z") + "-ci-" + recipes.NameInFile(name) + "-")
		if err != nil {
			return err
		}
		return replaceFile(filepath.Join(dir, "record.json"), record)
	}
}

// CIParts are what a step runs an artifact with.
type CIParts struct {
	Builder   Builder
	Puller    Puller
	Engine    Engine
	Reference func(name, digest string) string
	// Keep keeps the record of an artifact of a name.
	Keep func(name string, record []byte) error
}

// CIRun runs a step's commands inside the artifact of the checkout, or inside the one that
// is named, and records them. The error is a [*ChildError] when one ended with another code
// than 0.
func CIRun(ctx context.Context, s *Session, on ci.System, log *ci.Log, parts CIParts, o ciRunOptions) (err error) {
	mount, err := ci.MountOf(o.workspace, o.at)
	if err != nil {
		return err
	}
	dir, err := mount.Inside(".")
	if err != nil {
		return err
	}
	workspace := mount.Source
	if o.copied {
		var remove func() error
		if mount, remove, err = mount.Copy(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, remove()) }()
	}
	options := RunOptions{Env: o.env, Volumes: []string{mount.Bind()}, Workdir: dir, User: o.user, Network: o.network}
	if _, err := options.forEngine(artifact.Config{}, s.Environ); err != nil {
		return err
	}
	var test recipes.Test
	// Another artifact needs no recipe here, unless tests of the recipe are run.
	if o.ref == "" || len(o.command) == 0 || len(o.groups) > 0 {
		in, err := s.read()
		if err != nil {
			return err
		}
		test = in.recipe.Test
	}
	steps := ci.Steps(test, o.command, o.groups)
	if len(steps) == 0 {
		return &UsageError{Verb: "ampoule ci run", Err: errors.New("the recipe has no tests: want a command behind --")}
	}
	record := ci.Record{Schema: ci.RecordSchema, Ref: o.ref, Builder: builder.Version(), System: on.Name()}
	if o.ref == "" {
		res, err := s.buildForCI(ctx, log, parts.Builder, builder.Request{Groups: groupNames(o.groups)})
		if err != nil {
			return err
		}
		record.Ref, record.Source = parts.Reference(res.Name, res.Digest), res.Source
	}
	found, err := parts.Puller.Resolve(ctx, record.Ref)
	if err != nil {
		return err
	}
	record.Name, record.Digest = found.Name, found.Digest
	started := time.Now()
	runner := &artifactRunner{s: s, p: parts.Puller, e: parts.Engine, ref: found.Ref, options: options, rooms: map[string]*room{}}
	var stdout io.WriteCloser
	if on.Name() == ci.Shell && s.Output == Text {
		stdout = log.Beside(s.Out)
	}
	record.Runs, err = ci.Run(ctx, log, steps, runner, stdout)
	err = errors.Join(err, runner.Close())
	if stdout != nil {
		err = errors.Join(err, stdout.Close())
	}
	if err != nil {
		return err
	}
	var unread error
	record.Reports, unread = ci.ReadReports(mount.Source, o.junit, started)
	if o.copied {
		if err := ci.TakeReports(mount.Source, workspace, record.Reports); err != nil {
			return err
		}
	}
	return s.endCIRun(ctx, on, log, parts, record, o.to, unread)
}

// endCIRun tells and keeps a record. Unread says which reports are not there.
func (s *Session) endCIRun(ctx context.Context, on ci.System, log *ci.Log, parts CIParts, record ci.Record, to string, unread error) error {
	code := record.Failed()
	record.Passed = code == 0 && unread == nil
	for _, ran := range record.Runs {
		if ran.Code != 0 {
			log.Annotate(ci.Annotation{Level: ci.Failure, Message: fmt.Sprintf("%s ended with exit code %d", strings.Join(ran.Command, " "), ran.Code)})
			s.tell("%s ended with exit code %d", strings.Join(ran.Command, " "), ran.Code)
		}
	}
	data := record.Encode()
	if err := parts.Keep(record.Name, data); err != nil {
		return err
	}
	if to != "" {
		if err := replaceFile(to, data); err != nil {
			return fmt.Errorf("writing the record: %w", err)
		}
	}
	if err := on.Summarize(ctx, record.Markdown()); err != nil {
		return err
	}
	if s.Output == JSON {
		if err := s.print("", record); err != nil {
			return err
		}
	}
	switch {
	case code != 0 && unread != nil:
		s.tell("%v", unread)
		return &ChildError{Code: code}
	case code != 0:
		return &ChildError{Code: code}
	}
	return unread
}

// groupNames are dependency groups without the digests that choose among several.
func groupNames(groups []string) []string {
	var names []string
	for _, g := range groups {
		name, _, _ := strings.Cut(g, "@")
		names = append(names, name)
	}
	return names
}

// artifactRunner is a [ci.Runner] for one artifact.
type artifactRunner struct {
	s       *Session
	p       Puller
	e       Engine
	ref     string
	options RunOptions
	// rooms are what was opened, by the groups over the artifact.
	rooms map[string]*room
}

// room is an artifact's image with groups over it, and what runs its programs.
type room struct {
	image    loadedImage
	programs docker.Held
}

// room opens the image for a step, unless it is open.
func (r *artifactRunner) room(ctx context.Context, step ci.Step) (*room, error) {
	key := strings.Join(step.Groups, "\n")
	if opened, ok := r.rooms[key]; ok {
		return opened, nil
	}
	image, err := watched(ctx, r.s, func(ctx context.Context) (loadedImage, error) { return r.s.load(ctx, r.p, r.e, r.ref, step.Groups) })
	if err != nil {
		return nil, err
	}
	o, err := r.options.forEngine(image.config, r.s.Environ)
	if err != nil {
		return nil, err
	}
	r.rooms[key] = &room{image, r.e.Hold(image.id, o, ci.Keeper())}
	return r.rooms[key], nil
}

// Ready implements [ci.Runner].
func (r *artifactRunner) Ready(ctx context.Context, step ci.Step) ([]ci.Group, error) {
	in, err := r.room(ctx, step)
	if err != nil {
		return nil, err
	}
	if err := in.programs.Ready(ctx); err != nil {
		return nil, fmt.Errorf("running %s: %w", r.ref, err)
	}
	var groups []ci.Group
	for _, g := range in.image.groups {
		groups = append(groups, ci.Group{Name: g.Record.Name, Digest: g.Digest})
	}
	return groups, nil
}

// Run implements [ci.Runner].
func (r *artifactRunner) Run(ctx context.Context, step ci.Step, stdout, stderr io.Writer) (int, error) {
	in, err := r.room(ctx, step)
	if err != nil {
		return 0, err
	}
	o := r.options
	o.Args = step.Command
	run, err := o.forEngine(in.image.config, r.s.Environ)
	if err != nil {
		return 0, err
	}
	run.Stdout, run.Stderr = stdout, stderr
	running, signals, stop := passSignals(ctx)
	run.Signals = signals
	code, err := in.programs.Run(running, run)
	stop()
	if err != nil {
		return 0, fmt.Errorf("running %s: %w", r.ref, err)
	}
	return code, nil
}

// Close ends what was opened.
func (r *artifactRunner) Close() error {
	var errs []error
	for _, in := range r.rooms {
		errs = append(errs, in.programs.Close())
	}
	return errors.Join(errs...)
}

func newCICheck(s *Session, system *string) *cobra.Command {
	var digest, record string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Checks that the checkout agrees with itself, and with what was tested",
		Long: `Check looks whether the lock answers the recipe, and whether all that the repository says
of its version of Python agrees with the recipe: all faults are told, at their lines.
With --digest or --record the digest that was tested must be the one that is published for
this checkout. Nothing is built, and Docker is not asked.

The result is the key of the checkout's artifact, and its reference if it is published.`,
		Example: `  ampoule ci check
  ampoule ci check --digest "$AMPOULE_DIGEST"
  ampoule ci check --record tested.json`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if digest != "" && record != "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--digest and --record both say what was tested: want one of them")}
			}
			return s.inCI(cmd.Context(), *system, nil, func(ci.System, *ci.Log) error {
				tested, err := ci.Tested(digest, record)
				if err != nil {
					return err
				}
				return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
					reg, err := w.Registry()
					if err != nil {
						return err
					}
					return CICheck(ctx, s, wiring.Publisher{Registry: reg, Store: w.Store}, tested, w.Reference)
				})
			})
		},
	}
	cmd.Flags().StringVar(&digest, "digest", "", "the digest that was tested, as sha256:… or NAME@sha256:…")
	cmd.Flags().StringVar(&record, "record", "", "the record of the tests, as ampoule ci run --record wrote it")
	return cmd
}

// CICheck checks the session's checkout. Tested is the digest that was tested; empty if that
// is not asked.
func CICheck(ctx context.Context, s *Session, f ci.Finder, tested string, reference func(name, digest string) string) error {
	in, err := s.readLocked()
	if in.recipe == nil {
		return err
	}
	var wrong recipes.Faults
	if !gather(&wrong, err) {
		return err
	}
	if len(wrong) > 0 {
		// What is said of Python is told in the same go.
		in.lock = nil
	}
	checked, err := ci.Check(ctx, in.request(builder.Request{}), s.Environ, f, tested)
	for _, fault := range checked.Told {
		s.tell("note: %s", fault)
	}
	if len(wrong) > 0 && gather(&wrong, err) {
		err = wrong
	}
	if err != nil {
		return err
	}
	result := struct {
		Key string `json:"key"`
		Ref string `json:"ref,omitempty"`
	}{Key: checked.Key}
	text := "key " + checked.Key
	if checked.Digest != "" {
		result.Ref = reference(checked.Name, checked.Digest)
		text += "\n" + result.Ref
	}
	return s.print(text, result)
}
