package main

// An input is one that a fuzzer can be given.
type input struct {
	name, path string
	// size is in bytes.
	size    int64
	reached map[string]bool
}

// choice says what choosing came to, in inputs and in blocks of code.
type choice struct {
	chosen, of int
	// base is reached without any of the inputs, all with all of them, reached with the
	// chosen ones.
	base, reached, all int
}

// greedy chooses at most limit inputs, each time the one that reaches most that neither base
// nor an earlier one reached, and of several the smallest one. It ends where none adds
// anything.
func greedy(base map[string]bool, inputs []input, limit int) (choice, map[string]bool) {
	reached, all := map[string]bool{}, map[string]bool{}
	take(reached, base)
	take(all, base)
	for _, in := range inputs {
		take(all, in.reached)
	}
	chosen := map[string]bool{}
	for len(chosen) < limit {
		best, most := -1, 0
		for i, in := range inputs {
			n := gain(reached, in.reached)
			if n > most || n == most && n > 0 && in.size < inputs[best].size {
				best, most = i, n
			}
		}
		if best < 0 {
			break
		}
		chosen[inputs[best].name] = true
		take(reached, inputs[best].reached)
	}
	return choice{chosen: len(chosen), of: len(inputs), base: len(base), reached: len(reached), all: len(all)}, chosen
}

// take adds blocks to a set.
func take(set, more map[string]bool) {
	for block := range more {
		set[block] = true
	}
}

// gain counts the blocks that a set has not.
func gain(set, more map[string]bool) int {
	n := 0
	for block := range more {
		if !set[block] {
			n++
		}
	}
	return n
}
