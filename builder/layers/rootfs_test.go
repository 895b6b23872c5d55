package layers

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/store"
	"ampoule/tree"
)

// layerOf makes a layer of files whose content is their layer's number, of
// directories (with a slash behind the name) and of links (NAME -> TARGET).
func layerOf(t *testing.T, number string, names ...string) sandbox.Layer {
	t.Helper()
	var headers []*tar.Header
	contents := map[string]string{}
	for _, name := range names {
		hdr := &tar.Header{Name: name, Mode: 0o755}
		if link, target, ok := strings.Cut(name, " -> "); ok {
			hdr.Name, hdr.Linkname, hdr.Typeflag = link, target, tar.TypeSymlink
		} else if !strings.HasSuffix(name, "/") {
			contents[name] = number
		}
		headers = append(headers, hdr)
	}
	return sandboxtest.TarLayer(t, headers, contents)
}

// listed lists files with their content and links with their target.
func listed(t *testing.T, tr *tree.Tree) []string {
	t.Helper()
	list := []string{}
	for _, e := range tr.Entries() {
		switch e.Kind {
		case tree.Dir:
			list = append(list, e.Path+"/")
		case tree.Symlink:
			list = append(list, e.Path+" -> "+e.Link)
		default:
			data, err := e.ReadAll()
			if err != nil {
				t.Error(err)
			}
			list = append(list, e.Path+" "+string(data))
		}
	}
	return list
}

func TestRootFS(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		layers [][]string
		want   []string
	}{
		"none":                 {nil, []string{}},
		"later files count":    {[][]string{{"a", "b"}, {"b", "c"}}, []string{"a 0", "b 1", "c 1"}},
		"whiteout of a file":   {[][]string{{"d/a", "d/ab"}, {"d/.wh.a"}}, []string{"d/", "d/ab 0"}},
		"of a directory":       {[][]string{{"d/a", "da"}, {".wh.d"}}, []string{"da 0"}},
		"of nothing":           {[][]string{{"a"}, {".wh.b"}}, []string{"a 0"}},
		"and the same again":   {[][]string{{"d/a"}, {".wh.d", "d/b"}}, []string{"d/", "d/b 1"}},
		"opaque directory":     {[][]string{{"d/a", "d/e/f", "da"}, {"d/.wh..wh..opq", "d/b"}}, []string{"d/", "d/b 1", "da 0"}},
		"opaque root":          {[][]string{{"a", "d/b"}, {".wh..wh..opq", "c"}}, []string{"c 1"}},
		"only what is below":   {[][]string{{"a"}, {"a", ".wh.a"}}, []string{"a 1"}},
		"file over directory":  {[][]string{{"d/a", "d/e/f", "da"}, {"d"}}, []string{"d 1", "da 0"}},
		"link over directory":  {[][]string{{"lib/a"}, {"lib -> usr/lib"}}, []string{"lib -> usr/lib"}},
		"directory over file":  {[][]string{{"d"}, {"d/a"}}, []string{"d/", "d/a 1"}},
		"directory kept":       {[][]string{{"d/a"}, {"d/"}}, []string{"d/", "d/a 0"}},
		"whiteout, then again": {[][]string{{"a"}, {".wh.a"}, {"a"}}, []string{"a 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var image sandbox.Image
			for i, names := range c.layers {
				image = image.With(layerOf(t, string(rune('0'+i)), names...))
			}
			got, closer, err := RootFS(t.Context(), openStore(t), image)
			if err != nil {
				t.Fatal(err)
			}
			defer closer.Close()
			if diff := cmp.Diff(c.want, listed(t, got)); diff != "" {
				t.Errorf("root (-want +got):\n%s", diff)
			}
			expectAsFake(t, image, got)
		})
	}
}

// expectAsFake compares with what a sandbox of the image has.
func expectAsFake(t *testing.T, image sandbox.Image, got *tree.Tree) {
	t.Helper()
	if len(image.Layers) == 0 {
		return
	}
	r := fake.New(nil)
	id, err := r.Load(t.Context(), sandboxtest.Config(), image.Layers...)
	if err != nil {
		return // The fake does not lay files over directories.
	}
	if _, err := r.Start(t.Context(), sandbox.Spec{Image: id}); err != nil {
		t.Fatal(err)
	}
	if want := r.Sandboxes()[0].Files(); want.Hash() != got.Hash() {
		t.Errorf("a sandbox has %q, not %q", listed(t, want), listed(t, got))
	}
}

func TestRootFSKeepsLayers(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	layer := layerOf(t, "0", "a")
	for range 2 {
		_, closer, err := RootFS(t.Context(), st, sandbox.Image{Layers: []sandbox.Layer{layer}})
		if err != nil {
			t.Fatal(err)
		}
		closer.Close()
		// The second time it is not asked for.
		layer.Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("asked for again") }
	}
	if !st.Has(strings.TrimPrefix(layer.DiffID, "sha256:")) {
		t.Error("the store does not have the layer")
	}
}

func TestRootFSRefuses(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	sound := layerOf(t, "0", "a")
	for name, layer := range map[string]sandbox.Layer{
		"absent": {DiffID: "sha256:" + strings.Repeat("1", 64), Open: func(context.Context) (io.ReadCloser, error) { return nil, gone }},
		"other":  {DiffID: "sha256:" + strings.Repeat("2", 64), Open: sound.Open},
	} {
		_, _, err := RootFS(t.Context(), openStore(t), sandbox.Image{Layers: []sandbox.Layer{sound, layer}})
		var mismatch *store.MismatchError
		if !errors.Is(err, gone) && !errors.As(err, &mismatch) {
			t.Errorf("a layer that is %s: %v", name, err)
		}
	}
}
