package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ampoule/builder/docker"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/registry"
	"ampoule/wiring"
)

// Puller reads images from a registry.
type Puller interface {
	Resolve(ctx context.Context, ref string) (registry.Description, error)
	OpenLayer(ctx context.Context, l registry.LayerInfo) (io.ReadCloser, error)
	Groups(ctx context.Context, ref string) ([]registry.Group, error)
}

// Engine holds and runs images.
type Engine interface {
	sandbox.Images
	Run(ctx context.Context, id sandbox.ID, o docker.RunOptions) (int, error)
}

func newRun(s *Session) *cobra.Command {
	var env, groups []string
	cmd := &cobra.Command{
		Use:   "run REF [-- ARG...]",
		Short: "Runs an artifact in Docker",
		Long: `Run loads an artifact from the registry into Docker, unless it is there, and runs
it with these streams and, on a terminal, with that terminal. Arguments take the
place of the image's command; its entry point, the artifact's Python, stays. The
exit code is the program's own.

With --group the artifact's dependency group of that name lies over it, as ampoule build
--group published it: the image is made for this run alone, and the artifact is
unchanged. Several groups lie over it together, unless two have different versions of a
distribution.`,
		Example: `  ampoule run web@sha256:… -- -c 'import flask; print(flask.__version__)'
  ampoule run web@sha256:… -- -m gunicorn --version
  ampoule run --group test web@sha256:… -- -m pytest -q`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash < 0 && len(args) != 1 || dash >= 0 && dash != 1 {
				return fmt.Errorf("want one reference, and the program's arguments behind --")
			}
			return nil
		}),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				reg, err := w.Registry()
				if err != nil {
					return err
				}
				engine, err := w.Engine(ctx)
				if err != nil {
					return err
				}
				release, err := w.Store.Use(ctx)
				if err != nil {
					return err
				}
				defer release()
				return Run(ctx, s, reg, engine, args[0], docker.RunOptions{Args: args[1:], Env: env}, groups...)
			})
		},
	}
	cmd.Flags().StringArrayVarP(&env, "env", "e", nil, "add KEY=VALUE to the program's environment")
	cmd.Flags().StringArrayVar(&groups, "group", nil, "lay this dependency group over the artifact: NAME, or NAME@sha256:… where several were published")
	return cmd
}

// Run loads an artifact, with dependency groups over it, and runs it with the session's
// streams. The error is a
// [*ChildError] when the program ended with another code than 0.
func Run(ctx context.Context, s *Session, p Puller, e Engine, ref string, o docker.RunOptions, groups ...string) error {
	id, err := watched(ctx, s, func(ctx context.Context) (sandbox.ID, error) { return s.load(ctx, p, e, ref, groups) })
	if err != nil {
		return err
	}
	o.Stdin, o.Stdout, o.Stderr = s.In, s.Out, s.Err
	restore, err := attachTerminal(s, &o)
	if err != nil {
		return err
	}
	code, err := e.Run(ctx, id, o)
	restore()
	if err != nil {
		return fmt.Errorf("running %s: %w", ref, err)
	}
	if code != 0 {
		return &ChildError{Code: code}
	}
	return nil
}

// load makes the artifact's image for this machine, with groups over it, available to the
// engine. What has groups over it has no name there, nor in any registry.
func (s *Session) load(ctx context.Context, p Puller, e Engine, ref string, groups []string) (id sandbox.ID, err error) {
	d, err := p.Resolve(ctx, ref)
	if err != nil {
		return "", err
	}
	// Sandboxes are Linux on this machine's kind of processor.
	platform := "linux/" + runtime.GOARCH
	image, err := d.Image(platform)
	if err != nil {
		return "", err
	}
	over, err := s.laidOver(ctx, p, d, image, groups)
	if err != nil {
		return "", err
	}
	task := progress.Start(ctx, progress.StageLoad, d.Name)
	defer func() { task.End(err) }()
	all := slices.Concat(image.Layers, over)
	layers := make([]sandbox.Layer, len(all))
	for i, l := range all {
		layers[i] = sandbox.Layer{DiffID: l.DiffID, Open: func(ctx context.Context) (io.ReadCloser, error) { return p.OpenLayer(ctx, l) }}
	}
	return e.Load(ctx, image.Config, layers...)
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
	signal.Notify(changed, syscall.SIGWINCH)
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
