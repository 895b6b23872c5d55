package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/tree"
)

// plain makes a layer of one file.
func plain(t *testing.T, name, file, content string) artifact.Layer {
	t.Helper()
	whole, err := tree.New([]tree.Entry{tree.FileEntry(file, 0o644, []byte(content))})
	if err != nil {
		t.Fatal(err)
	}
	var tar bytes.Buffer
	if err := whole.WriteTar(&tar, "", time.Unix(1577836800, 0)); err != nil {
		t.Fatal(err)
	}
	return artifact.Layer{
		Name: name, DiffID: fmt.Sprintf("sha256:%x", sha256.Sum256(tar.Bytes())),
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tar.Bytes())), nil },
	}
}

func built(t *testing.T) artifact.Artifact {
	t.Helper()
	const key = "sha256:93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640"
	return artifact.Artifact{
		Name: "web", Key: key, Platform: platform, Created: time.Unix(1577836800, 0),
		Base: []artifact.Layer{plain(t, "", "etc/os-release", "x\n")},
		Layers: []artifact.Layer{
			plain(t, "interpreter", "opt/ampoule/bin/python3", "interpreter\n"), plain(t, "metadata", "opt/ampoule/share/x", "metadata\n"),
		},
		Config: artifact.Config{
			Architecture: "amd64", Env: []string{"PATH=/opt/ampoule/bin"}, Entrypoint: []string{"/opt/ampoule/bin/python3"},
			Labels: map[string]string{artifact.LabelKey: key, artifact.LabelRecipe: "web"},
		},
		Verdict:    []byte(`{"passed":true}`),
		Wheelhouse: []artifact.File{artifact.BytesFile("x-1-py3-none-any.whl", artifact.WheelType, []byte("wheel"))},
		Debug:      []artifact.Layer{plain(t, "cpython-3.13.5", "usr/lib/debug/python", "dc\n"), plain(t, "x-1", "usr/lib/debug/x", "dx\n")},
	}
}

// TestPackedGolden fails when the form of what is published changes, referrers included.
func TestPackedGolden(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	packed, err := registry.Pack(t.Context(), layer.Packer{Dir: t.TempDir()}, built(t))
	if err != nil {
		t.Fatal(err)
	}
	done, err := r.Publish(t.Context(), packed)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"": done.Digest}
	referrers, err := r.Referrers(t.Context(), done.Ref, "")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, referrer := range referrers {
		got[referrer.ArtifactType] = referrer.Digest
		for _, f := range referrer.Files {
			files = append(files, f.Name)
		}
	}
	want := map[string]string{
		"": "sha256:f0ab709991f69a4de9e894decab28e18d47b316c222a64136a5939ed5c00cf9e",
		"application/vnd.ampoule.verdict.v1+json": "sha256:7a7c3522006206fcd193b8618ba6134732bc9922c40d5c25cd0b362a9d0f6f51",
		"application/vnd.ampoule.wheelhouse.v1":   "sha256:cbb259699e96c986ed15fab5b60385d3d7a1e6403b29c7bcdd4f98f6422374d5",
		"application/vnd.ampoule.debug.v1":        "sha256:1056cf4582acd92260ae3a19e13c623a7f1f56c2e2570eeae9e51c46bf17be30",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
	wantFiles := []string{"verdict.json", "x-1-py3-none-any.whl", "cpython-3.13.5.debug.tar.gz", "x-1.debug.tar.gz"}
	if diff := cmp.Diff(wantFiles, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	// All that belongs to a publication is there.
	if digest, found, err := r.FindKey(t.Context(), "web", packed.Key, artifact.PublishedBeside()); err != nil || !found || digest != done.Digest {
		t.Errorf("the key names %q, %t, %v", digest, found, err)
	}
}

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*artifact.Artifact){
		"another layer":             func(a *artifact.Artifact) { a.Layers[0].DiffID = a.Layers[1].DiffID },
		"other debug information":   func(a *artifact.Artifact) { a.Debug[0].DiffID = a.Debug[1].DiffID },
		"another architecture":      func(a *artifact.Artifact) { a.Config.Architecture = "arm64" },
		"another key":               func(a *artifact.Artifact) { a.Key = key("1") },
		"a label in another form":   func(a *artifact.Artifact) { a.Config.Labels[artifact.LabelTree] = "whatever" },
		"a key in another form":     func(a *artifact.Artifact) { a.Config.Labels[artifact.LabelKey] = "whatever" },
		"a platform without system": func(a *artifact.Artifact) { a.Platform = "amd64" },
	} {
		a := built(t)
		change(&a)
		packed, err := registry.Pack(t.Context(), layer.Packer{Dir: t.TempDir()}, a)
		if err == nil {
			_, err = store(t, t.TempDir()).Publish(t.Context(), packed)
		}
		if err == nil || !strings.Contains(err.Error(), "web") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What first-party code is of stands beside the artifact, and changes nothing of its digest.
func TestPackSource(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	digests := map[string]bool{}
	for _, source := range []string{"", `{"commit":"c"}`} {
		a := built(t)
		a.Source = []byte(source)
		packed, err := registry.Pack(t.Context(), layer.Packer{Dir: t.TempDir()}, a)
		if err != nil {
			t.Fatal(err)
		}
		into := r
		if source != "" {
			into = store(t, t.TempDir())
		}
		done, err := into.Publish(t.Context(), packed)
		if err != nil {
			t.Fatal(err)
		}
		digests[done.Digest] = true
		found, err := into.Referrers(t.Context(), done.Ref, artifact.SourceType)
		if err != nil || len(found) != min(1, len(source)) {
			t.Fatalf("%q: %+v, %v", source, found, err)
		}
		if source == "" {
			continue
		}
		content, err := into.OpenFile(t.Context(), found[0].Files[0])
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(content)
		if err := content.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || string(data) != source || found[0].Files[0].Name != artifact.SourceFile {
			t.Errorf("it is %+v with %q, %v", found[0], data, err)
		}
		if digest, ok, err := into.FindKey(t.Context(), "web", packed.Key, artifact.PublishedBeside()); err != nil || !ok || digest != done.Digest {
			t.Errorf("the key names %q, %t, %v", digest, ok, err)
		}
	}
	if len(digests) != 1 {
		t.Errorf("digests: %v", digests)
	}
}
