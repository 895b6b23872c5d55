package audit

import (
	"cmp"
	"slices"
	"unique"

	"ampoule/tree"
)

// HostSymbol is a symbol of a library that a machine provides.
type HostSymbol struct {
	Name string
	// Version is the one that is asked for; empty for none.
	Version string
}

// HostSymbols lists, for each of the sonames, what the files of a tree want of a library
// of that name and no file of the tree defines, sorted. A symbol without a version may be
// wanted of several. Sonames that no file needs are left out.
func HostSymbols(t *tree.Tree, sonames []string) (map[string][]HostSymbol, error) {
	objects, err := readTree(t)
	if err != nil {
		return nil, err
	}
	given := func(s symbol) bool {
		name := hashName(s.Value())
		for _, o := range objects {
			if o.gives.has(name) {
				return true
			}
		}
		return false
	}
	wanted := map[string][]HostSymbol{}
	for _, soname := range sonames {
		for _, o := range objects {
			if o.fault == nil && slices.Contains(o.Needed, soname) {
				wanted[soname] = append(wanted[soname], o.wantsOf(soname, given)...)
			}
		}
	}
	for soname, list := range wanted {
		slices.SortFunc(list, func(a, b HostSymbol) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
		})
		wanted[soname] = slices.Compact(list)
	}
	return wanted, nil
}

// wantsOf lists what a file wants of a library that it needs: with a version of it, or
// with none where nothing else is known to define it.
func (o *object) wantsOf(soname string, given func(symbol) bool) []HostSymbol {
	owner := map[symbol]string{}
	for _, n := range o.Needs {
		for _, v := range n.Versions {
			owner[unique.Make(v.Name)] = n.File
		}
	}
	list := []HostSymbol{}
	for _, w := range o.wants {
		version := w.version.Value()
		if version != "" && owner[w.version] == soname || version == "" && !given(w.symbol) {
			list = append(list, HostSymbol{w.Value(), version})
		}
	}
	return list
}
