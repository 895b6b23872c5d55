package toolchain

import (
	"context"
	"io"
	"strings"
	"testing"

	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
)

// What a compiler prints stays whole: a specs file replaces all that it knows.
func TestSpecs(t *testing.T) {
	t.Parallel()
	const printed = "*asm:\n%{m32:--32}\n\n*cc1_options:\n%{pg:%{fomit}}  %1 %{!Q:-quiet}\n\n*link:\n--eh-frame-hdr\n\n"
	asked := 0
	s, _, _, image := newStage(t, func(_ context.Context, _ *fake.Sandbox, step sandbox.Step) error {
		asked++
		if got := strings.Join(step.Args, " "); got != "/usr/bin/gcc-12 -dumpspecs" {
			t.Errorf("ran %s", got)
		}
		_, err := io.WriteString(step.Stdout, printed)
		return err
	})
	for range 2 {
		layer, err := s.specs(t.Context(), image, []string{"gcc-12", "gcc-12-base", "make"})
		if err != nil {
			t.Fatal(err)
		}
		got, closer, err := layers.RootFS(t.Context(), s.store, sandbox.Image{Config: image.Config, Layers: []sandbox.Layer{*layer}})
		if err != nil {
			t.Fatal(err)
		}
		defer closer.Close()
		e, ok := got.Lookup("usr/lib/gcc/x86_64-linux-gnu/12/specs")
		if !ok {
			t.Fatal("there is no specs file")
		}
		text, err := e.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(printed, "-quiet}", "-quiet} -ffile-prefix-map=/ampoule-build=/usr/src/ampoule", 1)
		if string(text) != want {
			t.Errorf("specs: %q", text)
		}
	}
	if asked != 1 {
		t.Errorf("the compiler was asked %d times", asked)
	}
	if layer, err := s.specs(t.Context(), image, []string{"make"}); layer != nil || err != nil {
		t.Errorf("without a compiler: %v, %v", layer, err)
	}
}

func TestSpecsOfAnotherCompiler(t *testing.T) {
	t.Parallel()
	for _, printed := range []string{"", "*cc1:\n-x\n", "*cc1_options:\n\n*cc1:\n", "*cc1_options:\na\n\n*cc1_options:\nb\n"} {
		if got, err := withPrefixMap([]byte(printed)); err == nil {
			t.Errorf("%q: %q", printed, got)
		}
	}
}
