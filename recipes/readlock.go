package recipes

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// ReadLock reads the lock at path. Whatever is wrong in it is told at once, as
// [Faults]. Every other error is of reading the file, such as fs.ErrNotExist.
func ReadLock(path string) (*Lock, error) {
	data, err := readFile(path, maxLockBytes)
	if err != nil {
		return nil, fmt.Errorf("reading the lock: %w", err)
	}
	return ParseLock(path, data)
}

// ParseLock reads a lock from data; file is the name that faults give it. What it
// gives is well-formed and complete, as [Lock.Check] says.
func ParseLock(file string, data []byte) (*Lock, error) {
	root, faults := readYAML(file, data, maxLockBytes)
	if root == nil {
		return nil, withLockHint(faults).Err()
	}
	d := newDecoder("a lock", file)
	l := &Lock{positions: d.positions}
	d.decode(root, reflect.ValueOf(l).Elem(), nil)
	faults = append(faults, d.faults...)
	if len(faults) == 0 {
		faults = l.check()
	}
	if err := withLockHint(faults).Err(); err != nil {
		return nil, err
	}
	return l, nil
}

// withLockHint gives faults of a file that no person writes the hint that fits.
func withLockHint(faults Faults) Faults {
	for i := range faults {
		faults[i].Hint = "take it back from version control, or remove it and run `ampoule lock`"
	}
	return faults
}

// File is the path of the lock as it was given to ReadLock or ParseLock; empty
// for a lock that was not read.
func (l *Lock) File() string {
	if l.positions == nil {
		return ""
	}
	return l.positions.file
}

// At tells where the value at the path of keys stands, or its nearest parent.
func (l *Lock) At(path ...string) Position { return l.positions.find(path) }

// Dist gives the dist with that ID.
func (l *Lock) Dist(id string) (Dist, bool) {
	for _, d := range l.Dists {
		if d.ID() == id {
			return d, true
		}
	}
	return Dist{}, false
}

// Debs gives the packages of all the lists of names in that suite, each once,
// sorted by name. A name that the lock does not have is an error.
func (l *Lock) Debs(suite string, names ...[]string) ([]Deb, error) {
	byName := map[string]Deb{}
	for _, deb := range l.Debian[suite] {
		byName[deb.Name] = deb
	}
	var debs []Deb
	for _, name := range slices.Concat(names...) {
		deb, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("finding Debian package %s: the lock has none in %s", name, suite)
		}
		debs = append(debs, deb)
	}
	slices.SortFunc(debs, func(a, b Deb) int { return strings.Compare(a.Name, b.Name) })
	return slices.Compact(debs), nil
}
