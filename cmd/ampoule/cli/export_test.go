package cli

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/internal/powerloss"
	"ampoule/system/systemtest"
)

// losses is how often the power goes while a file is written (make powerloss).
var losses = flag.Int("losses", 12, "how often the power goes while a file is written")

// exporting is an artifact that is exported over the file of another one.
type exporting struct {
	t        *testing.T
	session  *Session
	ref      string
	old, new []byte
}

// exportName is the file's name.
const exportName = "web.tar"

func newExporting(t *testing.T) *exporting {
	t.Helper()
	s, _, _ := session(t, goodRecipe)
	e := &exporting{t: t, session: s, ref: publishWhole(t, s, "sha256:"+sumA, 1)}
	other := publishWhole(t, s, otherKey, 2)
	for ref, into := range map[string]*[]byte{other: &e.old, e.ref: &e.new} {
		file := filepath.Join(t.TempDir(), exportName)
		if _, err := ampoule(t, s, "export", ref, "-o", file); err != nil {
			t.Fatal(err)
		}
		var err error
		if *into, err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// place puts the other artifact's file into a directory.
func (e *exporting) place(dir string) {
	e.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, exportName), e.old, 0o644); err != nil {
		e.t.Fatal(err)
	}
}

// process is another process that exports into a directory. What it leaves when it is killed goes with the test.
func (e *exporting) process(dir string) *exec.Cmd {
	cmd := exec.CommandContext(e.t.Context(), os.Args[0], "-test.run=^TestExportingProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), "EXPORT_STORE="+e.session.Store, "EXPORT_REF="+e.ref, "EXPORT_DIR="+dir, "TMPDIR="+e.t.TempDir())
	return cmd
}

// TestExportingProcess exports in a process of its own.
func TestExportingProcess(t *testing.T) {
	dir := os.Getenv("EXPORT_DIR")
	if dir == "" {
		return
	}
	_, _ = os.Stdout.WriteString("\nbegins\n")
	s := &Session{Store: os.Getenv("EXPORT_STORE")}
	if _, err := ampoule(t, s, "export", os.Getenv("EXPORT_REF"), "-o", filepath.Join(dir, exportName)); err != nil {
		t.Fatal(err)
	}
}

// endsWell wants the file to be one of both, the new one if done, and to be the new one, with nothing
// beside it, when it is exported again.
func (e *exporting) endsWell(dir string, done bool) error {
	file := filepath.Join(dir, exportName)
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if isNew := bytes.Equal(data, e.new); !isNew && (done || !bytes.Equal(data, e.old)) {
		return fmt.Errorf("the file has %d bytes, and is not what it was", len(data))
	}
	if _, err := ampoule(e.t, e.session, "export", e.ref, "-o", file); err != nil {
		return err
	}
	if data, err = os.ReadFile(file); err != nil || !bytes.Equal(data, e.new) {
		return fmt.Errorf("exported again it has %d bytes, %w", len(data), err)
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) != 1 {
		err = fmt.Errorf("left beside it: %v", entries)
	}
	return err
}

// The power goes while a file is written over another one.
func TestExportAndPowerLoss(t *testing.T) {
	t.Parallel()
	e := newExporting(t)
	dir := t.TempDir()
	e.place(dir)
	recording, err := powerloss.Record(t.Context(), dir, e.process(dir))
	if err != nil {
		t.Fatal(err)
	}
	for i := range *losses {
		moment, loss := (recording.Len()-1)*(i+1) / *losses, powerloss.Losses[i%len(powerloss.Losses)]
		disk := filepath.Join(t.TempDir(), "disk")
		if err := recording.Crash(moment, loss, uint64(i), disk); err != nil {
			t.Fatal(err)
		}
		if err := e.endsWell(disk, moment == recording.Len()-1); err != nil {
			t.Errorf("behind call %d of %d, %s is lost: %v", moment, recording.Len()-1, loss, err)
		}
	}
}

// Processes are killed while they write a file over another one.
func TestExportKilled(t *testing.T) {
	t.Parallel()
	e := newExporting(t)
	run := func(dir string, after time.Duration) time.Duration {
		cmd := e.process(dir)
		out, err := cmd.StdoutPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		killer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		if _, err := io.Copy(io.Discard, out); err != nil {
			t.Error(err)
		}
		killer.Stop()
		_ = cmd.Wait()
		return time.Since(begun)
	}
	took := run(t.TempDir(), time.Minute)
	for range 5 {
		dir := t.TempDir()
		e.place(dir)
		after := took/3 + rand.N(took*2/3) //nolint:gosec // any moment will do; it takes a while to start
		run(dir, after)
		if err := e.endsWell(dir, false); err != nil {
			t.Errorf("killed after %s, of %s when undisturbed: %v", after, took, err)
		}
	}
}

// The disk is full while a file is written over another one.
func TestExportOnFullDisk(t *testing.T) {
	t.Parallel()
	e := newExporting(t)
	dir := systemtest.Disk(t, fmt.Sprint(len(e.old)+len(e.new)/2))
	e.place(dir)
	file := filepath.Join(dir, exportName)
	_, err := ampoule(t, e.session, "export", e.ref, "-o", file)
	if !errors.Is(err, syscall.ENOSPC) || faults.Of(err) != faults.Machine || !strings.Contains(err.Error(), file) {
		t.Errorf("%v of kind %v", err, faults.Of(err))
	}
	if data, err := os.ReadFile(file); err != nil || !bytes.Equal(data, e.old) {
		t.Errorf("the file has %d bytes, %v", len(data), err)
	}
	systemtest.Resize(t, dir, "16m")
	if err := e.endsWell(dir, false); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
