package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"ampoule/builder/sandbox"
	"ampoule/store"
	"ampoule/tree"
)

// Changed returns the whole file system of a sandbox that was started with the files
// below, and that has tar, whose messages go to log. Only what became different is read. The tree's contents
// are readable until the returned closer is closed, and as long as below's are.
func Changed(ctx context.Context, st *store.Store, sb sandbox.Sandbox, below *tree.Tree, log io.Writer) (_ *tree.Tree, _ io.Closer, err error) {
	there, gone, err := sb.Changes(ctx)
	if err != nil {
		return nil, nil, err
	}
	t, closer, err := scratch(st, func(w io.Writer) error {
		return sb.Exec(ctx, sandbox.Step{
			Args: []string{"tar", "--create", "--file=-", "--directory=/", "--numeric-owner", "--no-recursion", "--null", "--files-from=-"},
			Env:  sandbox.Env(), Stdin: strings.NewReader(strings.Join(there, "\x00")), Stdout: w, Stderr: log,
		})
	})
	if err != nil {
		return nil, nil, fmt.Errorf("exporting what changed: %w", err)
	}
	isGone := map[string]bool{}
	for _, p := range gone {
		isGone[p] = true
	}
	whole, err := tree.Overlay(below.Select(func(e tree.Entry) bool {
		for p := e.Path; p != "."; p = path.Dir(p) {
			if isGone[p] {
				return false
			}
		}
		return true
	}), t)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("exporting what changed: %w", err), closer.Close())
	}
	return whole, closer, nil
}
