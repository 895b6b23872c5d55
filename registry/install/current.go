package install

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"ampoule/registry"
	"ampoule/tree"
)

// Current returns the absolute path, without any link, of the current release below a root.
// The tree is not verified. A root without a release is a [*registry.NotFoundError]; what no
// installation made is an [*UnsafeError].
func Current(root string) (string, error) {
	release, _, err := currentOf(root, false)
	return release, err
}

// CurrentGrounds is as [Current], and gives what a policy decides about the release by: one that
// was installed without a policy has no evidence. That the release is the tree of its digest is
// for [Verify] to prove.
func CurrentGrounds(root string) (string, Grounds, error) { return currentOf(root, true) }

func currentOf(root string, withRecord bool) (_ string, kept Grounds, _ error) {
	s, err := lookAt(root)
	if err != nil {
		return "", kept, hostError(reading, root, err)
	}
	release, err := s.current()
	if err == nil && withRecord {
		kept, err = s.grounds(release)
	}
	_ = s.closeDirs()
	if errors.Is(err, fs.ErrNotExist) {
		return "", kept, &registry.NotFoundError{What: "current release below " + root}
	}
	if err == nil {
		release, err = filepath.EvalSymlinks(s.shown(release))
	}
	if err == nil {
		release, err = filepath.Abs(release)
	}
	if err != nil {
		return "", kept, hostError(reading, root, err)
	}
	return release, kept, nil
}

// grounds reads what a policy decides about a release by, and ties it to the release's digest.
func (s *site) grounds(release string) (Grounds, error) {
	r, err := s.readHead(path.Base(release))
	if err != nil {
		return Grounds{}, err
	}
	kept := Grounds{Digest: r.Digest, Tree: r.Tree}
	if !r.proves() || r.Grounds == nil {
		return kept, nil
	}
	kept.Name, kept.Evidence = r.Grounds.Name, r.Grounds.Evidence
	tree, err := r.follow(r.Digest, r.Platform, &checks{})
	if err == nil && tree != r.Tree {
		err = fmt.Errorf("its record has the tree %s, and its configuration %s", r.Tree, tree)
	}
	if err != nil {
		return Grounds{}, &VerificationError{What: r.Ref, Err: err}
	}
	return kept, nil
}

// AsArtifact gives a tree that was read from the directory of a release the modes that its files
// have in the artifact: on disk they are read-only. The release's record says which; a directory
// without one is no release, and its tree stays as it is.
func AsArtifact(dir string, t *tree.Tree) *tree.Tree {
	if r, ok := recordOf(dir); ok {
		return r.restored(r.Tree, t)
	}
	return t
}

// recordOf reads the record of the release that a directory is, or that a link leads to.
func recordOf(dir string) (record, bool) {
	dir, err := filepath.EvalSymlinks(dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil || filepath.Base(filepath.Dir(dir)) != releasesName || !releaseForm.MatchString(filepath.Base(dir)) {
		return record{}, false
	}
	s, err := lookAt(filepath.Dir(filepath.Dir(dir)))
	if err != nil {
		return record{}, false
	}
	defer func() { _ = s.closeDirs() }()
	r, err := s.readRecord(filepath.Base(dir))
	return r, err == nil
}
