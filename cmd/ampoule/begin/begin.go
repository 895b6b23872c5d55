// Package begin has the program begin without collecting garbage. Its packages make some 10 MB of tables and
// patterns that stay: the collector, which begins at 4 MB, would look through them three times, in every program
// that has them, whatever the verb.
package begin

import (
	"runtime"
	"runtime/debug"
)

// later is where the first collection begins, in percent of the usual heap (GOGC).
const later = 400

// Go initialises packages in the order of their import paths, once what they import is: this one comes before
// those that take their time.
func init() {
	usual := debug.SetGCPercent(later)
	if usual < 0 || usual > later {
		debug.SetGCPercent(usual)
		return
	}
	// What nobody has is found by the first collection.
	runtime.AddCleanup(new([64]byte), func(usual int) { debug.SetGCPercent(usual) }, usual)
}
