package install

import (
	"context"
	"errors"
)

// Activate makes a release that is installed below a root the current one, in one step. The
// release is compared with its record before: with Whole byte by byte.
//
// A digest that is not installed is a [*registry.NotFoundError]; a release that is not as its
// record says is a [*VerificationError]; whatever Allow and Before return is returned as it is. With any
// error the current release stays as it was.
func Activate(ctx context.Context, root, digest string, o SwitchOptions) (Switched, error) {
	return Switched{}, errors.ErrUnsupported
}

// Rollback is [Activate] of the release that was current before the current one; of a digest, if
// one is given. Called again, it goes back further. Where there is nothing to go back to, that is a
// [*registry.NotFoundError].
func Rollback(ctx context.Context, root, digest string, o SwitchOptions) (Switched, error) {
	return Switched{}, errors.ErrUnsupported
}

// List returns the releases below a root. It changes nothing, and needs no right to write.
func List(ctx context.Context, root string) (Listing, error) { return Listing{}, errors.ErrUnsupported }

// History returns the journal of a root, the oldest event first; no events where no journal is.
func History(root string) ([]Event, error) { return nil, errors.ErrUnsupported }

// Collect removes the releases that were used least lately, but for the last ones, the active
// one and those that a process uses, and then the content that no release needs.
func Collect(ctx context.Context, root string, o CollectOptions) (Collected, error) {
	return Collected{}, errors.ErrUnsupported
}

// Uninstall removes releases. The active one, and one that a process uses, is an
// [*InUseError], and then nothing is removed.
func Uninstall(ctx context.Context, root string, o UninstallOptions) (Collected, error) {
	return Collected{}, errors.ErrUnsupported
}
