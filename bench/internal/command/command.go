// Package command is the command line of measure.
package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/machine"
	"ampoule/bench/internal/recorded"
	"ampoule/bench/internal/table"
	"ampoule/bench/internal/trials"
)

// Main runs the program and returns its exit code: 0 if it could measure, whatever
// came out.
func Main(args []string, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := Root(out, errs)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(errs, "error:", err)
		return 1
	}
	return 0
}

// options are the flags that several commands have.
type options struct {
	ampoule, docs string
	trials.Trials
}

// Root makes the command line. Results go to out, what happens to errs.
func Root(out, errs io.Writer) *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "measure",
		Short: "Drives ampoule as a person would and records what that took",
		Long: `Measure drives the program ampoule as a person would and records what that took, in
docs/measured: each result as it ends, so that the same command goes on where one was cut short.`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return o.complete(errs) },
	}
	root.SetOut(out)
	root.SetErr(errs)
	flags := root.PersistentFlags()
	flags.StringVar(&o.ampoule, "ampoule", filepath.Join("bin", "ampoule"), "the program to measure")
	flags.StringVar(&o.docs, "docs", "docs", "the directory of the documentation")
	flags.StringVar(&o.Store, "store", "", "the store's directory (default: ampoule's own)")
	flags.IntVarP(&o.Jobs, "jobs", "j", 0, "how many processors a build may use (default: all)")
	flags.BoolVar(&o.Shared, "shared", false, "say that the machine has other work meanwhile: times are recorded as bounds")
	root.AddCommand(newCatalogue(o), newPackages(o), newOverrides(o), newReleases(o), newLoop(o), newBench(o, out), newCached(o, out), newGate(o, out), newSdists(o, out), newHosts(o, out), newKills(o), newChecks(o), newVerdicts(o), newAudits(o, out), newServices(o), newClients(o), newRegistry(o), newLoad(o, out), newConformance(o), newSuite(o), newPeers(o), newTable(o))
	return root
}

// complete makes the trials of the flags.
func (o *options) complete(errs io.Writer) error {
	path, err := filepath.Abs(o.ampoule)
	if err != nil {
		return err
	}
	o.Ampoule = drive.Program{Path: path, Show: errs}
	o.Python = drive.Program{Path: "python3"}
	o.Pip = drive.Program{Path: "python3", Args: []string{"-m", "pip"}}
	o.Docker = drive.Program{Path: "docker", Show: errs}
	o.Bootstrap = drive.Program{Path: "mmdebstrap"}
	o.Registry = drive.Program{Path: "docker-registry"}
	o.AptConfig = drive.Program{Path: "apt-config"}
	o.Shell = drive.Program{Path: "sh"}
	o.Host = machine.Host{Mount: drive.Program{Path: "mount"}, Umount: drive.Program{Path: "umount"}, Unshare: drive.Program{Path: "unshare"}}
	o.Results = filepath.Join(o.docs, "measured")
	o.Now = time.Now
	o.Say = func(format string, args ...any) {
		fmt.Fprintf(errs, "%s  %s\n", time.Now().UTC().Format(time.TimeOnly), fmt.Sprintf(format, args...))
	}
	return nil
}

// page writes docs/catalogue.md, which belongs to what is recorded also when
// measuring ended early.
func (o *options) page() error {
	text, err := table.Render(o.Results)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.docs, "catalogue.md"), []byte(text), 0o644)
}

func newCatalogue(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "catalogue [NAME...]",
		Short: "Builds the catalogue's recipes, all or those named",
		RunE: func(cmd *cobra.Command, args []string) error {
			return errors.Join(o.Catalogue(cmd.Context(), args), o.page())
		},
	}
	cmd.Flags().BoolVar(&o.Again, "again", false, "measure what is recorded already")
	return cmd
}

func newPackages(o *options) *cobra.Command {
	return newDistributions(o, &cobra.Command{
		Use:   "packages [NAME...]",
		Short: "Locks and builds what people install most, all or those named",
		RunE: func(cmd *cobra.Command, args []string) error {
			return errors.Join(o.Packages(cmd.Context(), args), o.page())
		},
	})
}

func newOverrides(o *options) *cobra.Command {
	return newDistributions(o, &cobra.Command{
		Use:   "overrides [NAME...]",
		Short: "Locks and builds the others for which an override ships, all or those named",
		RunE: func(cmd *cobra.Command, args []string) error {
			return errors.Join(o.Overrides(cmd.Context(), args), o.page())
		},
	})
}

