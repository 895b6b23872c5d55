// Package relocate holds the Python module that makes installed scripts and their
// RECORD independent of where they stand. Stages run it inside their sandboxes.
package relocate

import (
	_ "embed"

	"ampoule/tree"
)

//go:embed ampoule_relocate.py
var module []byte

// Module returns the module as a file, to be imported beside a script that uses it.
func Module() tree.Entry { return tree.FileEntry("ampoule_relocate.py", 0o644, module) }
