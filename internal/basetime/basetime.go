// Package basetime gives tests a time that is another one in each run. What takes a time
// from elsewhere, from the clock or from a constant, cannot have it by chance.
package basetime

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Variable is the environment variable that repeats a run: seconds since 1970.
const Variable = "AMPOULE_TEST_TIME"

// The years that times are of: every format in use has them, two-digit years of zip files and
// 32 bits of gzip too.
var (
	first = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	last  = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

var drawn = sync.OnceValues(func() (time.Time, error) {
	if set := os.Getenv(Variable); set != "" {
		seconds, err := strconv.ParseInt(set, 10, 64)
		return time.Unix(seconds, 0).UTC(), err
	}
	return time.Unix(first.Unix()+rand.Int64N(last.Unix()-first.Unix()), 0).UTC(), nil //nolint:gosec // a test's time is no secret
})

// Of gives the time that this process drew, in whole seconds and in UTC, and logs it to a
// test, which shows its log when it fails.
func Of(t testing.TB) time.Time {
	t.Helper()
	at, err := drawn()
	if err != nil {
		t.Fatalf("reading %s: %v", Variable, err)
	}
	t.Logf("base time %s: %s=%d repeats it", at.Format(time.RFC3339), Variable, at.Unix())
	return at
}
