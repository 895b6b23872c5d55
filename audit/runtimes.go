package audit

import "ampoule/tree"

// Runtimes lists the paths of the files that define a Python runtime: what
// [LoadReport.Runtimes] counts among the files that a process has mapped.
func Runtimes(t *tree.Tree) (map[string]bool, error) {
	objects, err := readTree(t)
	if err != nil {
		return nil, err
	}
	runtimes := map[string]bool{}
	for p, o := range objects {
		if o.holdsRuntime() {
			runtimes[p] = true
		}
	}
	return runtimes, nil
}
