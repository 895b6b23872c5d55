package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// run calls the program in this process.
func run(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = Main(&Session{In: strings.NewReader(""), Out: &stdout, Err: &stderr}, append([]string{"--store", t.TempDir() + "/store"}, args...))
	return code, stdout.String(), stderr.String()
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		want string
	}{
		{"biuld", "error: unknown verb \"biuld\": did you mean build?\nhint: see ampoule --help\n"},
		{"tree hsah", "error: unknown verb \"hsah\": did you mean hash?\nhint: see ampoule tree --help\n"},
		{"tree xyzzy", "error: unknown verb \"xyzzy\"\nhint: see ampoule tree --help\n"},
		{"build --no-gate", "error: unknown flag: --no-gate\nhint: see ampoule build --help\n"},
		{"build extra", "hint: see ampoule build --help\n"},
		{"build --jobs=-1", "-1 is not a number of processors"},
		{"build --jobs=many", "many"},
		{"version --output xml", `"xml" is not a form of output: want text or json`},
		{"version --progress fancy", `"fancy" is not a form of progress: want one of auto, tty, plain, json`},
		{"install web@sha256:00", "--root is missing"},
		{"inspect", "accepts 1 arg(s), received 0"},
		{"inspect web@sha256:xyz", "hint: write NAME@sha256:HEX"},
		{"run", "want one reference"},
		{"run a b -- c", "want one reference"},
		{"lock flask", "names belong to --upgrade"},
		{"registry serve --registry elsewhere.example", "another registry than the store's own"},
		{"tree hash . --prefix ../up", "--prefix"},
		{"init sub -f x.yaml", "the same thing twice"},
		{"logs a b c", "accepts at most 2 arg(s)"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			code, out, errs := run(t, strings.Fields(tt.args)...)
			if code != codeUsage || out != "" || !strings.Contains(errs, tt.want) {
				t.Errorf("code %d, stdout %q, stderr %q; want code %d and %q", code, out, errs, codeUsage, tt.want)
			}
		})
	}
}

func TestNoVerbShowsHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"tree"}, {"store"}, {"registry"}} {
		code, out, errs := run(t, args...)
		if code != codeDone || !strings.Contains(out, "Available Commands:") || errs != "" {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, out, errs)
		}
	}
	if _, out, _ := run(t); !strings.Contains(out, exitHelp()) {
		t.Errorf("help lacks the exit codes: %s", out)
	}
}

// TestVerbsAreHelped checks that every verb says what it does, with an example of itself.
func TestVerbsAreHelped(t *testing.T) {
	t.Parallel()
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Long == "" {
			t.Errorf("%s has no short or long text", cmd.CommandPath())
		}
		if cmd.HasSubCommands() {
			for _, sub := range cmd.Commands() {
				visit(sub)
			}
			return
		}
		if !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%s has no example of itself: %q", cmd.CommandPath(), cmd.Example)
		}
	}
	visit(Root(&Session{}))
}
