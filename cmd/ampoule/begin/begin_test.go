package begin

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// The first collection puts the usual percentage back.
func TestUsualAfterTheFirstCollection(t *testing.T) {
	for until := time.Now().Add(time.Minute); ; runtime.Gosched() {
		runtime.GC()
		now := debug.SetGCPercent(later)
		debug.SetGCPercent(now)
		if now != later {
			return
		}
		if time.Now().After(until) {
			t.Fatal("the first collection never ended")
		}
	}
}
