package locking

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"ampoule/builder/locking/sources"
	"ampoule/recipes"
	"ampoule/store"
)

// maxConfigure bounds CPython's configure script, in bytes.
const maxConfigure = 16 << 20

// readConfigure returns the configure script of a source archive in the store.
func readConfigure(ctx context.Context, st *store.Store, p recipes.LockedPython) ([]byte, error) {
	f, err := st.Open(p.SHA256)
	if err != nil {
		return nil, fmt.Errorf("reading CPython's source: %w", err)
	}
	defer f.Close()
	for member, err := range sources.CPython(ctx, f, p.File) {
		if err != nil {
			return nil, fmt.Errorf("reading CPython's source: %w", err)
		}
		if strings.HasSuffix(member.Name, "/configure") && strings.Count(member.Name, "/") == 1 {
			text, err := member.Read(maxConfigure)
			if err != nil {
				return nil, fmt.Errorf("reading CPython's source: %w", err)
			}
			return text, nil
		}
	}
	return nil, errors.New("reading CPython's source: it has no configure script")
}
