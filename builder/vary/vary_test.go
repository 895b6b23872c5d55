package vary

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"ampoule/builder/sandbox"
)

// recorder is a runner and a sandbox that notes what reaches it.
type recorder struct {
	sandbox.Sandbox
	spec sandbox.Spec
	env  []string
	tar  bytes.Buffer
}

func (r *recorder) Start(_ context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	r.spec = spec
	return r, nil
}

func (r *recorder) Exec(_ context.Context, step sandbox.Step) error {
	r.env = step.Env
	return nil
}

func (r *recorder) Import(_ context.Context, _ string, stream io.Reader) error {
	_, err := r.tar.ReadFrom(stream)
	return err
}

// A step is told of another number of jobs than it was given, whatever that was.
func TestJobs(t *testing.T) {
	t.Parallel()
	rec := &recorder{}
	sb, err := Runner{rec, t.TempDir()}.Start(t.Context(), sandbox.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	step := sandbox.InParallel(8, func(n int) sandbox.Step {
		return sandbox.Step{Env: sandbox.Env(fmt.Sprintf("MAKEFLAGS=-j%d", n))}
	})
	for given, want := range map[int]string{1: "-j2", 2: "-j1", 3: "-j2", 8: "-j7"} {
		if err := sb.Exec(t.Context(), step.With(given)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(rec.env, " "); !strings.HasSuffix(got, " MAKEFLAGS="+want) || !strings.Contains(got, " TZ="+TimeZone) {
			t.Errorf("given %d: environment %s, want %s", given, got, want)
		}
	}
}

func TestRunner(t *testing.T) {
	t.Parallel()
	for profile, apart := range map[sandbox.Profile]bool{sandbox.Unprivileged: true, sandbox.InstallPackages: false} {
		rec := &recorder{}
		sb, err := Runner{rec, t.TempDir()}.Start(t.Context(), sandbox.Spec{Name: "x", Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		if rec.spec.Guise != (sandbox.Guise{Hostname: Hostname, Apart: apart}) || rec.spec.Name != "x" {
			t.Errorf("spec %+v", rec.spec)
		}
		env := sandbox.Env("A=TZ=1")
		if err := sb.Exec(t.Context(), sandbox.Step{Env: env}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(rec.env, " "); !strings.Contains(got, " LANG=POSIX LC_ALL=POSIX TZ=XYZ-11:45 ") || !strings.HasSuffix(got, " A=TZ=1") || strings.Contains(got, "UTC ") {
			t.Errorf("environment %s", got)
		}
		if w, ok := sb.(sandbox.Wrapper); !ok || w.Unwrap() != rec {
			t.Error("it does not say what it stands around")
		}
		if err := sb.Import(t.Context(), "/", bytes.NewReader(packed(t))); err != nil {
			t.Fatal(err)
		}
		if got, want := listed(t, &rec.tar), "d/ 1000, d/b 1000 b, d/a 1000 a, root 0 t, d/l 1000"; got != want {
			t.Errorf("imported %s, want %s", got, want)
		}
		if err := sb.Import(t.Context(), "/", strings.NewReader(strings.Repeat("no tar ", 100))); err == nil {
			t.Error("a damaged stream was taken")
		}
	}
}

func packed(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range []tar.Header{
		{Name: "root", Size: 1},
		{Name: "d/", Typeflag: tar.TypeDir, Uid: 1000, Gid: 1000},
		{Name: "d/a", Size: 1, Uid: 1000, Gid: 1000},
		{Name: "d/l", Typeflag: tar.TypeLink, Linkname: "d/a", Uid: 1000, Gid: 1000},
		{Name: "d/b", Size: 1, Uid: 1000, Gid: 1000},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			fmt.Fprint(tw, h.Name[len(h.Name)-1:][:1])
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	// Padding behind the end mark, as GNU tar writes it.
	return append(buf.Bytes(), make([]byte, 10240)...)
}

func listed(t *testing.T, stream io.Reader) string {
	t.Helper()
	var all []string
	tr := tar.NewReader(stream)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(all, ", ")
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %d %s", h.Name, h.Uid, data)))
	}
}
