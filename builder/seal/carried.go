package seal

import (
	"context"
	"errors"
	"path"
	"slices"
	"strconv"

	"ampoule/audit"
	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/unpack"
	"ampoule/tree"
)

// carriedKind is the store's kind of records that say which layer carried libraries make.
const carriedKind = "carried"

// Carry returns the layer that libraries make below the prefix once each that needs others, or
// loads some by name, has a search path that leads to its own directory, where all of them
// are. The executable's serves only where ld.so knows the executable's place, which it has
// from /proc. What needs nothing is not in the layer, and stays as it is.
func (s *Stage) Carry(ctx context.Context, in Interpreter, libraries []tree.Entry) (sandbox.Layer, error) {
	task := progress.Later(ctx, progress.StageSeal, "search paths of "+strconv.Itoa(len(libraries))+" libraries")
	layer, reused, err := layers.Remembered(ctx, s.Store, task, carriedKind, in.carriedKey(libraries, scripts()), func(ctx context.Context) (sandbox.Layer, error) {
		return s.carry(ctx, in, libraries)
	})
	task.Finish(reused, err)
	return layer, err
}

// carriedKey names what libraries become by all that has a part in it: they, and the file
// systems and scripts that their search paths are set with.
func (i Interpreter) carriedKey(libraries []tree.Entry, scripts []string) string {
	var files []string
	for _, e := range libraries {
		files = append(files, e.Path+" "+e.SHA256)
	}
	slices.Sort(files)
	return layers.Key(carriedKind, format, map[string]any{
		"image": layers.DiffIDs(i.Image), "python": i.Python, "prefix": i.Prefix, "libraries": files, "scripts": scripts,
	})
}

func (s *Stage) carry(ctx context.Context, in Interpreter, libraries []tree.Entry) (_ sandbox.Layer, err error) {
	log, err := buildlog.Open(s.Logs, "libraries")
	if err != nil {
		return sandbox.Layer{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	id, err := s.Images.Load(ctx, in.Image.Config, in.Image.Layers...)
	if err != nil {
		return sandbox.Layer{}, err
	}
	f := finisher{stage: s, in: in, image: id, log: log, jobs: 1}
	all := &unpack.Wheel{Entries: map[string]tree.Entry{}}
	for _, e := range libraries {
		all.Entries[e.Path] = e
	}
	patches, err := f.besides(libraries)
	if err != nil {
		return sandbox.Layer{}, err
	}
	finished, err := f.run(ctx, "libraries", all, nil, patches)
	if err != nil {
		return sandbox.Layer{}, log.Fail("carried libraries", err)
	}
	defer func() { err = errors.Join(err, finished.Close()) }()
	t, err := tree.New(finished.entries)
	if err != nil {
		return sandbox.Layer{}, err
	}
	return layers.Save(ctx, s.Store, t, in.Prefix)
}

// besides are the search paths of libraries that lie in one directory. What they had
// themselves names directories of the system that they come from.
func (f *finisher) besides(libraries []tree.Entry) ([]patch, error) {
	var patches []patch
	for _, e := range libraries {
		l, err := f.linking(e)
		if err != nil {
			return nil, err
		}
		if l != nil && (l.opens || l.search != "" || slices.ContainsFunc(l.needed, func(name string) bool { return !audit.IsGlibc(name) })) {
			patches = append(patches, patch{e.Path, "$ORIGIN"})
		}
	}
	return patches, nil
}

// finishCarried has the libraries that a tree carries finished.
func finishCarried(t *tree.Tree, finish func([]tree.Entry) ([]tree.Entry, error)) (*tree.Tree, error) {
	var libraries []tree.Entry
	for _, e := range t.Entries() {
		if e.Owner != OwnerNative || e.Kind != tree.File || path.Dir(e.Path) != "lib" {
			continue
		}
		isLibrary, err := startsAsELF(e)
		if err != nil {
			return nil, err
		}
		if isLibrary {
			libraries = append(libraries, e)
		}
	}
	if len(libraries) == 0 {
		return t, nil
	}
	finished, err := finish(libraries)
	if err != nil {
		return nil, err
	}
	changed := make([]tree.Entry, 0, len(finished))
	for _, e := range finished {
		if e.Kind == tree.File {
			e.Owner = OwnerNative
			changed = append(changed, e)
		}
	}
	return t.With(changed...)
}