func newReleases(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "releases [NAME...]",
		Short: "Compares overrides with what the last releases declare, all or those named",
		Long: `Releases compares what overrides add to build requirements, and the limits that they set,
with what the last releases of their distributions declare. It reads sdists and builds
nothing.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return errors.Join(o.Releases(cmd.Context(), args), o.page())
		},
	}
	cmd.Flags().BoolVar(&o.Again, "again", false, "compare what is recorded already")
	return cmd
}

func newDistributions(o *options, cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&o.Again, "again", false, "measure what is recorded already")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", time.Hour, "how long one package may take")
	return cmd
}

func newKills(o *options) *cobra.Command {
	var interpreter, stored int
	cmd := &cobra.Command{
		Use:   "kills",
		Short: "Kills builds of the quickstart recipe at random moments, and builds again",
		Long: `Kills builds the quickstart recipe in copies of the store, kills each build at a random
moment, builds again, and looks whether that gives the undisturbed digest and leaves
nothing behind. The store must have a name of its own: --store.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Store == "" {
				return errors.New("kills wants a store to copy: --store")
			}
			return errors.Join(o.Kills(cmd.Context(), trials.KillNames(interpreter, stored)), o.page())
		},
	}
	cmd.Flags().IntVar(&interpreter, "interpreter", 10, "how many while the interpreter compiles")
	cmd.Flags().IntVar(&stored, "stored", 90, "how many while the interpreter is there")
	cmd.Flags().BoolVar(&o.Again, "again", false, "repeat what is recorded already")
	return cmd
}

func newChecks(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checks [NAME...]",
		Short: "Builds the catalogue's recipes twice, all or those named, and compares",
		RunE: func(cmd *cobra.Command, args []string) error {
			return errors.Join(o.Checks(cmd.Context(), args), o.page())
		},
	}
	cmd.Flags().BoolVar(&o.Again, "again", false, "check what is recorded already")
	return cmd
}

func newVerdicts(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verdicts [NAME...]",
		Short: "Compares what audits say of environments with what works in them",
		Long: `Verdicts installs the environments of the corpus, all or those named (NAME/PYTHON, and
NAME/PYTHON/BREAKAGE for one that is broken behind it), each in a machine of its own: a directory
with Debian and interpreters. It imports and starts what is there, and audits it. It must be root.
Machines stay below --machines, with what was seen in them: with --again another program
is asked about the same machines, and nothing is installed or imported a second time.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.places(); err != nil {
				return err
			}
			return errors.Join(o.Verdicts(cmd.Context(), args), o.page())
		},
	}
	cmd.Flags().BoolVar(&o.Again, "again", false, "judge what is recorded already")
	o.machinesFlag(cmd)
	cmd.Flags().StringVar(&o.Pythons, "pythons", "", "the directory of the interpreters, each under its version (default: pyenv's)")
	cmd.Flags().StringVar(&o.UV, "uv", "", "install with this uv (an executable) instead of pip")
	return cmd
}

func (o *options) machinesFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.Machines, "machines", "", "the directory of the machines (default: ampoule-machines in the user's cache directory)")
}

// places fills in where machines and interpreters are.
func (o *options) places() error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	o.Machines = cmp.Or(o.Machines, filepath.Join(cache, "ampoule-machines"))
	o.Pythons = cmp.Or(o.Pythons, filepath.Join(home, ".pyenv", "versions"))
	o.Cache = filepath.Join(o.Machines, "pip")
	o.Machines, err = filepath.Abs(o.Machines)
	return err
}

func newAudits(o *options, out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "audits",
		Short: "Audits 1,000 wheels beside auditwheel",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			figures, err := o.Audits(cmd.Context())
			if err != nil {
				return err
			}
			for _, f := range figures {
				fmt.Fprintln(out, figure(f))
			}
			return o.page()
		},
	}
}

func newRegistry(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "registry",
		Short: "Pushes manifests into repositories of 1,000 to 100,000",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(o.Pushes(cmd.Context()), o.page())
		},
	}
}

func newLoad(o *options, out io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Loads the build service: submissions at once, followers of a log, and a key",
		Long: `Service loads ampoule serve over SQLite and over a PostgreSQL server that it starts: a thousand
identical submissions at once, five hundred followers of the log of the build that comes of them, and
the key, as often as it is answered. vegeta sends the requests; what it takes of the processors is told.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := o.Load(cmd.Context())
			for _, l := range all {
				fmt.Fprintln(out, table.Load(l))
			}
			return errors.Join(err, o.page())
		},
	}
	cmd.Flags().StringVar(&o.Vegeta.Path, "vegeta", "vegeta", "the program vegeta")
	return cmd
}

