package lint

import (
	"fmt"
	"slices"
	"strings"

	"ampoule/audit/policy"
	"ampoule/packaging"
)

// musl has no symbol versions: what a file needs of it is told by the names alone. These are
// the functions that releases after 1.1.24 have added on machines of 64 bits, with the patch
// release of 1.2 that did (musl's include/ at each tag).
var addedToMusl = map[string]int{
	"_Fork": 2, "gettid": 2, "reallocarray": 2, "tcgetwinsize": 2, "tcsetwinsize": 2,
	"pthread_getname_np": 3, "qsort_r": 3,
	"preadv2": 5, "pwritev2": 5, "statx": 5,
}

// onlyInGlibc are functions that compilers and libstdc++ ask for where they were made for
// glibc, and that no release of musl has.
var onlyInGlibc = []string{"__cxa_thread_atexit_impl", "__register_atfork", "gnu_get_libc_version", "__libc_single_threaded"}

// lackedByMusl reports whether a symbol is one that only glibc has: those by name, what
// _FORTIFY_SOURCE makes of functions, and what C23 makes of strtol and scanf.
func lackedByMusl(name string) bool {
	fortified := strings.HasPrefix(name, "__") && strings.HasSuffix(name, "_chk") && !strings.Contains(name, "stack_chk")
	return fortified || strings.HasPrefix(name, "__isoc23_") || slices.Contains(onlyInGlibc, name)
}

// asksMusl are the symbols that a file asks for, cannot do without, and no library of the
// wheel gives it.
func (n *native) asksMusl() []string {
	given := map[string]bool{}
	for _, lib := range n.from {
		if lib == nil {
			continue
		}
		for _, s := range lib.Symbols {
			if s.Exported() {
				given[s.Name] = true
			}
		}
	}
	var names []string
	for _, s := range n.Symbols {
		if !s.Defined && !s.Weak && !s.Local && !given[s.Name] {
			names = append(names, s.Name)
		}
	}
	return names
}

// muslLimits are the symbols that keep a file from musl 1.1, or from every musl.
func (n *native) muslLimits(s *policy.Set) []Limit {
	var list []Limit
	for _, name := range n.asksMusl() {
		first := 0
		switch {
		case addedToMusl[name] > 0:
			first = 1
		case lackedByMusl(name):
			first = s.Never()
		}
		if first > 0 {
			list = append(list, Limit{Kind: LimitSymbol, Library: "libc.so", Name: name, policy: first})
		}
	}
	return list
}

// muslNotes tells of code for musl that some musl of the tag's does not have all for.
func (x *exam) muslNotes() []Note {
	var files, names []string
	newest := 0
	for _, n := range x.natives {
		if n.libc != packaging.Musl {
			continue
		}
		for _, name := range n.asksMusl() {
			switch patch := addedToMusl[name]; {
			case patch > 0:
				newest = max(newest, patch)
				names = append(names, fmt.Sprintf("%s (musl 1.2.%d)", name, patch))
			case lackedByMusl(name):
				names = append(names, name+" (glibc)")
			default:
				continue
			}
			files = append(files, n.member)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	files, names = slices.Compact(files), slices.Compact(names)
	return []Note{{
		Rule: "musl-symbols", Files: files,
		Text:   "The code asks for what not every musl that installers hand the wheel to has: " + strings.Join(names[:min(len(names), maxNames)], ", ") + ".",
		Remedy: "Compile it in the image that belongs to the tag, or without what asks for that.",
	}}
}

// maxNames is how many names a sentence tells.
const maxNames = 8
