package docker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"ampoule/builder/sandbox"
)

// readSecrets has a step's command begin with variables that come before its input, a
// line each, up to an empty one. The engine keeps the arguments of a process, and its
// environment, for whoever asks. read takes no more than the line from a pipe (POSIX).
var readSecrets = []string{"/bin/sh", "-c", `while IFS= read -r v && [ -n "$v" ]; do export "$v"; done; exec "$@"`, "sh"}

// revealing returns a step whose secrets come before its input.
func revealing(step sandbox.Step) (sandbox.Step, error) {
	if len(step.Secrets) == 0 {
		return step, nil
	}
	if step.Terminal != nil {
		return step, errors.New("a step with a terminal has no secrets")
	}
	var lines bytes.Buffer
	for i, variable := range step.Secrets {
		if strings.Index(variable, "=") < 1 || strings.ContainsAny(variable, "\n\x00") {
			return step, fmt.Errorf("secret %d is not KEY=value in one line", i+1)
		}
		lines.WriteString(variable + "\n")
	}
	lines.WriteByte('\n')
	if step.Stdin == nil {
		step.Stdin = &lines
	} else {
		step.Stdin = io.MultiReader(&lines, step.Stdin)
	}
	return step, nil
}
