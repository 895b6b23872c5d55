package builder

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"

	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/builder/toolchain"
	"ampoule/recipes"
	"ampoule/sbom"
	"ampoule/tree"
)

// bill prepares the artifact's bill of materials. What it returns writes it, once the digest
// is known.
func (r *build) bill(ctx context.Context, open *layers.Opened, sealed *seal.Sealed) (func(digest string) ([]byte, error), error) {
	below, err := r.imageBase(ctx)
	if err != nil {
		return nil, err
	}
	base, err := open.RootFS(ctx, below)
	if err != nil {
		return nil, err
	}
	packages, err := toolchain.Origins(base)
	if err != nil {
		return nil, err
	}
	lock := r.req.Lock.Alone()
	in, err := r.materials(ctx, open, sealed, lock)
	if err != nil {
		return nil, err
	}
	in.BaseSuite, in.Build = r.imageSuite(), ingredients(lock)
	for _, p := range packages {
		in.Base = append(in.Base, sbom.Package(p))
	}
	for _, name := range r.ownNames() {
		in.Own[name] = true
	}
	if w := r.req.Workspace; w != nil {
		in.Commit, in.Dirty = w.State.Commit, w.State.Dirty
	}
	return writing(in), nil
}

// writing writes a bill of materials, once the digest is known.
func writing(in sbom.Input) func(digest string) ([]byte, error) {
	return func(digest string) ([]byte, error) {
		in.Digest = digest
		return sbom.Make(in)
	}
}

// materials are what is known of a tree, and of what a lock installs into it.
func (r *build) materials(ctx context.Context, open *layers.Opened, sealed *seal.Sealed, lock *recipes.Lock) (sbom.Input, error) {
	roots, err := r.packaged(ctx, open)
	if err != nil {
		return sbom.Input{}, err
	}
	carried, err := origins(sealed, roots)
	if err != nil {
		return sbom.Input{}, err
	}
	in := sbom.Input{
		Name: r.req.Recipe.Name, Key: r.plan.Key, Platform: r.req.platform(), Record: sealed.Record, Tree: sealed.Tree,
		PythonFile: lock.Python.File, PythonSHA256: lock.Python.SHA256, Suite: lock.Base.Suite,
		Carried: carried, Sdists: map[string]sbom.Sdist{}, Indexes: map[string]string{}, Own: map[string]bool{},
	}
	for _, id := range lock.Requirements {
		d, _ := lock.Dist(id)
		if !d.IsWheel() {
			in.Sdists[d.Name] = sbom.Sdist{File: d.File, SHA256: d.SHA256}
		}
		if d.Source != "" {
			in.Indexes[d.Name] = d.Source
		}
	}
	return in, nil
}

// packaged are the file systems that say which package a carried file is of. Where layers of
// several wheels are laid over each other, dpkg knows the packages of the last one alone: those
// of each wheel's own image come behind.
func (r *build) packaged(ctx context.Context, open *layers.Opened) ([]*tree.Tree, error) {
	var images []sandbox.Image
	for _, id := range r.installed() {
		d, _ := r.dist(id)
		image, err := r.env.For(ctx, d)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	own, err := rootsOf(ctx, open, images)
	return slices.Concat(r.roots, own), err
}

// rootsOf are the file systems of images, each once.
func rootsOf(ctx context.Context, open *layers.Opened, images []sandbox.Image) ([]*tree.Tree, error) {
	var roots []*tree.Tree
	seen := map[string]bool{}
	for _, image := range images {
		key := strings.Join(layers.DiffIDs(image), " ")
		if seen[key] {
			continue
		}
		seen[key] = true
		root, err := open.RootFS(ctx, image)
		if err != nil {
			return nil, err
		}
		roots = append(roots, root)
	}
	return roots, nil
}

// imageSuite is the Debian suite of the image's base; empty for another image.
func (r *build) imageSuite() string {
	if base, ok := r.req.Lock.Targets["container"]; ok {
		return base.Suite
	}
	return r.req.Lock.Targets["vm"].Suite
}

// origins names the Debian package of each file that a tree carries: that of the file with
// the content that it had, before it was changed, in the file systems that it was carried from, under the same name if there
// is one.
func origins(sealed *seal.Sealed, roots []*tree.Tree) (map[string]sbom.Package, error) {
	named, equal := map[string]toolchain.Origin{}, map[string]toolchain.Origin{}
	var certificates *toolchain.Origin
	for _, root := range roots {
		files, err := toolchain.OriginsOfFiles(root)
		if err != nil {
			return nil, err
		}
		for _, e := range root.Entries() {
			origin, ok := files[e.Path]
			if !ok || e.Kind != tree.File {
				continue
			}
			if _, taken := equal[e.SHA256]; !taken {
				equal[e.SHA256] = origin
			}
			named[e.SHA256+"/"+path.Base(e.Path)] = origin
			if origin.Name == "ca-certificates" {
				certificates = &origin
			}
		}
	}
	found := map[string]sbom.Package{}
	for _, e := range sealed.Tree.Entries() {
		if e.Owner != seal.OwnerNative || e.Kind == tree.Dir {
			continue
		}
		file := e
		if e.Kind == tree.Symlink {
			file, _ = sealed.Tree.Resolve(e.Path)
		}
		sum := cmp.Or(sealed.Sources[file.Path], file.SHA256)
		origin, ok := named[sum+"/"+path.Base(file.Path)]
		if !ok {
			origin, ok = equal[sum]
		}
		// One file is made of all certificates.
		if !ok && certificates != nil && strings.HasPrefix(e.Path, "share/ca-certificates/") {
			origin, ok = *certificates, true
		}
		if ok {
			found[e.Path] = sbom.Package(origin)
		}
	}
	return found, nil
}

// ingredients are what a lock builds with: the toolchain, what wheels add to it, build
// requirements and crates.
func ingredients(l *recipes.Lock) []sbom.Ingredient {
	wanted := map[string]bool{}
	for _, name := range l.Toolchain {
		wanted[name] = true
	}
	installed := map[string]bool{}
	for _, id := range l.Requirements {
		installed[id] = true
	}
	var list []sbom.Ingredient
	take := func(set *recipes.BuildSet) {
		if set == nil {
			return
		}
		for _, name := range set.Packages {
			wanted[name] = true
		}
		for _, c := range set.Crates {
			list = append(list, sbom.Ingredient{Kind: sbom.KindCargo, Name: c.Name, Version: c.Version, SHA256: c.SHA256})
		}
	}
	for _, a := range l.App {
		take(a.Build)
	}
	for _, d := range l.Dists {
		take(d.Build)
		if !installed[d.ID()] {
			list = append(list, sbom.Ingredient{Kind: sbom.KindPyPI, Name: d.Name, Version: d.Version, File: d.File, SHA256: d.SHA256})
		}
	}
	for _, deb := range l.Debian[l.Base.Suite] {
		if wanted[deb.Name] {
			list = append(list, sbom.Ingredient{Kind: sbom.KindDebian, Name: deb.Name, Version: deb.Version, Arch: deb.Arch, File: path.Base(deb.File), SHA256: deb.SHA256})
		}
	}
	return list
}
