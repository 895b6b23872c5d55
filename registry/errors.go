package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"ampoule/address"
	"ampoule/faults"
	"ampoule/registry/layer"
)

// ErrDigest is wrapped by errors about content that is not what its digest says.
var ErrDigest = faults.New(faults.Refused, "", "content is not what its digest says")

// isWrong tells content that is wrong from a registry that failed.
func isWrong(err error) bool { return errors.Is(err, ErrDigest) || errors.Is(err, layer.ErrDiffID) }

// wrongReference says that a reference cannot be read; why completes the sentence "the
// reference …".
func wrongReference(ref, why string) error {
	return faults.New(faults.Usage, "write NAME@sha256:HEX for the store's own registry, or HOST/NAME@sha256:HEX",
		"reference %q: %s", address.One(ref), address.Redact(why))
}

// noDigest says that a reference has no digest, or behind an @ (named) a wrong one. Of a tag it
// says what tells its digest.
func noDigest(ref string, named bool) error {
	const why = "it has no digest: sha256: and 64 hexadecimal digits"
	if named || strings.HasPrefix(ref, "sha256:") || strings.LastIndexByte(ref, ':') <= strings.LastIndexByte(ref, '/') {
		return wrongReference(ref, why)
	}
	told := address.One(ref)
	return faults.New(faults.Usage, "`ampoule inspect "+told+"` prints the digest that the tag names; it may name another one later", "reference %q: %s", told, why)
}

// wrongRepository says that a reference names no repository of a registry.
func wrongRepository(ref string) error {
	return faults.New(faults.Usage, "write HOST[:PORT]/NAME", "%q is not a repository in a registry", address.One(ref))
}

// DamagedError says that something that a registry has is not whole: a part that a
// manifest names is gone, or is not what its digest says.
type DamagedError struct {
	// Ref names what is not whole, What the part.
	Ref, What string
	Err       error
	// local says that it is in the store's registry, file that it is in a layout.
	local, file bool
}

// errGone says that something that is named is not there.
var errGone = errors.New("it is gone")

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged: %s: %v", e.Ref, e.What, e.Err)
}

// Kind says whose fault it is.
func (*DamagedError) Kind() faults.Kind { return faults.Refused }

// Unwrap returns what is wrong.
func (e *DamagedError) Unwrap() error { return e.Err }

// Hint says what mends it.
func (e *DamagedError) Hint() string {
	if e.file {
		return "copy or export it again from where it is whole"
	}
	if e.local {
		return "`ampoule build` publishes it again, with the same digest where the recipe is repeatable; `ampoule store verify` lists all that is damaged"
	}
	return "`ampoule build` with this registry publishes it again; look after the registry's storage"
}

// KeyMismatchError says that the tag of a key leads to something that is not that key's
// artifact. No build makes such a tag.
type KeyMismatchError struct {
	// Ref is the tag, Digest what it names.
	Ref, Digest string
	// Why says in what they disagree.
	Why   string
	local bool
}

func (e *KeyMismatchError) Error() string {
	return fmt.Sprintf("%s names %s, which is not that key's artifact: %s", e.Ref, e.Digest, e.Why)
}

