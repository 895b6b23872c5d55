package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func get(t *testing.T, r http.RoundTripper, path string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://any.invalid"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.RoundTrip(req)
	if err == nil {
		t.Cleanup(func() { _ = resp.Body.Close() })
	}
	return resp, err
}

// answers fails the test unless the registry answers.
func answers(t *testing.T, r *Registry) {
	t.Helper()
	resp, err := get(t, r, "/v2/")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the registry answers %v, %v", resp, err)
	}
}

func TestOneHoldsAndOthersAsk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := Open(dir), Open(dir)
	answers(t, first)
	answers(t, second)
	if _, ok := first.current.(*holder); !ok {
		t.Errorf("the first is %T, not the holder", first.current)
	}
	if _, ok := second.current.(*peer); !ok {
		t.Errorf("the second is %T, not a peer", second.current)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	answers(t, second)
	if _, ok := second.current.(*holder); !ok {
		t.Errorf("after the first ended the second is %T, not the holder", second.current)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := get(t, second, "/v2/"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close, the error is %v", err)
	}
}

// TestOpenTakesNoLock checks that a registry that is not asked keeps nobody out.
func TestOpenTakesNoLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := Open(dir).Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("files after opening and closing: %v", left)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := Open(dir)
	defer r.Close()
	answers(t, r)
	info, err := os.Stat(filepath.Join(dir, lockName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the lock's mode is %v (%v), want 0600", info.Mode(), err)
	}
	a, ok := readAddress(filepath.Join(dir, lockName))
	if !ok {
		t.Fatal("the lock has no address")
	}
	for _, secret := range []string{"", "wrong"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.Address+"/v2/", nil)
		req.Header.Set(admissionHeader, secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("with secret %q the answer is %s", secret, resp.Status)
		}
	}
}

// TestAnotherServerOnTheAddressIsNotBelieved has the lock's file lead to a server
// that got the port later, until the lock is free.
func TestAnotherServerOnTheAddressIsNotBelieved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := tryLock(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 100)
	stranger := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} })}
	go func() { _ = stranger.Serve(l) }()
	defer stranger.Close()
	if err := writeAddress(lock, address{Address: l.Addr().String(), Secret: "x"}); err != nil {
		t.Fatal(err)
	}
	r := Open(dir)
	defer r.Close()
	go func() {
		<-asked
		_ = lock.Close()
	}()
	resp, err := get(t, r, "/v2/nothing/manifests/x")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the answer is %v, %v, want 404 from the registry itself", resp, err)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := tryLock(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://any.invalid/v2/", nil)
	start := time.Now()
	if _, err := Open(dir).RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("error is %v after %v, want the context's", err, time.Since(start))
	}
}

// TestKilledHolderIsTakenOver kills a process that holds the lock and leaves an
// unfinished upload.
func TestKilledHolderIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHoldingProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), "HOLD_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "holding" {
	}
	r := Open(dir)
	defer r.Close()
	answers(t, r)
	if _, ok := r.current.(*peer); !ok {
		t.Errorf("while the other lives this is %T, not a peer", r.current)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	answers(t, r)
	if _, ok := r.current.(*holder); !ok {
		t.Errorf("after the other was killed this is %T, not the holder", r.current)
	}
	if _, err := os.Stat(filepath.Join(dir, rootName, "web", uploadsName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unfinished upload is left: %v", err)
	}
}

// TestHoldingProcess is the other process of TestKilledHolderIsTakenOver.
func TestHoldingProcess(t *testing.T) {
	dir := os.Getenv("HOLD_DIR")
	if dir == "" {
		return
	}
	r := Open(dir)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://any.invalid/v2/web/blobs/uploads/", nil)
	resp, err := r.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("starting an upload: %v, %v", resp, err)
	}
	_, _ = os.Stdout.WriteString("\nholding\n")
	time.Sleep(time.Minute)
}

func TestRefusalsAreInTheProtocolsForm(t *testing.T) {
	t.Parallel()
	r := Open(t.TempDir())
	defer r.Close()
	put := func(body string) (int, string) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://any.invalid/v2/web/manifests/key-1", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		resp, err := r.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, _ := io.ReadAll(resp.Body)
		var answer struct{ Errors []struct{ Code string } }
		if json.Unmarshal(raw, &answer) == nil && len(answer.Errors) > 0 {
			return resp.StatusCode, answer.Errors[0].Code
		}
		return resp.StatusCode, ""
	}
	if status, code := put(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`); status != http.StatusCreated {
		t.Fatalf("the first index is answered with %d %s", status, code)
	}
	if status, code := put(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"a":"b"}}`); status != http.StatusConflict || code != "DENIED" {
		t.Errorf("another index for the key is answered with %d %s", status, code)
	}
	if status, code := put(strings.Repeat(" ", maxManifest+1)); status != http.StatusBadRequest || code != "MANIFEST_INVALID" {
		t.Errorf("a manifest that is too large is answered with %d %s", status, code)
	}
}
