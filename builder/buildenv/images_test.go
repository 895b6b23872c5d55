package buildenv

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"ampoule/builder/sandbox"
	"ampoule/recipes"
)

// imageOf stands for the image with some packages.
func imageOf(packages []string) sandbox.Image {
	return sandbox.Image{Layers: []sandbox.Layer{{DiffID: strings.Join(packages, " ")}}}
}

// Sdists with the same packages, their own or those of what they are built with, share one image.
func TestWheelImages(t *testing.T) {
	t.Parallel()
	dists := map[string]recipes.Dist{
		"numpy==2":      {Name: "numpy", Version: "2", Build: &recipes.BuildSet{Packages: []string{"libopenblas-dev", "gfortran"}}},
		"setuptools==1": {Name: "setuptools", Version: "1"},
	}
	var made atomic.Int64
	w := newWheelImages(func(id string) (recipes.Dist, bool) { d, ok := dists[id]; return d, ok },
		func(_ context.Context, packages []string) (sandbox.Image, error) {
			made.Add(1)
			return imageOf(packages), nil
		})
	scipy := recipes.Dist{Build: &recipes.BuildSet{Packages: []string{"gfortran"}, Dists: []string{"numpy==2", "setuptools==1", "lost==1"}}}
	for _, test := range []struct {
		sdist recipes.Dist
		want  string
	}{
		{dists["numpy==2"], "gfortran libopenblas-dev"},
		{scipy, "gfortran libopenblas-dev"},
		{dists["setuptools==1"], ""},
		{recipes.Dist{Build: &recipes.BuildSet{}}, ""},
	} {
		got, err := w.get(t.Context(), test.sdist)
		if err != nil || got.Layers[0].DiffID != test.want {
			t.Errorf("got %+v, %v, want %q", got, err, test.want)
		}
	}
	if made.Load() != 2 {
		t.Errorf("images were made %d times", made.Load())
	}
	if !slices.Equal(scipy.Build.Packages, []string{"gfortran"}) {
		t.Errorf("the sdist's packages are %q now", scipy.Build.Packages)
	}
}

// A caller who gives up while he makes an image is told so, and nobody else is: who waits
// for the image makes it, and who comes later has it.
func TestWheelImagesOutliveACaller(t *testing.T) {
	t.Parallel()
	making := make(chan struct{}, 3)
	w := newWheelImages(nil, func(ctx context.Context, packages []string) (sandbox.Image, error) {
		making <- struct{}{}
		if ctx.Value(givesUp{}) != nil {
			<-ctx.Done()
			return sandbox.Image{}, context.Cause(ctx)
		}
		return imageOf(packages), nil
	})
	sdist := recipes.Dist{Build: &recipes.BuildSet{Packages: []string{"gfortran"}}}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), givesUp{}, true))
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := w.get(ctx, sdist)
		first <- err
	}()
	<-making
	go func() {
		_, err := w.get(t.Context(), sdist)
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up is told %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("who waited is told %v", err)
	}
	if got, err := w.get(t.Context(), sdist); err != nil || got.Layers[0].DiffID != "gfortran" {
		t.Errorf("who comes later has %+v, %v", got, err)
	}
	if len(making) != 1 {
		t.Errorf("it was made %d times more", len(making))
	}
}

// givesUp marks the context of a caller who gives up.
type givesUp struct{}
