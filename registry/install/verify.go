package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"ampoule/registry"
)

// VerifyOptions says what the current release must be.
type VerifyOptions struct {
	// Ref is NAME@sha256:HEX, or the digest alone. Without it the release is compared
	// with the digest that "current" names, which must then be known from elsewhere.
	Ref string
	// Platform is OS/ARCH.
	Platform string
	// Release is the digest of the release to verify; empty is the current one.
	Release string
}

// Verified is what was compared.
type Verified struct {
	Installed
	// Checks are in the order in which they were made; the last one may not hold.
	Checks []Check
	// Drift says how the tree differs; nil where it does not, or where that is not known.
	Drift *Drift
}

// Verify proves that the tree of the current release below a root is the one of the
// digest that it is named by. It reads nothing but the root. The release's record
// holds the index, the manifest and the configuration as the registry gave them, and
// nothing of the record is trusted: the digest must be the hash of the index, which
// lists the manifest, which names the configuration, which names the hash of the tree
// that every file on disk is read for.
//
// What does not hold is a [*VerificationError], also for a release whose record lacks
// the documents; a root without a release is a [*registry.NotFoundError]; what the user
// may not read is an error of kind Machine; a root or releases that are links are an
// [*UnsafeError]. What was compared before that is returned with the error.
func Verify(ctx context.Context, root string, o VerifyOptions) (Verified, error) {
	want, err := wanted(o.Ref)
	if err != nil {
		return Verified{}, err
	}
	s, err := lookAt(root)
	if err != nil {
		return Verified{}, hostError(verifying, root, err)
	}
	defer func() { _ = s.closeDirs() }()
	v := verification{site: s, options: o, want: want}
	done, err := v.run(ctx)
	done.Checks, done.Warnings = v.checks.list, s.warnings()
	return done, hostError(verifying, root, err)
}

// wanted is the digest that the release must have; empty for any.
func wanted(ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	return registry.PinnedDigest(ref)
}

// verification is one look at a root.
type verification struct {
	site    *site
	options VerifyOptions
	want    string
	checks  checks
}

func (v *verification) run(ctx context.Context) (Verified, error) {
	s := v.site
	release, err := v.release()
	if errors.Is(err, fs.ErrNotExist) {
		what := "current release"
		if v.options.Release != "" {
			what = "release " + v.options.Release
		}
		return Verified{}, &registry.NotFoundError{What: what + " below " + s.root}
	}
	if err != nil {
		return Verified{}, v.refused(filepath.Join(s.root, currentName), err)
	}
	digest := strings.Replace(release, "-", ":", 1)
	done := Verified{Installed: Installed{Digest: digest, Platform: v.options.Platform, Release: s.shown(release)}}
	if v.want != "" {
		if v.checks.same("digest", digest, v.want); v.checks.err != nil {
			return done, &VerificationError{
				What: s.shown(release), Err: v.checks.err, Advice: "another release is the current one: install the one that is wanted",
			}
		}
	}
	r, err := s.readRecord(release)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("nothing says what it must be")
	}
	if errors.Is(err, fs.ErrPermission) {
		return done, err
	}
	if err != nil {
		return done, v.refused(s.shown(release), err)
	}
	done.Ref = r.Ref
	if !r.proves() {
		err := v.unproven(ctx, &done, r)
		return done, err
	}
	tree, err := r.follow(digest, v.options.Platform, &v.checks)
	if err != nil {
		return done, v.refused(s.shown(release+".json"), err)
	}
	err = v.tree(ctx, &done, r, tree)
	return done, err
}

// release is the name of the release to verify.
func (v *verification) release() (string, error) {
	if v.options.Release == "" {
		return v.site.current()
	}
	digest, err := registry.PinnedDigest(v.options.Release)
	if err != nil {
		return "", err
	}
	if _, err := v.site.releases.Lstat(releaseName(digest)); err != nil {
		return "", err
	}
	return releaseName(digest), nil
}

// tree compares the tree on disk with the hash that must be its.
func (v *verification) tree(ctx context.Context, done *Verified, r record, hash string) error {
	release := r.release()
	found, strangers, err := v.site.read(ctx, release)
	found = r.restored(hash, found)
	if ended := context.Cause(ctx); ended != nil {
		return ended
	}
	if errors.Is(err, fs.ErrPermission) {
		return err // nothing is known of the tree
	}
	if err != nil {
		return v.refused(done.Release, err)
	}
	done.TreeHash, done.Files = found.Hash(), found.Len()
	if v.checks.same("tree", found.Hash(), hash); v.checks.err != nil {
		r.Tree = hash
		err := v.refused(done.Release, v.checks.err)
		err.Files = r.differences(found)
		done.Drift = v.site.drift(r, found)
		return err
	}
	owners := "root, or whoever owns the root"
	if len(strangers) == 0 {
		v.checks.same("owner", owners, owners)
		return nil
	}
	v.checks.same("owner", "another user", owners)
	refused := v.refused(done.Release, v.checks.err)
	refused.Files = strangers
	return refused
}

// unproven says what is known of a release whose record lacks the documents.
func (v *verification) unproven(ctx context.Context, done *Verified, r record) error {
	if err := v.tree(ctx, done, r, r.Tree); err != nil {
		return err
	}
	return &VerificationError{
		What: done.Release,
		Err: errors.New("an earlier version of Ampoule installed it. Its tree has the hash that was written down then; " +
			"what ties that hash to the digest was not kept, so that nothing is proven"),
		Advice: fmt.Sprintf("ampoule install %s --root %s: it reads the tree again, fetches index, manifest and configuration, and keeps them", r.Ref, v.site.root),
	}
}

// refused makes the error of a release that can be installed again.
func (v *verification) refused(what string, err error) *VerificationError {
	advice := "install the same reference again: a damaged release is replaced"
	var unsafe *UnsafeError
	if errors.As(err, &unsafe) {
		advice = unsafe.Advice
		err = fmt.Errorf("%s %s", unsafe.Path, unsafe.Why)
	}
	return &VerificationError{What: what, Err: err, Advice: advice}
}
