package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// fakeAmpoule writes its arguments to a file, a line for each call, and what a build hands on.
const fakeAmpoule = `#!/bin/sh
for arg; do printf '[%s]' "$arg" >>"$CALLS"; done
echo >>"$CALLS"
case "$*" in *"ci build"*) echo AMPOULE_REF=web@sha256:0 >"$WORKSPACE/ampoule.env" ;; esac
case "$*" in *"$FAILS"*) exit 9 ;; esac
`

// scripted runs scripts one after another with a fake ampoule, and returns the calls of that, the
// output, and the first error.
func scripted(t *testing.T, shell, fails string, environ []string, scripts ...string) (calls [][]string, out string, err error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ampoule"), []byte(fakeAmpoule), 0o755); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "calls")
	for _, script := range scripts {
		c := exec.CommandContext(t.Context(), shell, "-e", "-c", script)
		c.Dir = dir
		c.Env = append([]string{"PATH=" + dir + ":" + os.Getenv("PATH"), "CALLS=" + log, "WORKSPACE=" + dir, "FAILS=" + fails}, environ...)
		var data []byte
		data, err = c.CombinedOutput()
		out += string(data)
		if err != nil {
			break
		}
	}
	text, readErr := os.ReadFile(log)
	if readErr != nil {
		t.Fatalf("nothing was called: %v, %s", err, out)
	}
	for line := range strings.Lines(string(text)) {
		calls = append(calls, strings.Split(strings.Trim(line, "[]\n"), "]["))
	}
	return calls, out, err
}

// accepted wants the command line to take the arguments of calls.
func accepted(t *testing.T, calls [][]string) {
	t.Helper()
	for _, args := range calls {
		cmd, rest, err := Root(&Session{}).Find(args)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil || !cmd.Runnable() || cmd.HasSubCommands() {
			t.Errorf("ampoule %q: %v", args, err)
		}
	}
}

