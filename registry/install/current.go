package install

import (
	"errors"
	"io/fs"
	"path/filepath"

	"ampoule/registry"
)

// Current returns the absolute path, without any link, of the current release below a root.
// The tree is not verified. A root without a release is a [*registry.NotFoundError]; what no
// installation made is an [*UnsafeError].
func Current(root string) (string, error) {
	s, err := lookAt(root)
	if err != nil {
		return "", hostError(reading, root, err)
	}
	release, err := s.current()
	_ = s.closeDirs()
	if errors.Is(err, fs.ErrNotExist) {
		return "", &registry.NotFoundError{What: "current release below " + root}
	}
	if err == nil {
		release, err = filepath.EvalSymlinks(s.shown(release))
	}
	if err == nil {
		release, err = filepath.Abs(release)
	}
	if err != nil {
		return "", hostError(reading, root, err)
	}
	return release, nil
}
