package docker

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/docker/docker/api/types/container"
)

// Changes implements [sandbox.Sandbox].
func (b *box) Changes(ctx context.Context) (there, gone []string, err error) {
	changes, err := b.engine.client.ContainerDiff(ctx, b.id)
	if err != nil {
		return nil, nil, fmt.Errorf("listing changes in %s: %w", b.name, b.explain(ctx, err))
	}
	there, gone = sortChanges(changes)
	return there, gone, nil
}

// sortChanges tells what is there from what is gone. Of a directory that was removed and
// made anew, some storage drivers tell that it is gone, and what is in it.
func sortChanges(changes []container.FilesystemChange) (there, gone []string) {
	paths := map[string]bool{}
	for _, c := range changes {
		p := path.Clean("/" + c.Path)
		if isEngines(p) {
			continue
		}
		if c.Kind == container.ChangeDelete {
			gone = append(gone, p[1:])
			continue
		}
		for ; p != "/"; p = path.Dir(p) {
			paths[p[1:]] = true
		}
	}
	slices.Sort(gone)
	return slices.Sorted(maps.Keys(paths)), gone
}

// isEngines reports whether an absolute path is, or is below, what the engine made.
func isEngines(p string) bool {
	for ; p != "/"; p = path.Dir(p) {
		if engineFiles[p] {
			return true
		}
	}
	return false
}
