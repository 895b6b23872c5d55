package lineage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"ampoule/audit/wheel"
	"ampoule/builder/locking/sources"
	"ampoule/builder/wheels"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/store"
)

// reader reads what locked releases require out of files in a store.
type reader struct {
	st *store.Store
	// built are wheels of sdists, by ID.
	built map[string]string
}

func newReader(st *store.Store) (*reader, error) {
	built, err := wheels.Built(st)
	return &reader{st, built}, err
}

// requires gives what a release requires. known is false if no file of it in the store says it.
func (r *reader) requires(ctx context.Context, d recipes.Dist) (found []packaging.Requirement, known bool, err error) {
	sum, read := d.SHA256, wheelFields
	switch built, ok := r.built[d.ID()]; {
	case d.IsWheel():
	case ok:
		sum = built
	default:
		read = sdistFields
	}
	if !r.st.Has(sum) {
		return nil, false, nil
	}
	f, err := r.st.Open(sum)
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", d.ID(), err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fields, err := read(ctx, f, d.File)
	switch {
	case ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	case err != nil || fields == nil:
		return nil, false, nil //nolint:nilerr // the gate judges such files; here they say nothing
	}
	for _, text := range fields.Values("Requires-Dist") {
		if q, err := packaging.ParseRequirement(text); err == nil {
			found = append(found, q)
		}
	}
	return found, true, nil
}

// wheelFields reads METADATA of a wheel.
func wheelFields(_ context.Context, f *os.File, _ string) (_ packaging.Metadata, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	z, err := wheel.Open(f, info.Size(), wheel.DefaultLimits)
	if err != nil {
		return nil, err
	}
	for _, member := range z.File {
		if dir, file, ok := strings.Cut(member.Name, "/"); !ok || file != "METADATA" || !strings.HasSuffix(dir, ".dist-info") {
			continue
		}
		m, err := member.Open()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(m, packaging.MaxMetadata+1))
		return fieldsOf(data), errors.Join(err, m.Close())
	}
	return nil, nil
}

// sdistFields reads PKG-INFO of an sdist, if it says for all that are built from it what they
// require: metadata of version 2.2 and later names what only the build knows (PEP 643). It is
// nil otherwise.
func sdistFields(ctx context.Context, f *os.File, file string) (packaging.Metadata, error) {
	for member, err := range sources.Sdist(ctx, f, file) {
		if err != nil {
			return nil, err
		}
		if dir, name, ok := strings.Cut(strings.TrimPrefix(member.Name, "./"), "/"); !ok || dir == "" || name != "PKG-INFO" {
			continue
		}
		data, err := member.Read(packaging.MaxMetadata)
		if err != nil {
			return nil, err
		}
		fields := fieldsOf(data)
		dynamic := slices.ContainsFunc(fields.Values("Dynamic"), func(name string) bool { return strings.EqualFold(strings.TrimSpace(name), "Requires-Dist") })
		version, err := packaging.ParseVersion(strings.TrimSpace(fields.Get("Metadata-Version")))
		if since, _ := packaging.ParseVersion("2.2"); err != nil || version.Compare(since) < 0 || dynamic {
			return nil, nil
		}
		return fields, nil
	}
	return nil, nil
}

// fieldsOf are the fields of metadata, also of one with lines that are none.
func fieldsOf(data []byte) packaging.Metadata {
	fields, _ := packaging.ParseMetadata(data)
	return fields
}
