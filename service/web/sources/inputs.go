package sources

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"slices"

	"ampoule/recipes"
	"ampoule/service/submission"
	"ampoule/service/web"
)

// InputsOf reads of a submission what its lock lets into the build. Its files lie in a directory
// below temp until it returns.
func InputsOf(temp string) func(ctx context.Context, archive io.Reader) ([]web.Input, error) {
	return func(ctx context.Context, archive io.Reader) (_ []web.Input, err error) {
		dir, err := os.MkdirTemp(temp, "inputs-*")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		s, err := submission.Open(ctx, archive, dir, submission.Usual)
		if err != nil || s.Lock == nil {
			return nil, err
		}
		return inputs(s.Lock), nil
	}
}

// inputs lists what a lock has: CPython, what is installed, what that is built with, and packages.
func inputs(l *recipes.Lock) []web.Input {
	list := []web.Input{{Kind: "CPython", Name: l.Python.File, Version: l.Python.Version, SHA256: l.Python.SHA256}}
	installed := map[string]bool{}
	for _, id := range l.Requirements {
		installed[id] = true
	}
	for _, wanted := range []bool{true, false} {
		kind := "build requirement"
		if wanted {
			kind = "distribution"
		}
		for _, d := range l.Dists {
			if installed[d.ID()] == wanted {
				list = append(list, web.Input{Kind: kind, Name: d.Name, Version: d.Version, SHA256: d.SHA256})
			}
		}
	}
	for _, suite := range slices.Sorted(maps.Keys(l.Debian)) {
		for _, d := range l.Debian[suite] {
			list = append(list, web.Input{Kind: "Debian package of " + suite, Name: d.Name, Version: d.Version, SHA256: d.SHA256})
		}
	}
	return list
}
