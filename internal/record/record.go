// Package record keeps what long tests measure in a JSON file: a list of results with names, written
// whole after each, so that a run that was cut short goes on.
package record

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Result is what has a name.
type Result interface{ Key() string }

// Read reads a file of results; one that is not there is empty.
func Read[R Result](path string) (all []R, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("reading results %s: %w", path, err)
	}
	return all, nil
}

// Has reports whether a file has a result of a name.
func Has[R Result](path, name string) (bool, error) {
	all, err := Read[R](path)
	return slices.ContainsFunc(all, func(r R) bool { return r.Key() == name }), err
}

// Put takes a result into a file, in the place of one of its name. The file is seen whole.
func Put[R Result](path string, result R) error {
	all, err := Read[R](path)
	if err != nil {
		return err
	}
	all = append(slices.DeleteFunc(all, func(old R) bool { return old.Key() == result.Key() }), result)
	slices.SortFunc(all, func(x, y R) int { return cmp.Compare(x.Key(), y.Key()) })
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err = enc.Encode(all)
	if err == nil {
		err = os.WriteFile(path+".new", text.Bytes(), 0o644)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("writing results %s: %w", path, err)
	}
	return nil
}