func newConformance(o *options) *cobra.Command {
	var program drive.Program
	var version string
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Runs the OCI conformance program against a served registry",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(o.Conformance(cmd.Context(), program, version), o.page())
		},
	}
	cmd.Flags().StringVar(&program.Path, "program", "conformance", "the conformance program")
	cmd.Flags().StringVar(&version, "version", "", "its version")
	return cmd
}

func newLoop(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "loop",
		Short: "Adds requirements to the web recipe",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(o.Loop(cmd.Context()), o.page())
		},
	}
}

func newServices(o *options) *cobra.Command {
	var count int
	cmd := &cobra.Command{
		Use:   "services",
		Short: "Changes what many services share, and builds all of them",
		Long: `Services writes services that extend one file, and locks and builds all: as they are, then
with another version of CPython, then with the libraries of Debian's security archive. A
store of their own (--store) has no interpreter at the beginning.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(o.Services(cmd.Context(), count), o.page())
		},
	}
	cmd.Flags().IntVar(&count, "count", trials.AllServices, "how many services")
	return cmd
}

func newSuite(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suite [MODE...]",
		Short: "Runs CPython's own tests over artifacts, and over the same source compiled as it comes",
		Long: `Suite lays CPython's own tests over the artifact of each link mode, all or those named, as a
dependency group, and runs them with every resource that needs no network. It runs them
over the same source compiled as it comes, too, in a container that differs in the interpreter
alone, and records each module as it ends. It must be root, and the store must have a name of
its own: --store.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Store == "" {
				return errors.New("suite wants a store that has CPython's source: --store")
			}
			if err := o.places(); err != nil {
				return err
			}
			return errors.Join(o.Suite(cmd.Context(), args), o.page())
		},
	}
	cmd.Flags().BoolVar(&o.Again, "again", false, "run what is recorded already")
	o.machinesFlag(cmd)
	return cmd
}

func newPeers(o *options) *cobra.Command {
	var only []string
	cmd := &cobra.Command{
		Use:   "peers [BENCHMARK...]",
		Short: "Compares optimised interpreters with Debian's and others, by pyperformance",
		Long: `Peers makes one Debian with several interpreters in it: Debian's own, the same source compiled
as pyenv does and optimised by hand, and those of Ampoule. They take turns with each benchmark,
all or those named, and each turn is recorded as it ends. What one of Ampoule's ran is run again
when another executable is built for it. The benchmark "starts" is none of
pyperformance: it starts each interpreter, and looks at its memory. It must be root, and the
store must have a name of its own: --store.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Store == "" {
				return errors.New("peers wants a store that has CPython's source: --store")
			}
			if err := o.places(); err != nil {
				return err
			}
			return errors.Join(o.Peers(cmd.Context(), args, only), o.page())
		},
	}
	cmd.Flags().StringArrayVar(&only, "only", nil, fmt.Sprintf("an interpreter that races with Debian's, of %q; repeatable (default: all)", trials.PeerNames()))
	cmd.Flags().IntVar(&o.Lanes, "lanes", 1, "how many benchmarks run at once, each on a processor of its own")
	cmd.Flags().BoolVar(&o.Together, "together", false, "run a benchmark by all interpreters at once, on one processor, and compare processor time: for machines whose speed changes")
	cmd.Flags().BoolVar(&o.Again, "again", false, "run what is recorded already")
	o.machinesFlag(cmd)
	return cmd
}

func newClients(o *options) *cobra.Command {
	var programs struct{ crane, oras, skopeo, cosign2, cosign3 string }
	cmd := &cobra.Command{
		Use:   "clients",
		Short: "Has programs of others read, copy and verify an artifact",
		Long: `Clients publishes an artifact of the quickstart recipe with a dependency group, signed, and has
programs of others do with it what they are for: in the store's registry, which ampoule registry
serve serves, and in Debian's docker-registry. The artifact is removed again. pip installs
what checks the bills of materials.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Programs = trials.Clients{
				Crane: drive.Program{Path: programs.crane}, Oras: drive.Program{Path: programs.oras}, Skopeo: drive.Program{Path: programs.skopeo},
				Cosign2: drive.Program{Path: programs.cosign2}, Cosign3: drive.Program{Path: programs.cosign3}, Python: drive.Program{Path: "python3"},
			}
			return errors.Join(o.Clients(cmd.Context()), o.page())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.Again, "again", false, "try what is recorded already")
	flags.StringVar(&programs.crane, "crane", "crane", "the program crane")
	flags.StringVar(&programs.oras, "oras", "oras", "the program oras")
	flags.StringVar(&programs.skopeo, "skopeo", "skopeo", "the program skopeo")
	flags.StringVar(&programs.cosign2, "cosign2", "cosign2", "the program cosign of version 2")
	flags.StringVar(&programs.cosign3, "cosign3", "cosign3", "the program cosign of version 3")
	return cmd
}

