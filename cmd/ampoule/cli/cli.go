// Package cli is Ampoule's command line: a file for each verb, whose exported body
// does the verb's work on what it is handed. What verbs work with, package wiring opens.
//
// Stdout carries a verb's result and nothing else; progress and messages go to
// stderr. Every verb ends with a code of one table, see [ExitCode].
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/builder/progress"
	"ampoule/cmd/ampoule/display"
	"ampoule/recipes"
)

// Output is the form of a verb's result.
type Output string

// The forms of results.
const (
	Text Output = "text"
	JSON Output = "json"
)

// Session is one call of the program: its streams, and the flags that all verbs have.
type Session struct {
	In       io.Reader
	Out, Err io.Writer
	// Environ is the environment, as os.Environ has it.
	Environ []string
	// GOOS is the system that it runs on, as Go names it; empty is this program's.
	GOOS string
	// LimitMemory bounds the memory of the process, softly, in bytes; may be nil.
	LimitMemory func(bytes int64)

	// Recipe is the recipe's path.
	Recipe string
	// Store is the store's directory; empty is the user's own.
	Store string
	// Registry is HOST[:PORT][/PREFIX]; empty is the store's own registry.
	Registry string
	// Server is the address of a service that works in this machine's place; empty leaves that to
	// the environment and the configuration.
	Server string
	// Caches are repositories of caches, and CacheKey the file with the key to sign with; where they
	// are empty, the configuration says which.
	Caches   []string
	CacheKey string
	Output   Output
	Progress display.Mode

	// registryToken is what Registry knows the caller by, where it is a service's.
	registryToken string
	// signs says that what the call publishes is signed.
	signs    bool
	profiles profiles
	// answered says that stdout has what a reader of it waits for: a result, or a program's own.
	answered bool
	// feed is everything that the call tells, and followers how many displays show it.
	feed      *progress.Feed
	followers int
}

// Main runs the program for a session, whose flags the arguments set, and returns its exit
// code.
func Main(s *Session, args []string) int {
	ctx, stop := interruptible(context.Background(), os.Exit)
	defer stop()
	root := Root(s)
	completeReferences(root)
	root.SetArgs(loginMessage(root, args))
	err := interrupted(ctx, root.ExecuteContext(ctx))
	if ended := s.profiles.end(); err == nil {
		err = ended
	}
	if s.Output == "" {
		s.assumeForms(args)
	}
	s.fail(err)
	return ExitCode(err)
}

// Root makes the command line.
func Root(s *Session) *cobra.Command {
	var output, mode string
	root := &cobra.Command{
		Use:   "ampoule",
		Short: "Builds a Python and its wheels together and publishes the pair as one digest",
		Long: `Ampoule builds a CPython interpreter and the wheels that belong to it together,
in one sealed environment, and publishes the pair as one digest. Tests run that
digest, and production runs that digest, in a container or on a plain machine.

Stdout carries a verb's result and nothing else.

` + exitHelp(),
		Example: `  ampoule init
  ampoule lock
  ampoule build
  ampoule run web@sha256:… -- -c 'import flask'
  ampoule install web@sha256:… --root /opt/web`,
		Args:          usage(noVerb),
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.profiles.begin(); err != nil {
				return err
			}
			if err := s.setForms(cmd, output, mode); err != nil {
				return err
			}
			return s.checkVenue(cmd)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &UsageError{Verb: cmd.CommandPath(), Err: err} })
	flags := root.PersistentFlags()
	flags.StringVarP(&s.Recipe, "file", "f", "ampoule.yaml", "the recipe")
	flags.StringVar(&s.Store, "store", "", "the store's directory (default: $AMPOULE_STORE, or ampoule in the user's data directory)")
	flags.StringVar(&s.Registry, "registry", "", "the registry as HOST[:PORT][/PREFIX] (default: the service's, where one is named, else the store's own)")
	flags.StringVar(&s.Server, "server", "", "the address of a service that builds in this machine's place, or none (default: $AMPOULE_SERVER)")
	flags.StringVar(&output, "output", string(Text), "the result's form: text or json (audit: also junit or sarif)")
	flags.StringVar(&mode, "progress", string(display.Auto), "the form of progress: auto, tty, plain or json")
	flags.StringVar(&s.profiles.cpu, "cpuprofile", "", "write a profile of the processor's time to a file, for go tool pprof")
	flags.StringVar(&s.profiles.trace, "trace", "", "write a trace of the execution to a file, for go tool trace")
	root.AddCommand(newInit(s), newLock(s), newPGOProfile(s), newAdd(s), newRemove(s), newWhy(s), newOutdated(s), newPlan(s), newFetch(s), newBuild(s), newCI(s), newCache(s), newAudit(s), newExplain(s), newPreflight(s), newInspect(s), newDiff(s), newSBOM(s), newSave(s), newCopy(s), newExport(s), newInstall(s), newHost(s), newRun(s), newExec(s), newShell(s), newVerify(s), newSign(s), newKeys(s), newTrust(s), newChannel(s), newServe(s), newAdmin(s), newToken(s), newCancel(s), newRetry(s), newWhoAmI(s), newAgent(s), newDeployments(s), newList(s), newTree(s), newRegistry(s), newStore(s), newLogs(s), newVersion(s))
	completeFlags(root)
	return root
}

