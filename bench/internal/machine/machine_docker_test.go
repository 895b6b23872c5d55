//go:build docker

package machine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/bench/internal/drive"
)

// TestMachine makes a machine above this system, and another above that, as root.
func TestMachine(t *testing.T) {
	t.Parallel()
	host := Host{Mount: drive.Program{Path: "mount"}, Umount: drive.Program{Path: "umount"}, Unshare: drive.Program{Path: "unshare"}}
	// An overlay cannot lie in what it is made above: this is another file system than the root's.
	dir, err := os.MkdirTemp("/dev/shm", "ampoule-machine-") //nolint:usetesting // t.TempDir may be on the root's file system.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	shell := func(m *Machine, way Way, script string) string {
		t.Helper()
		out := ""
		err := m.With(t.Context(), func() error {
			run, err := m.Program(way, "/bin/sh").Run(t.Context(), "-c", script)
			out = run.Out
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	way := Way{Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SHOP=open"}}
	first := host.Over(filepath.Join(dir, "first"), "/")
	shell(first, way, "echo $SHOP > /srv/shop; rm /etc/hostname")
	if _, err := os.Stat("/srv/shop"); err == nil {
		t.Fatal("this system was changed")
	}
	way.User = "33:33"
	second := host.Over(filepath.Join(dir, "second"), first.Layer(), "/")
	got := shell(second, way, "cat /srv/shop; id -u; ls /etc/hostname 2>&1 | tail -c 10; grep -c : /proc/net/dev; echo $$; touch /srv/x 2>/dev/null || echo no")
	if want := "open\n33\ndirectory\n1\n1\nno"; got != want {
		t.Errorf("the second machine says %q, not %q", got, want)
	}
	if layer, err := os.ReadFile(filepath.Join(first.Layer(), "srv", "shop")); err != nil || strings.TrimSpace(string(layer)) != "open" {
		t.Errorf("the first machine's layer: %q, %v", layer, err)
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("interrupted"))
	defer cancel()
	err = second.With(ctx, func() error {
		_, err := second.Program(way, "/bin/sleep").Run(ctx, "1000")
		return err
	})
	if took := time.Since(begun); err == nil || took > 20*time.Second {
		t.Errorf("a program that is interrupted ended after %s: %v", took, err)
	}
	if second.Done("looked at") {
		t.Error("a step is done that nobody finished")
	}
	if err := second.Finish("looked at"); err != nil || !second.Done("looked at") {
		t.Errorf("a finished step: %v", err)
	}
	if err := second.Forget(); err != nil || second.Done("looked at") {
		t.Errorf("a forgotten machine: %v", err)
	}
}