func newCached(o *options, out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "cached",
		Short: "Builds the web recipe from a filled cache, beside docker build from a registry",
		Long: `Cached fills a cache in a registry, and builds with an empty store and that cache. docker
build does the same with an image in the same registry (--cache-from). Debian's package
docker-registry is that registry.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := o.Cached(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(out, figure(f))
			return o.page()
		},
	}
}

func newBench(o *options, out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "bench",
		Short: "Builds the web recipe beside docker build",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			figures, err := o.Bench(cmd.Context())
			if err != nil {
				return err
			}
			for _, f := range figures {
				fmt.Fprintln(out, figure(f))
			}
			return o.page()
		},
	}
}

func newSdists(o *options, out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "sdists",
		Short: "Compiles the sdists of the web recipe, beside pip wheel",
		Long: `Sdists builds the web recipe in a copy of the store that has no wheels, and has pip compile the
same sdists one after the other, with the artifact's interpreter and the recipe's toolchain in a
container. The store must have a name of its own: --store.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Store == "" {
				return errors.New("sdists wants a store to copy (--store)")
			}
			f, err := o.Sdists(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(out, figure(f))
			return o.page()
		},
	}
}

func newHosts(o *options, out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "hosts [REF NEXT]",
		Short: "Installs an artifact and the next one beside tar and docker pull",
		Long: `Hosts installs an artifact of the store's registry below a root, then another one that shares most
of its layers, and goes back. Beside it tar unpacks the same layers, and docker pulls the same
artifact from the served registry. It drops the kernel's caches, so it wants root. Without references it
builds artifacts of about a hundred distributions, of which one changes, unless the store has them.`,
		Args: cobra.MatchAll(cobra.MaximumNArgs(2), func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return errors.New("want two references, or none")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			figures, err := o.Hosts(cmd.Context(), args...)
			if err != nil {
				return err
			}
			for _, f := range figures {
				fmt.Fprintln(out, figure(f))
			}
			return o.page()
		},
	}
}

func newGate(o *options, out io.Writer) *cobra.Command {
	var before string
	var times int
	cmd := &cobra.Command{
		Use:   "gate --before PROGRAM",
		Short: "Gates and publishes the quickstart recipe, beside another ampoule in the same run",
		Long: `Gate builds the quickstart recipe by two programs in turns, in copies of the store that remember
nothing of gates and publications, and compares what these took. The store must have a name
of its own: --store.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Store == "" || before == "" || times < 1 {
				return errors.New("gate wants a store to copy (--store), another program (--before), and at least one time (--times)")
			}
			path, err := filepath.Abs(before)
			if err != nil {
				return err
			}
			f, err := o.Gate(cmd.Context(), drive.Program{Path: path, Show: o.Ampoule.Show}, times)
			if err != nil {
				return err
			}
			fmt.Fprintln(out, figure(f))
			return o.page()
		},
	}
	cmd.Flags().StringVar(&before, "before", "", "the program to compare with")
	cmd.Flags().IntVar(&times, "times", 3, "how often each builds; the medians count")
	return cmd
}

// figure is a line about a figure.
func figure(f recorded.Figure) string {
	word := "holds"
	if !f.Holds() {
		word = "DOES NOT HOLD"
	}
	return fmt.Sprintf("%-14s %8s  limit %-8s %s  (%s)", f.Name, table.Value(f.Value, f.Unit), table.Value(f.Limit, f.Unit), word, f.Of)
}

func newTable(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "table",
		Short: "Writes docs/catalogue.md from what is recorded",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return o.page() },
	}
}