// Kind says whose fault it is.
func (*KeyMismatchError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (e *KeyMismatchError) Hint() string {
	if e.local {
		return "find out who wrote the tag; `ampoule store verify --repair` removes it"
	}
	return "find out who wrote the tag, and remove it from the registry"
}

// NotFoundError says that a registry answered and does not have something.
type NotFoundError struct {
	// What names it, as a reference or in words.
	What string
}

func (e *NotFoundError) Error() string { return e.What + ": not found" }

// Kind says whose fault it is.
func (*NotFoundError) Kind() faults.Kind { return faults.NotFound }

// RemoteError says that a registry could not be reached, refused, or holds what
// cannot be read.
type RemoteError struct {
	// Registry is its host, or "the store's registry".
	Registry string
	// Op says what was being done: a gerund and its operand.
	Op  string
	Err error
	// ByToken says that it was asked by a token of its own, see [OpenBy].
	ByToken bool
}

func (e *RemoteError) Error() string {
	// What a registry says is no reason to break a line, nor are addresses that it names.
	return fmt.Sprintf("%s at %s: %s", e.Op, e.Registry, address.Redact(strings.Join(strings.Fields(e.Err.Error()), " ")))
}

// Kind says whose fault it is.
func (*RemoteError) Kind() faults.Kind { return faults.Remote }

// Unwrap returns the cause.
func (e *RemoteError) Unwrap() error { return e.Err }

// Lasts reports whether the registry will not answer otherwise later: see [faults.Passes].
func (e *RemoteError) Lasts() bool {
	var status *transport.Error
	var stripped *StrippedError
	return errors.As(e.Err, &stripped) || errors.As(e.Err, &status) && faults.StatusLasts(status.StatusCode)
}

// Hint says what usually helps; it may be empty.
func (e *RemoteError) Hint() string {
	var status *transport.Error
	var dns *net.DNSError
	var hinted interface{ Hint() string }
	switch {
	case errors.As(e.Err, &hinted):
		return hinted.Hint()
	case errors.As(e.Err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden):
		if e.ByToken {
			return "the token needs a scope for that: pull:NAME to read, push:NAME to sign"
		}
		return fmt.Sprintf("log in with `docker login %s`: credentials are read from Docker's configuration", e.Registry)
	case errors.As(e.Err, &status) && status.StatusCode == http.StatusTooManyRequests:
		return "the registry limits the rate of requests: wait, or log in"
	case errors.As(e.Err, &status) && status.StatusCode >= http.StatusInternalServerError:
		return "the fault is the registry's: its log says more"
	case errors.As(e.Err, &dns):
		return "check the registry's host name, and the proxy if there is one"
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return "nothing listens there: check that the registry runs"
	default:
		return ""
	}
}

// KeyTakenError says that another artifact is published under a key. The first
// publication of a key stands.
type KeyTakenError struct {
	Name, Key string
	// Published is the digest that the key names; Offered the one that was refused.
	Published, Offered string
}

func (e *KeyTakenError) Error() string {
	return fmt.Sprintf("publishing %s: its key %s already names %s, not %s", e.Name, e.Key, e.Published, e.Offered)
}

// Kind says whose fault it is.
func (*KeyTakenError) Kind() faults.Kind { return faults.Refused }

// Hint says what it means.
func (e *KeyTakenError) Hint() string {
	return "two builds of one key gave different bits, so the recipe is not repeatable; use the published digest"
}

// convert makes a typed error of what a registry's client returned.
func (a *access) convert(op, what string, err error) error {
	var status *transport.Error
	var damaged *DamagedError
	var mismatch *KeyMismatchError
	var stripped *StrippedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &damaged), errors.As(err, &mismatch), errors.As(err, &stripped):
		return err // it says what of what, whatever was being done
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", op, err)
	case a.beyond() != nil:
		return fmt.Errorf("%s at %s: %w", op, a.shown, a.beyond())
	case isBroken(err):
		return &DamagedError{Ref: what, What: "its manifest", Err: errGone, local: a.local, file: a.isFile()}
	case isWrong(err):
		return &DamagedError{Ref: what, What: "its content", Err: err, local: a.local, file: a.isFile()}
	case errors.As(err, &status) && status.StatusCode == http.StatusNotFound:
		return &NotFoundError{What: what}
	case errors.As(err, &status) && status.StatusCode == http.StatusInsufficientStorage && a.local:
		return fmt.Errorf("%s at %s: %w", op, a.shown, syscall.ENOSPC)
	case isRefused(err):
		return fmt.Errorf("%s at %s: %w", op, a.shown, err)
	case a.isFile() && isHost(err):
		return faults.New(faults.Machine, "", "%s at %s: %w", op, a.shown, err)
	default:
		return &RemoteError{Registry: a.shown, Op: op, Err: err, ByToken: a.byToken}
	}
}

// isRefused reports whether what was read is known to be wrong, wherever it is from.
func isRefused(err error) bool {
	var told interface{ Kind() faults.Kind }
	return errors.As(err, &told) && told.Kind() == faults.Refused
}

// isHost reports whether this machine cannot read or write files: its disk is full or broken, or the user may not.
func isHost(err error) bool {
	return slices.ContainsFunc([]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, fs.ErrPermission}, func(is error) bool { return errors.Is(err, is) })
}

// isBroken tells the answer that a manifest is known and gone from the one that there is no
// such manifest (OCI distribution-spec, "Error Codes").
func isBroken(err error) bool {
	var status *transport.Error
	return errors.As(err, &status) && status.StatusCode == http.StatusNotFound &&
		slices.ContainsFunc(status.Errors, func(d transport.Diagnostic) bool { return d.Code == transport.ManifestBlobUnknownErrorCode })
}
