package builder

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/builder/progress"
	"ampoule/recipes"
	"ampoule/store"
)

// Input is one file that a build takes, in the store.
type Input struct {
	// Source, Name and Version are as in fetch.Item; the source of a part of an image
	// is "image" and its name the image's reference, that of a patch is "patch".
	Source  string `json:"source"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	File    string `json:"file"`
	SHA256  string `json:"sha256"`
	// Size is in bytes.
	Size int64 `json:"size"`
}

// Inputs is all that a build takes beside its recipe and its lock.
type Inputs struct {
	Name string `json:"name"`
	// Key is the build's.
	Key   string  `json:"key"`
	Files []Input `json:"files"`
}

// Content implements [store.Namer].
func (in Inputs) Content() []string {
	sums := make([]string, len(in.Files))
	for i, f := range in.Files {
		sums[i] = f.SHA256
	}
	return sums
}

// InputsKind is the kind of the records of inputs that were fetched on purpose: each
// keeps its files in the store, whatever is collected. Their key is the build's.
const InputsKind = "inputs"

// FetchInputs brings all inputs of a recipe and its lock into the store, where they stay. A lock
// that does not answer the recipe gives [recipes.Faults].
func (b *Builder) FetchInputs(ctx context.Context, req Request) (Inputs, error) {
	if err := req.check(); err != nil {
		return Inputs{}, err
	}
	ctx = progress.Of(ctx, req.Recipe.Name)
	req, err := withWorkspace(ctx, req, b.d.Environ)
	if err != nil {
		return Inputs{}, err
	}
	release, err := b.d.Store.Use(ctx)
	if err != nil {
		return Inputs{}, err
	}
	defer release()
	in, err := b.fetchInputs(ctx, req)
	if err != nil {
		return Inputs{}, err
	}
	return in, b.d.Store.RecordDurably(InputsKind, in.Key, in)
}

// fetchInputs brings all inputs into the store, which whoever calls it uses.
func (b *Builder) fetchInputs(ctx context.Context, req Request) (Inputs, error) {
	in := Inputs{Name: req.Recipe.Name, Key: req.plan().Key}
	files, err := b.fetchDists(ctx, req)
	if err != nil {
		return Inputs{}, err
	}
	in.Files = files
	for _, group := range slices.Sorted(maps.Keys(req.Lock.Groups)) {
		with := req
		with.Lock = req.Lock.With(group)
		if files, err = b.fetchDists(ctx, with); err != nil {
			return Inputs{}, err
		}
		in.Files = append(in.Files, files...)
	}
	for _, ref := range images(req.Lock) {
		parts, err := b.fetchImage(ctx, ref, req.platform())
		if err != nil {
			return Inputs{}, err
		}
		in.Files = append(in.Files, parts...)
	}
	slices.SortFunc(in.Files, func(x, y Input) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Name, y.Name), cmp.Compare(x.File, y.File), cmp.Compare(x.SHA256, y.SHA256))
	})
	in.Files = slices.CompactFunc(in.Files, func(x, y Input) bool { return x == y })
	for i, f := range in.Files {
		info, err := os.Stat(b.d.Store.Path(f.SHA256))
		if err != nil {
			return Inputs{}, fmt.Errorf("looking at an input: %w", err)
		}
		in.Files[i].Size = info.Size()
	}
	return in, nil
}

// fetchDists brings what a plan names, and the patches of its dists, into the store.
func (b *Builder) fetchDists(ctx context.Context, req Request) ([]Input, error) {
	if err := b.keepPatches(ctx, req); err != nil {
		return nil, err
	}
	plan := req.plan()
	if err := b.d.Fetch.Fetch(ctx, plan.Inputs...); err != nil {
		return nil, err
	}
	var files []Input
	for _, i := range plan.Inputs {
		files = append(files, input(i, 0))
	}
	for _, d := range req.Lock.Dists {
		if d.Build == nil {
			continue
		}
		for _, p := range d.Build.Patches {
			files = append(files, Input{Source: "patch", Name: d.Name, Version: d.Version, File: p.File, SHA256: p.SHA256})
		}
	}
	return files, nil
}

// KeptInputs lists the inputs that stay in a store, by name and key.
func KeptInputs(st *store.Store) ([]Inputs, error) {
	var all []Inputs
	err := st.Records(InputsKind, func(_ string, value json.RawMessage) error {
		var in Inputs
		if err := json.Unmarshal(value, &in); err != nil {
			return err
		}
		all = append(all, in)
		return nil
	})
	slices.SortFunc(all, func(x, y Inputs) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Key, y.Key)) })
	return all, err
}

// images are the images of registries that a lock names.
func images(l *recipes.Lock) []string {
	var refs []string
	add := func(base recipes.LockedBase) {
		if base.Image != "" {
			refs = append(refs, base.Image)
		}
	}
	add(l.Base)
	for _, target := range l.Targets {
		add(target)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// fetchImage brings the parts of an image into the store.
func (b *Builder) fetchImage(ctx context.Context, ref, platform string) ([]Input, error) {
	files, err := b.d.Bases.BaseFiles(ctx, ref, platform)
	if err != nil {
		return nil, fmt.Errorf("fetching base %s: %w", ref, err)
	}
	var parts []Input
	for _, f := range files {
		sum := strings.TrimPrefix(f.Digest, "sha256:")
		whole, err := b.d.Store.Whole(ctx, sum)
		if err == nil && !whole {
			err = b.put(ctx, f, sum)
		}
		if err != nil {
			return nil, fmt.Errorf("fetching base %s: %s: %w", ref, f.Name, err)
		}
		parts = append(parts, Input{Source: "image", Name: ref, File: f.Name, SHA256: sum})
	}
	return parts, nil
}

// put stores a file that must have a sha256.
func (b *Builder) put(ctx context.Context, f artifact.File, sum string) error {
	content, err := f.Open(ctx)
	if err != nil {
		return err
	}
	defer content.Close()
	return b.d.Store.PutExpected(ctx, io.LimitReader(content, f.Size), sum)
}
