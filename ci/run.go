package ci

import (
	"context"
	_ "embed" // keep.py
	"io"
	"path"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/recipes"
)

// Step is a command that is run inside the artifact.
type Step struct {
	Command []string
	// Groups are dependency groups that lie over the artifact.
	Groups []string
}

// Steps lists what a step of a pipeline runs: the command that it was given, with groups over
// the artifact. The recipe's own tests are run without a command, and before one that has
// groups: a group could hide what the artifact lacks.
func Steps(test recipes.Test, command, groups []string) []Step {
	var steps []Step
	if len(command) == 0 || len(groups) > 0 {
		for _, module := range test.Imports {
			steps = append(steps, Step{Command: []string{"python3", "-c", "import " + module}})
		}
		for _, c := range test.Commands {
			steps = append(steps, Step{Command: c})
		}
	}
	if len(command) > 0 {
		steps = append(steps, Step{Command: command, Groups: groups})
	}
	return steps
}

// Runner runs commands inside an artifact.
type Runner interface {
	// Ready makes ready what a step runs in, and returns the digests of the groups that lie over
	// the artifact.
	Ready(ctx context.Context, step Step) ([]Group, error)
	// Run runs a step that is ready, and returns its exit code.
	Run(ctx context.Context, step Step, stdout, stderr io.Writer) (code int, err error)
}

// Group is a dependency group by its name and its digest.
type Group struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// Ran is a command that was run.
type Ran struct {
	Command []string  `json:"command"`
	Groups  []Group   `json:"groups,omitempty"`
	Started time.Time `json:"started"`
	// Seconds is how long it ran, Code its exit code.
	Seconds float64 `json:"seconds"`
	Code    int     `json:"code"`
}

// signalled is the exit code from which on a signal ended a program.
const signalled = 129

// Run runs steps one after another, each in a part of the log, the failed ones among them. One
// that a signal ended is the last. What programs print goes to the log, their stdout to
// stdout if that is not nil.
func Run(ctx context.Context, log *Log, steps []Step, r Runner, stdout io.Writer) ([]Ran, error) {
	if stdout == nil {
		stdout = log
	}
	var all []Ran
	for _, step := range steps {
		log.Begin(title(step))
		groups, err := r.Ready(ctx, step)
		if err != nil {
			return all, err
		}
		started := log.now()
		code, err := r.Run(ctx, step, stdout, log)
		if err != nil {
			return all, err
		}
		all = append(all, Ran{
			Command: maskAll(step.Command, log.secrets), Groups: groups, Started: started.UTC().Truncate(time.Second),
			Seconds: log.now().Sub(started).Round(time.Millisecond).Seconds(), Code: code,
		})
		log.End()
		if code >= signalled {
			break
		}
	}
	return all, nil
}

// title names a step in the log.
func title(step Step) string {
	text := strings.Join(step.Command, " ")
	if len(step.Groups) > 0 {
		text += " (with " + strings.Join(step.Groups, ", ") + ")"
	}
	return text
}

// maskAll hides secrets in the words of a command.
func maskAll(words, secrets []string) []string {
	shown := make([]string, len(words))
	for i, w := range words {
		shown[i] = mask(w, secrets)
	}
	return shown
}

//go:embed keep.py
var keepScript string

// Keeper is the command that stays in a container while the commands of several steps run there,
// one after another.
func Keeper() []string {
	return []string{path.Join("/", artifact.Prefix, "bin/python3"), "-I", "-S", "-c", keepScript}
}
