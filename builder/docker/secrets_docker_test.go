//go:build docker

package docker

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/sandboxtest"
)

// What whoever may ask the engine sees of a step is its arguments and its environment:
// the engine's account of the process, and the list of processes.
func TestSecretsAreNotInspected(t *testing.T) {
	t.Parallel()
	e, err := Open(t.Context(), Options{Locks: t.TempDir(), Store: "secrets-" + strings.ToLower(sandboxtest.Unique())})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	id, err := e.Load(t.Context(), sandboxtest.Config(), sandboxtest.ProgramLayer(t))
	if err != nil {
		t.Fatal(err)
	}
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: id, Name: t.Name()})
	seen := make(chan string, 1)
	step := sandboxtest.Probe("sleep")
	step.Env = append(step.Env, "OPEN=told-word")
	step.Secrets = []string{"HTTPS_PROXY=http://me:hidden-word@proxy.invalid"}
	step.Stdout = onWrite(func() { seen <- told(t, e, b.(*box).id) })
	go func() { _ = b.Exec(t.Context(), step) }() // It ends with its sandbox.
	got := <-seen
	if strings.Contains(got, "hidden-word") || !strings.Contains(got, "told-word") || !strings.Contains(got, "export") {
		t.Errorf("the engine tells %s", got)
	}
}

// onWrite is a writer that calls a function when it is written to.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// told is all that an engine says of the processes in a container.
func told(t *testing.T, e *Engine, id string) string {
	t.Helper()
	c, err := e.client.ContainerInspect(t.Context(), id)
	if err != nil {
		t.Error(err)
		return ""
	}
	top, err := e.client.ContainerTop(t.Context(), id, []string{"-eo", "pid,args"})
	if err != nil {
		t.Error(err)
	}
	var all strings.Builder
	for _, process := range top.Processes {
		all.WriteString(strings.Join(process, " ") + "\n")
	}
	for _, exec := range c.ExecIDs {
		// The client's own inspection leaves the arguments out.
		all.WriteString(get(t, e, "/exec/"+exec+"/json"))
	}
	return all.String()
}

// get asks the engine, wherever it listens.
func get(t *testing.T, e *Engine, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://docker"+path, http.NoBody)
	if err != nil {
		t.Error(err)
		return ""
	}
	answer, err := e.client.HTTPClient().Do(request)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}
