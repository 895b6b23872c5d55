package cli

import (
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"ampoule/artifact"
	"ampoule/registry"
)

// hostile is an artifact whose publisher wrote what a terminal or a reader may obey.
type hostile struct{ text string }

func (h hostile) Resolve(context.Context, string) (registry.Description, error) {
	return registry.Description{Ref: "web@sha256:1", Images: []registry.ImageInfo{{
		Platform: h.text, Digest: "sha256:2",
		Config: artifact.Config{
			Entrypoint: []string{h.text}, Cmd: []string{h.text},
			Labels: map[string]string{artifact.LabelKey: h.text, artifact.LabelRecipe: h.text, artifact.LabelTree: h.text},
		},
		Layers: []registry.LayerInfo{{Name: h.text, Digest: "sha256:3"}},
	}}}, nil
}

func (h hostile) Referrers(context.Context, string, string) ([]registry.ReferrerInfo, error) {
	return []registry.ReferrerInfo{{Digest: "sha256:4", ArtifactType: h.text, Files: []registry.FileInfo{{Name: h.text, Digest: "sha256:5"}}}}, nil
}

func (h hostile) OpenFile(context.Context, registry.FileInfo) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("x")), nil
}

// TestInspectShowsNoForeignLines checks that each value stays in its line and its column.
func TestInspectShowsNoForeignLines(t *testing.T) {
	t.Parallel()
	show := func(text string) string {
		t.Helper()
		s, out, _ := session(t, goodRecipe)
		if err := Inspect(t.Context(), s, hostile{text}, "web@sha256:1"); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	honest := show("x")
	for _, text := range []string{"x\n  key\tsha256:forged", "x\r  key", "x\x1b[2Jy", "x\u202ey", "x\u2028y", "x\u0085y", "x\vy", "x\x00y"} {
		got := show(text)
		if strings.Count(got, "\n") != strings.Count(honest, "\n") || strings.ContainsAny(got, "\r\x1b\u202e\u2028\u0085\v\x00") {
			t.Errorf("%q is shown as\n%q", text, got)
		}
		for line := range strings.Lines(got) {
			if words := strings.Fields(line); len(words) > 1 && words[0] == "key" && !strings.HasPrefix(words[1], "x") {
				t.Errorf("%q makes the line %q", text, line)
			}
		}
	}
}

// labelled is an artifact with these labels.
type labelled struct {
	hostile
	labels map[string]string
}

func (l labelled) Resolve(context.Context, string) (registry.Description, error) {
	return registry.Description{Ref: "web@sha256:1", Images: []registry.ImageInfo{{Config: artifact.Config{Labels: l.labels}}}}, nil
}

// TestInspectShowsEachLabel checks that each label of the contract is shown, in both forms.
func TestInspectShowsEachLabel(t *testing.T) {
	t.Parallel()
	found := labelled{labels: map[string]string{}}
	for _, name := range artifact.LabelNames() {
		found.labels[name] = "value-of-" + name
	}
	for _, form := range []Output{Text, JSON} {
		s, out, _ := session(t, goodRecipe)
		s.Output = form
		if err := Inspect(t.Context(), s, found, "web@sha256:1"); err != nil {
			t.Fatal(err)
		}
		for name, value := range found.labels {
			want := regexp.MustCompile(`(?m)^  ` + strings.TrimPrefix(name, artifact.Namespace) + ` +` + value + `$`)
			if form == JSON {
				want = regexp.MustCompile(`"` + name + `": "` + value + `"`)
			}
			if !want.MatchString(out.String()) {
				t.Errorf("nothing says %s:\n%s", want, out)
			}
		}
	}
}

// TestSaveRefusesForeignNames checks that no file gets a name that a terminal may obey.
func TestSaveRefusesForeignNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../x", "a/b", ".", "", "a\nb", "a\x1b[2J", "a\u202eb", "/x"} {
		s, out, _ := session(t, goodRecipe)
		dir := t.TempDir()
		if err := Save(t.Context(), s, hostile{name}, "web@sha256:1", "verdict", dir); err == nil || out.Len() > 0 {
			t.Errorf("a file called %q: %v, told %q", name, err, out)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("a file called %q leaves %v", name, left)
		}
	}
}
