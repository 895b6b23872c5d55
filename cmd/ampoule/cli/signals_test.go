package cli

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestInterruptible sends this process signals, so no other test runs beside it.
func TestInterruptible(t *testing.T) {
	exited := make(chan int, 1)
	ctx, stop := interruptible(context.Background(), func(code int) { exited <- code })
	defer stop()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the first signal did not end the context")
	}
	if got := ExitCode(interrupted(ctx, ctx.Err())); got != 130 {
		t.Errorf("exit code %d after the first signal, want 130", got)
	}
	if len(exited) != 0 {
		t.Error("the first signal ended the program")
	}
	if err := self.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-exited:
		if code != 130 {
			t.Errorf("exit code %d after the second signal, want 130", code)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the second signal did not end the program")
	}
}
