package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/docker/go-connections/nat"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ampoule/artifact"
	"ampoule/builder/docker"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/registry"
	"ampoule/system"
	"ampoule/wiring"
)

// Puller reads images from a registry.
type Puller interface {
	Resolve(ctx context.Context, ref string) (registry.Description, error)
	OpenLayer(ctx context.Context, l registry.LayerInfo) (io.ReadCloser, error)
	Grouped
}

// Engine holds and runs images.
type Engine interface {
	sandbox.Images
	Run(ctx context.Context, id sandbox.ID, o docker.RunOptions) (int, error)
	Hold(id sandbox.ID, o docker.RunOptions, keeper []string) docker.Held
}

func newRun(s *Session) *cobra.Command {
	var o RunOptions
	cmd := &cobra.Command{
		Use:   "run REF [-- ARG...]",
		Short: "Runs an artifact in Docker",
		Long: `Run loads an artifact from the registry into Docker, unless it is there, and runs
a program of it with these streams and, on a terminal, with that terminal. Behind
-- stand the program and its arguments; what begins with a dash are arguments of
the artifact's Python. Without any it runs the image's command.

Signals are passed to the program, and the exit code is the program's own. The
third SIGINT or SIGTERM stops it. The other flags mean what those of docker run
mean. Where config.toml names a policy, the artifact, and each group, must have what it
asks for.

With --group the artifact's dependency group of that name lies over it, as ampoule build
--group published it: the image is made for this run alone, and the artifact is
unchanged. Several groups lie over it together, unless two have different versions of a
distribution.`,
		Example: `  ampoule run web@sha256:… -- -c 'import flask; print(flask.__version__)'
  ampoule run -p 8000:8000 -v ./config:/config:ro web@sha256:… -- gunicorn -b 0.0.0.0 web:app
  ampoule run --group test web@sha256:… -- -m pytest -q`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash < 0 && len(args) != 1 || dash >= 0 && dash != 1 {
				return fmt.Errorf("want one reference, and the program's arguments behind --")
			}
			return nil
		}),
		ValidArgsFunction: s.completeRefs(0, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Args, o.SetEntrypoint = args[1:], cmd.Flags().Changed("entrypoint")
			// What is wrong with the flags is told before anything is fetched.
			if _, err := o.forEngine(artifact.Config{}, s.Environ); err != nil {
				return err
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				reg, ref, err := s.followed(ctx, w, args[0])
				if err != nil {
					return err
				}
				allowed, err := s.guarded(ctx, w, reg)
				if err != nil {
					return err
				}
				return withEngine(ctx, w, func(engine Engine) error { return Run(ctx, s, allowed, engine, ref, o) })
			})
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&o.Env, "env", "e", nil, "add KEY=VALUE to the program's environment; KEY alone takes the value from here")
	flags.StringArrayVarP(&o.Publish, "publish", "p", nil, "publish a port: [[ADDRESS:]PORT:]PORT[/PROTOCOL]")
	flags.StringArrayVarP(&o.Volumes, "volume", "v", nil, "mount a directory, a file or a volume: SOURCE:TARGET[:OPTIONS]")
	flags.StringVar(&o.Entrypoint, "entrypoint", "", "run this in the place of the image's entry point and command; empty takes them away")
	flags.StringVarP(&o.Workdir, "workdir", "w", "", "start the program in this directory")
	flags.StringVarP(&o.User, "user", "u", "", "run it as NAME|UID[:GROUP|GID]")
	flags.StringVar(&o.Network, "network", "", "connect it to this network of Docker's, or to none")
	flags.StringArrayVar(&o.Groups, "group", nil, "lay this dependency group over the artifact: NAME, or NAME@sha256:… where several were published")
	return cmd
}

// withEngine does work with an engine, whose images stay in the store meanwhile.
func withEngine(ctx context.Context, w *wiring.Parts, work func(Engine) error) error {
	engine, err := w.Engine(ctx)
	if err != nil {
		return err
	}
	release, err := w.Store.Use(ctx)
	if err != nil {
		return err
	}
	defer release()
	return work(engine)
}

