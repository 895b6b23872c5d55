package sandboxtest

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
)

// counted counts how often a layer is opened.
func counted(l sandbox.Layer, n *atomic.Int64) sandbox.Layer {
	open := l.Open
	l.Open = func(ctx context.Context) (io.ReadCloser, error) {
		n.Add(1)
		return open(ctx)
	}
	return l
}

// fresh is a layer that no engine has, with one file.
func fresh(t *testing.T, name, text string) sandbox.Layer {
	t.Helper()
	return TarLayer(t, []*tar.Header{{Name: name, Mode: 0o644}}, map[string]string{name: text})
}

func (s *suite) testLoad(t *testing.T) {
	var opened atomic.Int64
	lower := counted(ProgramLayer(t), &opened)
	again, err := s.Images.Load(t.Context(), Config(), lower)
	if err != nil || again != s.image {
		t.Errorf("loading again: got %s, %v, want %s", again, err, s.image)
	}
	if opened.Load() != 0 {
		t.Error("an image that is there was sent again")
	}
	other := Config()
	other.Labels = map[string]string{"purpose": "test"}
	id, err := s.Images.Load(t.Context(), other, lower)
	if err != nil || id == s.image {
		t.Errorf("loading with another configuration: got %s, %v", id, err)
	}
	if opened.Load() != 0 {
		t.Error("a layer that is there was sent again")
	}
}

func (s *suite) testLoadLayers(t *testing.T) {
	text := t.Name() + Unique()
	var opened atomic.Int64
	layers := []sandbox.Layer{
		counted(ProgramLayer(t), &opened),
		fresh(t, "srv/file", text),
		TarLayer(t, []*tar.Header{{Name: "etc/passwd", Mode: 0o600}, {Name: "bin/.wh.cat"}}, nil),
	}
	if _, err := s.Images.Load(t.Context(), Config(), layers...); err != nil {
		t.Fatal(err)
	}
	if opened.Load() != 0 {
		t.Error("the layer that is there was sent again")
	}
	whole := append(layers, ProgramLayer(t)) // The last one brings cat back.
	id, err := s.Images.Load(t.Context(), Config(), whole...)
	if err != nil {
		t.Fatal(err)
	}
	b := Start(t, s.Runner, sandbox.Spec{Image: id, Name: t.Name()})
	if got := Output(t, b, "cat", "/srv/file"); got != text {
		t.Errorf("a layer's file has %q", got)
	}
	got := map[string]bool{}
	for _, e := range exported(t, b, "/").Entries() {
		got[e.Path] = true
	}
	if !got["srv/file"] || !got["bin/cat"] || got["bin/.wh.cat"] {
		t.Errorf("the image holds %v", got)
	}
}

// mark is what a call's context carries.
type mark struct{}

func (s *suite) testLoadRefuses(t *testing.T) {
	good := ProgramLayer(t)
	lying := fresh(t, "file", "one")
	lying.Open = fresh(t, "file", "two"+Unique()).Open
	lying.DiffID = fresh(t, "file", "one"+Unique()).DiffID
	broken := fresh(t, "file", "broken"+Unique())
	unreadable := errors.New("the layer cannot be read")
	broken.Open = func(context.Context) (io.ReadCloser, error) { return nil, unreadable }
	for name, layers := range map[string][]sandbox.Layer{
		"no layer":          nil,
		"wrong content":     {good, lying},
		"wrong digest":      {{DiffID: "sha256:0", Open: good.Open}},
		"unreadable layer":  {good, broken},
		"digest upper case": {{DiffID: strings.ToUpper(good.DiffID), Open: good.Open}},
	} {
		if id, err := s.Images.Load(t.Context(), Config(), layers...); err == nil {
			t.Errorf("%s: loaded as %s", name, id)
		}
	}
	if _, err := s.Images.Load(t.Context(), Config(), good, broken); !errors.Is(err, unreadable) {
		t.Errorf("unreadable layer: got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("not wanted")
	cancel(cause)
	if _, err := s.Images.Load(ctx, Config(), good, fresh(t, "file", Unique())); !errors.Is(err, cause) {
		t.Errorf("cancelled: got %v, want the cause", err)
	}
	watched := fresh(t, "file", "watched"+Unique())
	open := watched.Open
	watched.Open = func(ctx context.Context) (io.ReadCloser, error) {
		if ctx.Value(mark{}) == nil {
			t.Error("a layer is opened with another context than that of the call")
		}
		return open(ctx)
	}
	if _, err := s.Images.Load(context.WithValue(t.Context(), mark{}, true), Config(), good, watched); err != nil {
		t.Errorf("a call with a context of its own: %v", err)
	}
	same, err := s.Images.Load(t.Context(), Config(), good)
	if diff := cmp.Diff(s.image, same); diff != "" || err != nil {
		t.Errorf("a good image afterwards: %v, %s", err, diff)
	}
}
