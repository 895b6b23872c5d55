package registry_test

import (
	"context"
	"errors"
	"testing"

	"ampoule/artifact"
	"ampoule/registry"
)

// errNot is an answer to a claim.
var errNot = errors.New("another build has it")

// A claim is asked when all is there but the key. What is refused is found under its digest
// alone, and can be settled later.
func TestClaim(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	a, _ := sample(t, key("1"), "one")
	var claimed string
	a.Claim = func(ctx context.Context, digest string) error {
		claimed = digest
		if _, found, err := r.FindKey(ctx, "web", key("1"), artifact.Beside{}); found || err != nil {
			t.Errorf("the key is found before the claim: %t, %v", found, err)
		}
		if _, err := r.Resolve(ctx, "web@"+digest); err != nil {
			t.Errorf("the digest is not there when it is claimed: %v", err)
		}
		return errNot
	}
	if _, err := r.Publish(t.Context(), a); err != errNot { //nolint:errorlint // it comes as it is
		t.Errorf("refused: %v", err)
	}
	if _, found, err := r.FindKey(t.Context(), "web", key("1"), artifact.Beside{}); found || err != nil {
		t.Errorf("the key of a refused claim is found: %t, %v", found, err)
	}

	if found, err := r.Settle(t.Context(), "web", key("1"), claimed); !found || err != nil {
		t.Errorf("settling: %t, %v", found, err)
	}
	if digest, found, err := r.FindKey(t.Context(), "web", key("1"), artifact.Beside{}); digest != claimed || !found || err != nil {
		t.Errorf("after settling: %s, %t, %v", digest, found, err)
	}
	a.Claim = func(context.Context, string) error { return errNot }
	if done, err := r.Publish(t.Context(), a); err != nil || done.Digest != claimed {
		t.Errorf("what is published is not claimed again: %+v, %v", done, err)
	}
}

// Only the key's own artifact can be settled, and only if it is there.
func TestSettleRefuses(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	if found, err := r.Settle(t.Context(), "web", key("1"), "sha256:"+key("9")[len("sha256:"):]); found || err != nil {
		t.Errorf("nothing: %t, %v", found, err)
	}
	a, _ := sample(t, key("1"), "one")
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Settle(t.Context(), "web", key("2"), done.Digest)
	var mismatch *registry.KeyMismatchError
	if !errors.As(err, &mismatch) {
		t.Errorf("another key's artifact: %v", err)
	}
}