// RunOptions says how an artifact is run: the flags of the verb.
type RunOptions struct {
	// Args are the program and its arguments; empty is the image's command.
	Args []string
	// Groups are dependency groups that are laid over the artifact.
	Groups []string
	// Env, Publish and Volumes are as they were given.
	Env, Publish, Volumes []string
	// Entrypoint takes the place of the image's if SetEntrypoint says so.
	Entrypoint    string
	SetEntrypoint bool
	// Workdir, User and Network are the image's and the engine's own if they are empty.
	Workdir, User, Network string
}

// starter is the program that images of artifacts start others with.
const starter = "ampoule-exec"

// forEngine turns flags into what the engine is told. Config is the image's.
func (o RunOptions) forEngine(config artifact.Config, environ []string) (docker.RunOptions, error) {
	e := docker.RunOptions{Args: o.Args, Ports: o.Publish, Dir: o.Workdir, User: o.User, Network: o.Network}
	if o.SetEntrypoint {
		e.Entrypoint = []string{o.Entrypoint}
	}
	// An image of before has Python itself as its entry point.
	if len(o.Args) > 0 && strings.HasPrefix(o.Args[0], "-") && !o.SetEntrypoint &&
		len(config.Entrypoint) > 0 && path.Base(config.Entrypoint[0]) == starter {
		e.Args = append([]string{"python3"}, o.Args...)
	}
	for _, v := range o.Env {
		if value, ok := valueOf(environ, v); ok {
			e.Env = append(e.Env, value)
		}
	}
	for _, v := range o.Volumes {
		bind, err := bindOf(v)
		if err != nil {
			return e, err
		}
		e.Volumes = append(e.Volumes, bind)
	}
	if _, _, err := nat.ParsePortSpecs(o.Publish); err != nil {
		return e, &UsageError{Verb: "ampoule run", Err: fmt.Errorf("--publish: %w", err)}
	}
	return e, nil
}

// valueOf completes KEY by its value in an environment. A variable that is not there is left
// out.
func valueOf(environ []string, v string) (string, bool) {
	if strings.Contains(v, "=") {
		return v, true
	}
	i := slices.IndexFunc(environ, func(e string) bool { return strings.HasPrefix(e, v+"=") })
	if i < 0 {
		return "", false
	}
	return environ[i], true
}

// bindOf makes the source of a mount absolute, if it is a path.
func bindOf(volume string) (string, error) {
	source, rest, ok := strings.Cut(volume, ":")
	if !ok || source == "" || !strings.HasPrefix(rest, "/") {
		return "", &UsageError{Verb: "ampoule run", Err: fmt.Errorf("--volume %s: want SOURCE:TARGET[:OPTIONS] with an absolute TARGET", volume)}
	}
	if !strings.HasPrefix(source, ".") && !strings.HasPrefix(source, "/") {
		return volume, nil
	}
	source, err := filepath.Abs(source)
	return source + ":" + rest, err
}

// Run loads an artifact, with dependency groups over it, and runs it with the session's
// streams. The error is a
// [*ChildError] when the program ended with another code than 0.
func Run(ctx context.Context, s *Session, p Puller, e Engine, ref string, o RunOptions) error {
	loaded, err := watched(ctx, s, func(ctx context.Context) (loadedImage, error) { return s.load(ctx, p, e, ref, o.Groups) })
	if err != nil {
		return err
	}
	run, err := o.forEngine(loaded.config, s.Environ)
	if err != nil {
		return err
	}
	run.Stdin, run.Stdout, run.Stderr = s.In, s.Out, s.Err
	s.answered = true
	restore, err := attachTerminal(s, &run)
	if err != nil {
		return err
	}
	running, signals, stop := passSignals(ctx)
	run.Signals = signals
	code, err := e.Run(running, loaded.id, run)
	stop()
	restore()
	if err != nil {
		return fmt.Errorf("running %s: %w", ref, err)
	}
	if code != 0 {
		return &ChildError{Code: code}
	}
	return nil
}

