package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"

	"ampoule/audit"
	"ampoule/builder/sandbox"
)

const (
	// maxOutput bounds what is kept of a test's output, in bytes.
	maxOutput = 8 << 10
	// lateCode is the exit code that a test is told with that takes too long, as timeout(1)
	// has it; earlyCode that of an import that ended the process.
	lateCode  = 124
	earlyCode = 125
)

// importScript imports a module and ends with the exit code that it was given: a module
// that ends the process while it is imported does not pass by that.
const importScript = `import importlib, site, sys
directory, name, code = sys.argv[1:]
if directory not in sys.path: sys.path.append(directory)
site.setquit(); site.setcopyright(); site.sethelper()
importlib.import_module(name)
sys.exit(int(code))`

// test runs one of the recipe's tests in a sandbox of its own. One that takes too long has
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
	args, passing := test.Args, 0
	if test.Kind == audit.KindImport {
		passing = passingCode()
		args = r.importCommand(test.Args[0], passing)
	}
	tooLong := fmt.Errorf("not done after %s", r.late())
	bounded, cancel := context.WithTimeoutCause(ctx, r.late(), tooLong)
	defer cancel()
	var out tail
	both := io.MultiWriter(&out, r.stage.Log)
	err := sb.Exec(bounded, sandbox.Step{
		Args: args, Env: environ(path.Join("/", r.Place, "bin")), Dir: "/tmp",
		Stdout: both, Stderr: both,
	})
	report := audit.TestReport{Target: r.Name, Kind: test.Kind, Args: test.Args, Startup: r.startup}
	var exit *sandbox.ExitError
	switch {
	case errors.As(err, &exit) && exit.Code != passing:
		report.Code = exit.Code
	case errors.As(err, &exit):
	case errors.Is(err, tooLong):
		report.Code = lateCode
		fmt.Fprintf(both, "\n%v\n", tooLong)
	case err != nil:
		return audit.TestReport{}, err
	case passing != 0:
		report.Code = earlyCode
		fmt.Fprintf(both, "\nimporting %s ended the process\n", test.Args[0])
	}
	report.Output = out.String()
	return report, nil
}

// passingCode draws the exit code of an import that passes, so that no module passes by
// ending the process with a code of its own. One that lies about itself can read it.
func passingCode() int {
	var b [1]byte
	_, _ = rand.Read(b[:]) // it never fails (package crypto/rand)
	return 64 + int(b[0])%50
}

// importCommand imports a module of the tree. Without startup code, package site is left
// out, and the directory of distributions is added by its name.
func (r *round) importCommand(module string, passing int) []string {
	args := []string{r.python(), "-I"}
	if !r.startup {
		args = append(args, "-S")
	}
	return append(args, "-c", importScript, r.site(), module, strconv.Itoa(passing))
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
