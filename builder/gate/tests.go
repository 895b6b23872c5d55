package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"ampoule/audit"
	"ampoule/builder/sandbox"
)

const (
	// maxOutput bounds what is kept of a command's output, in bytes.
	maxOutput = 8 << 10
	// lateCode is the exit code that a command is told with that takes too long, as timeout(1)
	// has it; earlyCode that of an import that ended its process.
	lateCode  = 124
	earlyCode = 125
)

// test runs a command of the recipe in a sandbox of its own. One that takes too long has
// failed.
func (r *round) test(ctx context.Context, test audit.Test) error {
	sb, err := r.start(ctx)
	if err != nil {
		return err
	}
	report, err := r.run(ctx, sb, test)
	if err := errors.Join(err, sb.Close()); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Tests = append(r.result.Tests, report)
	return nil
}

func (r *round) run(ctx context.Context, sb sandbox.Sandbox, test audit.Test) (audit.TestReport, error) {
	tooLong := fmt.Errorf("not done after %s", r.late())
	bounded, cancel := context.WithTimeoutCause(ctx, r.late(), tooLong)
	defer cancel()
	var out tail
	both := io.MultiWriter(&out, r.stage.Log)
	err := sb.Exec(bounded, sandbox.Step{
		Args: test.Args, Env: environ(path.Join("/", r.Place, "bin")), Dir: "/tmp",
		Stdout: both, Stderr: both,
	})
	report := audit.TestReport{Target: r.Name, Kind: test.Kind, Args: test.Args, Startup: r.startup}
	var exit *sandbox.ExitError
	switch {
	case errors.As(err, &exit):
		report.Code = exit.Code
	case errors.Is(err, tooLong):
		report.Code = lateCode
		fmt.Fprintf(both, "\n%v\n", tooLong)
	case err != nil:
		return audit.TestReport{}, err
	}
	report.Output = out.String()
	return report, nil
}

// tail keeps the end of what is written to it.
type tail struct{ data []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if len(t.data) > maxOutput {
		t.data = slices.Clone(t.data[len(t.data)-maxOutput:])
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.data) }