// maxStops is how many signals that ask a program to end are passed on before it is stopped.
const maxStops = 2

// passSignals hands the signals that people send to a program over, as long as one runs, and
// returns a context that one time too many of them ends.
func passSignals(parent context.Context) (ctx context.Context, passed <-chan os.Signal, stop func()) {
	base := parent
	if _, ok := parent.Value(interruptsKey{}).(*interrupts); ok && parent.Err() == nil {
		// Its end is what the signals mean otherwise.
		base = context.WithoutCancel(parent)
	}
	ctx, cancel := context.WithCancelCause(base)
	signals := make(chan os.Signal, 16)
	stops := 0
	restore := takeSignals(parent, func(s os.Signal) {
		stops++
		if stops > maxStops {
			cancel(&InterruptedError{Signal: s})
			return
		}
		signals <- s
	})
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGQUIT, system.SIGUSR1, system.SIGUSR2)
	return ctx, signals, func() {
		signal.Stop(signals)
		restore()
		cancel(nil)
	}
}

// loadedImage is an artifact's image that the engine has.
type loadedImage struct {
	id     sandbox.ID
	config artifact.Config
	// groups lie over the artifact.
	groups []registry.Group
}

// load makes the artifact's image for this machine, with groups over it, available to the
// engine. What has groups over it has no name there, nor in any registry.
func (s *Session) load(ctx context.Context, p Puller, e Engine, ref string, groups []string) (_ loadedImage, err error) {
	d, err := p.Resolve(ctx, ref)
	if err != nil {
		return loadedImage{}, err
	}
	// Sandboxes are Linux on this machine's kind of processor.
	platform := "linux/" + runtime.GOARCH
	image, err := d.Image(platform)
	if err != nil {
		return loadedImage{}, err
	}
	over, err := s.laidOver(ctx, p, d, image, groups)
	if err != nil {
		return loadedImage{}, err
	}
	task := progress.Start(ctx, progress.StageLoad, d.Name)
	defer func() { task.End(err) }()
	all := slices.Clone(image.Layers)
	for _, g := range over {
		all = append(all, g.Layers...)
	}
	layers := make([]sandbox.Layer, len(all))
	for i, l := range all {
		layers[i] = sandbox.Layer{DiffID: l.DiffID, Open: func(ctx context.Context) (io.ReadCloser, error) { return p.OpenLayer(ctx, l) }}
	}
	id, err := e.Load(ctx, image.Config, layers...)
	return loadedImage{id, image.Config, over}, err
}

// attachTerminal gives the program the session's terminal, if both of the session's
// streams are one. Restore gives it back.
func attachTerminal(s *Session, o *docker.RunOptions) (restore func(), err error) {
	in, out := terminalOf(s.In), terminalOf(s.Out)
	if in == nil || out == nil {
		return func() {}, nil
	}
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("preparing the terminal: %w", err)
	}
	sizes := make(chan sandbox.Size)
	stop := tellSizes(out, sizes)
	o.TTY, o.Sizes = true, sizes
	return func() {
		stop()
		// Nothing else can be done about a terminal that is gone.
		_ = term.Restore(int(in.Fd()), state)
	}, nil
}

// terminalOf returns the terminal that a stream is, or nil.
func terminalOf(stream any) *os.File {
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// tellSizes tells a terminal's size, now and whenever it changes, until stop.
func tellSizes(f *os.File, told chan<- sandbox.Size) (stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, system.SIGWINCH)
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
				select {
				case told <- sandbox.Size{Rows: uint(height), Columns: uint(width)}:
				case <-stopped:
					return
				}
			}
			select {
			case <-changed:
			case <-stopped:
				return
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(stopped)
		<-ended
	}
}
