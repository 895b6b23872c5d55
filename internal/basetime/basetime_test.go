package basetime

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestOf(t *testing.T) {
	t.Parallel()
	at := Of(t)
	if again := Of(t); !again.Equal(at) || again.Nanosecond() != 0 {
		t.Errorf("%s, then %s", at, again)
	}
	if os.Getenv(Variable) == "" && (at.Before(first) || !at.Before(last)) {
		t.Errorf("%s is not between %s and %s", at, first, last)
	}
}

// TestRuns starts this test's program again: each run has a time of its own, but for one
// that is told which.
func TestRuns(t *testing.T) {
	t.Parallel()
	run := func(told string) string {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestOf$", "-test.v")
		cmd.Env = append(os.Environ(), Variable+"="+told)
		out, err := cmd.Output()
		_, line, ok := strings.Cut(string(out), "base time ")
		line, _, _ = strings.Cut(line, "\n")
		if err != nil || !ok {
			t.Fatalf("%v\n%s", err, out)
		}
		return line
	}
	if one, two, three := run(""), run(""), run(""); one == two && two == three {
		t.Errorf("three runs have one time: %s", one)
	}
	if got := run("86400"); !strings.HasPrefix(got, time.Unix(86400, 0).UTC().Format(time.RFC3339)) {
		t.Errorf("told 86400, it is %s", got)
	}
}
