package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/registry/embedded"
	"ampoule/wiring"
)

// stock is what a registry has.
type stock []embedded.Artifact

func (s stock) Artifacts(context.Context) ([]embedded.Artifact, error) { return s, nil }

func sum(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

func sampleStock(now time.Time) stock {
	return stock{
		{Name: "web", Digest: sum("1"), Python: "3.13.4", Bytes: 2 << 20, Published: now.Add(-73 * time.Hour), Whole: true},
		{Name: "team/api", Digest: sum("2"), Bytes: 1 << 10, Published: now.Add(-90 * time.Minute)},
		{Name: "web", Digest: sum("3"), Python: "3.13.5", Bytes: 3 << 20, Published: now.Add(-5 * time.Minute), Whole: true, Groups: []string{"lint", "test"}},
		{Name: "lost"},
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		of   string
		refs bool
		want string
	}{
		"all": {"", false, "" +
			"team/api  sha256:222222222222  -       1.0 KiB  1 h ago     (damaged)\n" +
			"web       sha256:333333333333  3.13.5  3.0 MiB  5 min ago   lint test\n" +
			"web       sha256:111111111111  3.13.4  2.0 MiB  3 days ago  \n"},
		"references": {"web", true, "web@" + sum("3") + "\nweb@" + sum("1") + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, out, _ := session(t, goodRecipe)
			if err := List(t.Context(), s, sampleStock(now), tt.of, tt.refs, now); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("list (-want +got):\n%s", diff)
			}
		})
	}
}

// A name alone is the newest artifact of that name, and which one it is is told.
func TestNewest(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]string{
		"web":      "web@" + sum("3") + " is the newest of 2 artifacts of that name\n",
		"team/api": "team/api@" + sum("2") + " is the only artifact of that name\n",
	} {
		s, _, errs := session(t, goodRecipe)
		ref, err := Newest(t.Context(), s, sampleStock(time.Now()), name)
		if want, _, _ := strings.Cut(told, " "); err != nil || ref != want || errs.String() != told {
			t.Errorf("%s, %v, told %q", ref, err, errs)
		}
	}
	s, _, _ := session(t, goodRecipe)
	if _, err := Newest(t.Context(), s, sampleStock(time.Now()), "api"); ExitCode(err) != codeNotFound {
		t.Errorf("%v", err)
	}
}

// What is published is completed wherever a verb takes it, and described by its name alone.
func TestPublishedIsCompleted(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	var ref string
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		ref = "web@" + publish(ctx, t, w, sampleTree(t))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) (string, string) {
		var out, errs bytes.Buffer
		if code := Main(&Session{Out: &out, Err: &errs}, args); code != codeDone {
			t.Errorf("%q ends with code %d: %s", args, code, errs.String())
		}
		return out.String(), errs.String()
	}
	for _, args := range [][]string{
		{"run"}, {"install"}, {"inspect"}, {"save"}, {"verify", "/opt/web"}, {"registry", "rm"}, {"registry", "hold", "x"}, {"registry", "unhold"},
	} {
		out, _ := call(append(append([]string{"__complete", "--store", s.Store}, args...), "w")...)
		if !strings.Contains(out, ref+"\tCPython ") {
			t.Errorf("%q is completed by %q", args, out)
		}
	}
	for _, args := range [][]string{{"run", ref}, {"inspect", "--registry", "registry.example"}} {
		if out, _ := call(append(append([]string{"__complete", "--store", s.Store}, args...), "w")...); strings.Contains(out, "sha256") {
			t.Errorf("%q is completed by %q", args, out)
		}
	}
	if out, _ := call("__complete", "--store", s.Store, "list", ""); !strings.HasPrefix(out, "web\n") {
		t.Errorf("names are completed by %q", out)
	}
	out, errs := call("inspect", "web", "--store", s.Store)
	if !strings.HasPrefix(out, ref+"\n") || !strings.Contains(errs, ref+" is the only artifact") {
		t.Errorf("inspecting tells %q, %q", out, errs)
	}
	if out, _ = call("list", "--store", s.Store); !strings.Contains(out, " 3.13.") || !strings.Contains(out, " now") {
		t.Errorf("listed: %q", out)
	}
}
