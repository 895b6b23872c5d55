package agent

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ampoule/agent/program"
	"ampoule/registry/channel"
)

// hanging is a restart command that hangs, and writes down itself and what it has started in a session
// of its own.
const hanging = `setsid sh -c 'echo $$ > child; exec sleep 600' & while ! test -s child; do sleep 0.01; done; echo $$ > new; mv new self; exec sleep 600`

// TestHangingRestart follows a channel in a process of its own, until that is killed.
func TestHangingRestart(t *testing.T) {
	root := os.Getenv("AGENT_ROOT")
	if root == "" {
		return
	}
	w := newWorld(t)
	w.settings.Root, w.settings.Restart.Command = root, []string{"sh", "-c", "cd " + root + "; " + hanging}
	w.entry(channel.Promote, a)
	agent := w.agent()
	agent.run = func(ctx context.Context, c program.Command) error {
		if c.Args[0] == "sh" {
			return agent.runNoted(ctx, c)
		}
		return w.run(ctx, c)
	}
	t.Fatal(agent.Once(t.Context()))
}

// What a restart command was doing when the agent was killed is ended by the next one, with what left its
// group and its parents, before it is called again.
func TestKilledOverAProgram(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHangingRestart$", "-test.count=1")
	cmd.Env = append(os.Environ(), "AGENT_ROOT="+root)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := []int{pidIn(t, filepath.Join(root, "self")), pidIn(t, filepath.Join(root, "child"))}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err != nil {
			t.Fatalf("the program ended with the agent: %v", err)
		}
	}
	w := newWorld(t)
	w.settings.Root = root
	w.entry(channel.Promote, a)
	w.current = a
	w.installed[a] = true
	w.ok(a)
	for _, pid := range pids {
		ended(t, pid)
	}
	if told := strings.Join(w.told, "\n"); !strings.Contains(told, "was killed with all that it had started") {
		t.Errorf("nobody was told: %s", told)
	}
	if _, err := os.Stat(filepath.Join(root, dirName, programName)); !os.IsNotExist(err) {
		t.Errorf("the trace is left: %v", err)
	}
}

// pidIn waits for a file with the number of a process.
func pidIn(t *testing.T, file string) int {
	t.Helper()
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(file)
		if pid, bad := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && bad == nil {
			return pid
		}
	}
	t.Fatalf("%s was not written", file)
	return 0
}

// ended wants a process to be gone, or to be nobody's child any more.
func ended(t *testing.T, pid int) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		state, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		if time.Now().After(until) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Errorf("process %d is still there: %s", pid, state)
			return
		}
	}
}

// A trace that is damaged leads nowhere, and keeps nobody from working.
func TestDamagedTrace(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "no JSON": "{", "an empty mark": `{"mark": ""}`, "a short mark": `{"mark": "A"}`, "too large": strings.Repeat(" ", maxTrace+1),
	} {
		w := newWorld(t)
		w.entry(channel.Promote, a)
		w.ok(a)
		file := filepath.Join(w.settings.Root, dirName, programName)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.ok(a)
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%s: it is still there: %v", name, err)
		}
	}
}
