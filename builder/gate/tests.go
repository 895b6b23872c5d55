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

// test runs the recipe's commands, one after the other, in one sandbox: a later one may use
// what an earlier one made. One that takes too long has failed, and its sandbox is gone;
// those behind it run in the next.
func (r *round) test(ctx context.Context, commands []audit.Test) error {
	for len(commands) > 0 {
		done, err := r.runAll(ctx, commands)
		if err != nil {
			return err
		}
		commands = commands[done:]
	}
	return nil
}

// runAll runs commands in one sandbox, up to the first that takes too long, and counts them.
func (r *round) runAll(ctx context.Context, commands []audit.Test) (done int, err error) {
	sb, err := r.start(ctx)
	if err != nil {
		return 0, err
	}
	defer r.closing.Go(sb.Close)
	for i, test := range commands {
		report, late, err := r.run(ctx, sb, test)
		if err != nil {
			return 0, err
		}
		r.mu.Lock()
		r.result.Tests = append(r.result.Tests, report)
		r.mu.Unlock()
		if late {
			return i + 1, nil
		}
	}
	return len(commands), nil
}

// run runs one command, which is late if it took too long.
func (r *round) run(ctx context.Context, sb sandbox.Sandbox, test audit.Test) (report audit.TestReport, late bool, err error) {
	tooLong := fmt.Errorf("not done after %s", r.late())
	bounded, cancel := context.WithTimeoutCause(ctx, r.late(), tooLong)
	defer cancel()
	var out tail
	both := io.MultiWriter(&out, r.stage.Log)
	err = sb.Exec(bounded, sandbox.Step{
		Args: test.Args, Env: environ(path.Join("/", r.Place, "bin")), Dir: "/tmp",
		Stdout: both, Stderr: both, AtOnce: true,
	})
	report = audit.TestReport{Target: r.Name, Kind: test.Kind, Args: test.Args, Startup: r.startup}
	var exit *sandbox.ExitError
	switch {
	case errors.As(err, &exit):
		report.Code = exit.Code
	case errors.Is(err, tooLong):
		late, report.Code = true, lateCode
		fmt.Fprintf(both, "\n%v\n", tooLong)
	case err != nil:
		return report, false, err
	}
	report.Output = out.String()
	return report, late, nil
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