// setForms reads the flags that choose forms.
func (s *Session) setForms(cmd *cobra.Command, output, mode string) error {
	forms := []string{string(Text), string(JSON)}
	if cmd.Name() == "audit" {
		forms = append(forms, string(JUnit), string(SARIF))
	}
	if !slices.Contains(forms, output) {
		last := len(forms) - 1
		return &UsageError{Err: fmt.Errorf("%q is not a form of output: want %s or %s", output, strings.Join(forms[:last], ", "), forms[last])}
	}
	s.Output = Output(output)
	m, err := display.ParseMode(mode)
	if err != nil {
		return &UsageError{Err: err}
	}
	s.Progress = m
	if m == display.Auto && s.workplace().Term == "dumb" {
		s.Progress = display.Plain
	}
	return nil
}

// print writes a verb's result: the text as it is, or the value as JSON.
func (s *Session) print(text string, value any) error {
	s.answered = true
	if s.Output == JSON {
		if err := writeJSON(s.Out, value, "  "); err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
		return nil
	}
	if _, err := io.WriteString(s.Out, strings.TrimSuffix(text, "\n")+"\n"); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// watched does work whose events are shown. When it returns, nothing is shown any more.
func watched[T any](ctx context.Context, s *Session, work func(context.Context) (T, error)) (T, error) {
	d := display.New(s.Err, s.Progress)
	defer d.Close()
	defer s.follow(d)()
	return work(progress.With(ctx, s.events()))
}

// lockPath is the path of a recipe's lock: beside it, ampoule.lock for ampoule.yaml.
func lockPath(recipe string) string {
	return recipes.LockPath(recipe)
}

// usage makes what is wrong with a verb's arguments a [UsageError].
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &UsageError{Verb: cmd.CommandPath(), Err: err}
		}
		return nil
	}
}

// noVerb refuses arguments of a command that only has verbs below it.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown verb %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown verb %q", args[0])
}

// completeFlags makes the shell complete the flags that have few values.
func completeFlags(root *cobra.Command) {
	modes := make([]string, 0, len(display.Modes()))
	for _, m := range display.Modes() {
		modes = append(modes, string(m))
	}
	for flag, complete := range map[string]cobra.CompletionFunc{
		"output":   cobra.FixedCompletions([]string{string(Text), string(JSON), string(JUnit), string(SARIF)}, cobra.ShellCompDirectiveNoFileComp),
		"progress": cobra.FixedCompletions(modes, cobra.ShellCompDirectiveNoFileComp),
		"registry": cobra.NoFileCompletions,
		"server":   cobra.NoFileCompletions,
		"file":     cobra.FixedCompletions([]string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt),
		"store":    cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
	} {
		if err := root.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic("cli: " + err.Error())
		}
	}
}