func readYAML(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func projectFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// githubScripts are the scripts of action.yml, and the names of their variables.
func githubScripts(t *testing.T) []string {
	var action struct {
		Inputs map[string]any
		Runs   struct {
			Steps []struct {
				Run, Shell string
				Env        map[string]string
			}
		}
	}
	readYAML(t, projectFile(t, "action.yml"), &action)
	var scripts []string
	for _, step := range action.Runs.Steps {
		if strings.Contains(step.Run, "${{") || step.Shell != "sh" {
			t.Errorf("an input is in the text of a script: %s", step.Run)
		}
		for name, value := range step.Env {
			input := strings.TrimSuffix(strings.TrimPrefix(value, "${{ inputs."), " }}")
			if _, ok := action.Inputs[input]; !ok || !strings.Contains(step.Run, "$"+name) {
				t.Errorf("%s: %s is no input, or is not used", name, value)
			}
		}
		scripts = append(scripts, step.Run)
	}
	return scripts
}

func gitlabScripts(t *testing.T) []string {
	head, jobs, _ := strings.Cut(string(projectFile(t, "templates/ampoule.yml")), "\n---\n")
	var spec struct {
		Spec struct{ Inputs map[string]any }
	}
	var job struct {
		Ampoule struct {
			Variables map[string]string
			Script    []string
		}
	}
	readYAML(t, []byte(head), &spec)
	readYAML(t, []byte(jobs), &job)
	for name, value := range job.Ampoule.Variables {
		input := strings.TrimSuffix(strings.TrimPrefix(value, "$[[ inputs."), " ]]")
		if _, ok := spec.Spec.Inputs[input]; !ok || !strings.Contains(strings.Join(job.Ampoule.Script, "\n"), "$"+name) {
			t.Errorf("%s: %s is no input, or is not used", name, value)
		}
	}
	// A job's script is one script.
	return []string{strings.Join(job.Ampoule.Script, "\n")}
}

func jenkinsScripts(t *testing.T) []string {
	var scripts []string
	for _, m := range regexp.MustCompile(`(?s)'''(.*?)'''`).FindAllStringSubmatch(string(projectFile(t, "vars/ampoule.groovy")), -1) {
		scripts = append(scripts, m[1])
	}
	return scripts
}

// TestReadyMade runs the scripts that ship for CI systems.
func TestReadyMade(t *testing.T) {
	t.Parallel()
	const file = "ampoule-junit.xml"
	environ := []string{"RECIPE=a b.yaml", "REGISTRY=registry.example/team", "WITH=test lint", "COMMAND=python3 -m pytest --junitxml=" + file + " *", "JUNIT=" + file, "RECORD=ampoule-tested.json"}
	alone := []string{"RECIPE=ampoule.yaml", "REGISTRY=", "WITH=", "COMMAND=", "JUNIT=", "RECORD=ampoule-tested.json"}
	plugin := func(environ []string) (all []string) {
		names := map[string]string{"WITH": "GROUPS"}
		for _, v := range environ {
			name, value, _ := strings.Cut(v, "=")
			if other := names[name]; other != "" {
				name = other
			}
			all = append(all, "BUILDKITE_PLUGIN_AMPOULE_"+name+"="+value)
		}
		return all
	}
	same := func(environ []string) []string { return environ }
	want := [][]string{
		{"-f", "a b.yaml", "ci", "check"},
		{"-f", "a b.yaml", "--registry", "registry.example/team", "ci", "build"},
		{"-f", "a b.yaml", "--registry", "registry.example/team", "ci", "run", "--record", "ampoule-tested.json", "--group", "test", "--group", "lint",
			"--junit", file, "--", "python3", "-m", "pytest", "--junitxml=" + file, "*"},
	}
	for name, c := range map[string]struct {
		shell   string
		scripts []string
		environ func([]string) []string
	}{
		"github":    {"sh", githubScripts(t), same},
		"gitlab":    {"bash", gitlabScripts(t), same},
		"jenkins":   {"sh", jenkinsScripts(t), same},
		"buildkite": {"sh", []string{string(projectFile(t, "integrations/buildkite/hooks/command"))}, plugin},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls, out, err := scripted(t, c.shell, "none", c.environ(environ), c.scripts...)
			if diff := cmp.Diff(want, calls); err != nil || diff != "" {
				t.Errorf("%v, %s (-want +got):\n%s", err, out, diff)
			}
			if name == "jenkins" && out != "web@sha256:0\n" {
				t.Errorf("the reference is %q", out)
			}
			accepted(t, calls)
			calls, out, err = scripted(t, c.shell, "none", c.environ(alone), c.scripts...)
			if err != nil || len(calls) != 3 || len(calls[2]) != 8 {
				t.Errorf("the recipe's tests: %v, %s, %q", err, out, calls)
			}
			accepted(t, calls)
			for i, fails := range []string{"ci check", "ci build", "ci run"} {
				calls, _, err := scripted(t, c.shell, fails, c.environ(environ), c.scripts...)
				if err == nil || len(calls) != i+1 {
					t.Errorf("%s fails: %v, %q", fails, err, calls)
				}
			}
		})
	}
}

// TestPreCommitHook wants the hook's entry to be a command.
func TestPreCommitHook(t *testing.T) {
	t.Parallel()
	var hooks []struct{ ID, Entry, Language string }
	readYAML(t, projectFile(t, ".pre-commit-hooks.yaml"), &hooks)
	if len(hooks) == 0 {
		t.Error("there are no hooks")
	}
	for _, h := range hooks {
		program, args, _ := strings.Cut(h.Entry, " ")
		if program != "ampoule" || h.Language != "system" {
			t.Errorf("%+v", h)
		}
		accepted(t, [][]string{strings.Fields(args)})
	}
}

// TestPipelineExamples runs what docs/ci.md shows.
func TestPipelineExamples(t *testing.T) {
	t.Parallel()
	_, rest, _ := strings.Cut(string(projectFile(t, "docs/ci.md")), "```sh\n")
	script, _, _ := strings.Cut(rest, "```")
	calls, out, err := scripted(t, "sh", "none", nil, script)
	if err != nil || len(calls) != 4 {
		t.Errorf("%v, %s: %q", err, out, calls)
	}
	accepted(t, calls)
}
