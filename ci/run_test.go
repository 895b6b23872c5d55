package ci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/recipes"
)

func TestSteps(t *testing.T) {
	t.Parallel()
	test := recipes.Test{Imports: []string{"web"}, Commands: [][]string{{"web", "--version"}}}
	own := []Step{{Command: []string{"python3", "-c", "import web"}}, {Command: []string{"web", "--version"}}}
	for name, c := range map[string]struct {
		command, groups []string
		want            []Step
	}{
		"nothing":      {nil, nil, own},
		"a command":    {[]string{"pytest"}, nil, []Step{{Command: []string{"pytest"}}}},
		"with a group": {[]string{"pytest"}, []string{"test"}, append(own[:2:2], Step{[]string{"pytest"}, []string{"test"}})},
	} {
		if diff := cmp.Diff(c.want, Steps(test, c.command, c.groups)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// codes is a Runner whose commands end with codes, and print their own names.
type codes map[string]int

func (c codes) Ready(context.Context, Step) ([]Group, error) {
	return []Group{{"test", digest}}, nil
}

func (c codes) Run(_ context.Context, step Step, stdout, stderr io.Writer) (int, error) {
	io.WriteString(stdout, "out "+step.Command[0]+"\n")
	io.WriteString(stderr, "err "+step.Command[0]+"\n")
	code, ok := c[step.Command[0]]
	if !ok {
		return 0, errors.New("no engine")
	}
	return code, nil
}

func TestRun(t *testing.T) {
	t.Parallel()
	step := func(words ...string) Step { return Step{Command: words} }
	for name, c := range map[string]struct {
		steps []Step
		code  int
		ran   []string
		fails bool
	}{
		"passed":         {[]Step{step("good"), step("good")}, 0, []string{"good", "good"}, false},
		"the first code": {[]Step{step("good"), step("bad"), step("worse"), step("good")}, 1, []string{"good", "bad", "worse", "good"}, false},
		"a signal":       {[]Step{step("ended"), step("good")}, 143, []string{"ended"}, false},
		"no engine":      {[]Step{step("good"), step("none"), step("good")}, 0, []string{"good"}, true},
	} {
		var out, stdout bytes.Buffer
		l := NewLog(&out, newGitHub(Place{}), []string{"hunter22"}, func() time.Time { return at })
		all, err := Run(t.Context(), l, c.steps, codes{"good": 0, "bad": 1, "worse": 2, "ended": 143}, &stdout)
		l.Close()
		var ran []string
		for _, r := range all {
			ran = append(ran, r.Command[0])
		}
		if diff := cmp.Diff(c.ran, ran); diff != "" || (err != nil) != c.fails || (Record{Runs: all}).Failed() != c.code {
			t.Errorf("%s: %v, code %d (-want +got):\n%s", name, err, Record{Runs: all}.Failed(), diff)
		}
		if !strings.Contains(out.String(), "err good") && name != "a signal" || strings.Contains(out.String(), "out ") || !strings.Contains(stdout.String(), "out ") {
			t.Errorf("%s: log %s, stdout %s", name, &out, &stdout)
		}
	}
}

// A record has no secret, and says what was over the artifact.
func TestRanHasNoSecret(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := NewLog(&out, newGitHub(Place{}), []string{"hunter22"}, func() time.Time { return at })
	all, err := Run(t.Context(), l, []Step{{Command: []string{"good", "--token=hunter22"}}}, codes{"good": 0}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Ran{{Command: []string{"good", "--token=***"}, Groups: []Group{{"test", digest}}, Started: at.UTC()}}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(out.String(), "out good\nerr good\n") {
		t.Errorf("the log is not in order: %s", &out)
	}
}

// How long a command ran has nothing of what is made ready for it.
func TestTimeIsTheCommands(t *testing.T) {
	t.Parallel()
	c := &clock{now: at}
	l := NewLog(io.Discard, newGitHub(Place{}), nil, c.time)
	all, err := Run(t.Context(), l, []Step{{Command: []string{"one"}}, {Command: []string{"two"}}}, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range all {
		if r.Seconds != 2 || !r.Started.Equal(at.Add(time.Minute*time.Duration(i+1)).Add(2*time.Second*time.Duration(i)).UTC()) {
			t.Errorf("%s: %v seconds from %s", r.Command, r.Seconds, r.Started)
		}
	}
}

// clock is a Runner that takes a minute to be ready, and two seconds for a command.
type clock struct{ now time.Time }

func (c *clock) time() time.Time { return c.now }

func (c *clock) Ready(context.Context, Step) ([]Group, error) {
	c.now = c.now.Add(time.Minute)
	return nil, nil
}

func (c *clock) Run(context.Context, Step, io.Writer, io.Writer) (int, error) {
	c.now = c.now.Add(2 * time.Second)
	return 0, nil
}

// The process that stays is one of the artifact's own Python, without anything of the tree's
// startup.
func TestKeeper(t *testing.T) {
	t.Parallel()
	args := Keeper()
	want := []string{"/opt/ampoule/bin/python3", "-I", "-S", "-c", keepScript}
	if diff := cmp.Diff(want, args); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
