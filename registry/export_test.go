package registry

import (
	"testing"
	"time"
)

// Hurry has a registry's client wait less: for that long in silence, and a fiftieth of
// the time between one try and the next.
func Hurry(t *testing.T, r *Registry, silence time.Duration) {
	t.Helper()
	backoff := foreignBackoff
	backoff.Duration /= 50
	var err error
	if r.own, err = foreignAccess(r.own.shown, silence, backoff); err != nil {
		t.Fatal(err)
	}
}

// RetryAfter is how long an answer asks to wait.
var RetryAfter = retryAfter
