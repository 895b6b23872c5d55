package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"ampoule/audit"
	"ampoule/audit/survey"
	"ampoule/builder"
	"ampoule/tree"
	"ampoule/wiring"
)

// What images have here: an interpreter, as far as its name and its first bytes tell, and a
// wheel that is none.
const (
	pythonFile = "bin/python3.13"
	pythonText = "\x7fELF\x02\x01\x01"
	wheelFile  = "share/broken-1.0-py3-none-any.whl"
)

// imageLayer is an image's only layer.
func imageLayer(t *testing.T) []byte {
	t.Helper()
	return archive(t, inPrefix(pythonFile), pythonText, inPrefix(wheelFile), "no zip")
}

func inPrefix(file string) string { return strings.TrimPrefix(builder.Prefix, "/") + "/" + file }

// inLayout writes an image with that layer as an OCI layout (OCI image specification,
// image-layout.md), and returns its directory.
func inLayout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	type object = map[string]any
	write := func(file string, data []byte) {
		file = filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	encode := func(o object) []byte {
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	blob := func(mediaType string, data []byte) object {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		write("blobs/sha256/"+sum, data)
		return object{"mediaType": "application/vnd.oci.image." + mediaType, "digest": "sha256:" + sum, "size": len(data)}
	}
	layer := blob("layer.v1.tar", imageLayer(t))
	config := blob("config.v1+json", encode(object{
		"os": "linux", "architecture": runtime.GOARCH, "rootfs": object{"type": "layers", "diff_ids": []any{layer["digest"]}},
	}))
	manifest := blob("manifest.v1+json", encode(object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []object{layer},
	}))
	write("index.json", encode(object{"schemaVersion": 2, "manifests": []object{manifest}}))
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return dir
}

// inRegistry publishes an artifact in a registry on this machine, and returns its reference
// there.
func inRegistry(t *testing.T, s *Session) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	there := *s
	there.Registry = strings.TrimPrefix(server.URL, "http://") + "/team"
	return inStore(t, &there)
}

// inStore publishes an artifact with the same files in the session's registry, which is the
// store's own if it names none, and returns its reference.
func inStore(t *testing.T, s *Session) string {
	t.Helper()
	python := tree.FileEntry(pythonFile, 0o755, []byte(pythonText))
	python.Owner = "interpreter"
	sealed, err := tree.New([]tree.Entry{python, tree.FileEntry(wheelFile, 0o644, []byte("no zip"))})
	if err != nil {
		t.Fatal(err)
	}
	ref := ""
	if err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		ref = w.Reference("web", publish(ctx, t, w, sealed))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return ref
}

// audited runs an audit that refuses one wheel, and returns the report.
func audited(t *testing.T, s *Session, target string, o AuditOptions) survey.Report {
	t.Helper()
	out := &bytes.Buffer{}
	one := *s
	one.Out, one.Output, o.Root = out, JSON, "/"
	err := Audit(t.Context(), &one, target, o)
	if ExitCode(err) != codeRefused || !strings.Contains(err.Error(), "the audit refuses 1 of what is in it") {
		t.Fatalf("audit of %s: %v\n%s", target, err, out)
	}
	var r survey.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// An image is the same target, and has the same interpreter, wherever it is.
func TestAuditOfReferences(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	wheels := t.TempDir()
	if err := os.WriteFile(filepath.Join(wheels, filepath.Base(wheelFile)), []byte("no zip"), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, target := range map[string]string{
		"an OCI layout":            inLayout(t),
		"a file of docker save":    saved(t, imageLayer(t)),
		"a digest in a registry":   inRegistry(t, s),
		"an artifact in the store": inStore(t, s),
	} {
		t.Run(what, func(t *testing.T) {
			if r := audited(t, s, target, AuditOptions{}); r.Units[0].Path != "/"+inPrefix(wheelFile) || r.Target != target {
				t.Errorf("audited %s of %s", r.Units[0].Path, r.Target)
			}
			r := audited(t, s, wheels, AuditOptions{Against: target})
			if i := r.Units[0].Interpreter; i == nil || i.File != "/"+inPrefix(pythonFile) || i.Version != "3.13" {
				t.Errorf("against it: judged against %+v", i)
			}
		})
	}
	missing := "web@sha256:" + strings.Repeat("0", 64)
	for _, o := range []struct{ target, against string }{{missing, ""}, {wheels, missing}} {
		if err := Audit(t.Context(), s, o.target, AuditOptions{Root: "/", Against: o.against}); ExitCode(err) != codeNotFound {
			t.Errorf("audit of %s against %q: %v, code %d", o.target, o.against, err, ExitCode(err))
		}
	}
}

// What is undecided has a code of its own, after what is refused and what is not read, and
// the first thing that it needs is the hint.
func TestUndecided(t *testing.T) {
	t.Parallel()
	undecided := survey.Unit{Findings: []audit.Finding{{Severity: audit.Warn}, {Severity: audit.Undecided, Needs: "the interpreter: --against"}}}
	r := &survey.Report{Target: "/d", Outcome: survey.Undecided, Units: []survey.Unit{{}, undecided}, Unread: []survey.Unread{{Path: "/d/x", Why: "locked"}}}
	for o, want := range map[survey.Outcome]int{survey.Passed: codeDone, survey.Refused: codeRefused, survey.Incomplete: codeInput, survey.Undecided: codeUndecided} {
		if r.Outcome = o; ExitCode(outcome(r)) != want {
			t.Errorf("%s: code %d, want %d", o, ExitCode(outcome(r)), want)
		}
	}
	var told bytes.Buffer
	r.Outcome = survey.Undecided
	report(&told, outcome(r))
	if want := "error: /d: 1 of what is in it cannot be decided\nhint: it depends on the interpreter: --against\n"; told.String() != want {
		t.Errorf("told: %q, want %q", told.String(), want)
	}
}

// The verb asks for less memory, by what the process's owner gave it; its body asks nobody.
func TestAuditAsksForLessMemory(t *testing.T) {
	t.Parallel()
	asked := int64(0)
	s := &Session{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, LimitMemory: func(bytes int64) { asked += bytes }}
	if err := Audit(t.Context(), s, t.TempDir(), AuditOptions{Root: "/"}); err == nil || asked != 0 {
		t.Errorf("the body asked for %d bytes, %v", asked, err)
	}
	if code := Main(s, []string{"audit", t.TempDir()}); code != codeInput || asked != softMemory {
		t.Errorf("the verb asked for %d bytes, code %d", asked, code)
	}
}
