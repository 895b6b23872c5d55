package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/audit"
	wheelfile "ampoule/audit/wheel"
	"ampoule/builder/layers"
	"ampoule/builder/locking"
	"ampoule/builder/progress"
	"ampoule/builder/wheels"
	"ampoule/builder/workspace"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/tree"
)

// Source says what an artifact's first-party code is of.
type Source struct {
	workspace.State
	// Hash is what the artifact's key has of the code.
	Hash string `json:"hash"`
	// Projects are its distributions.
	Projects []SourceProject `json:"projects"`
}

// SourceProject is one distribution of first-party code.
type SourceProject struct {
	// Source is its directory, as the recipe names it; Tree is the hash of the files there.
	Source string `json:"source"`
	Tree   string `json:"tree"`
	// Name is normalised. Version is what its build said; empty where it was not built.
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// WithWorkspace gives the request with the recipe's first-party code, for who sends it elsewhere. Git is
// asked in an environment as os.Environ has it.
func WithWorkspace(ctx context.Context, req Request, environ []string) (Request, error) {
	return withWorkspace(ctx, req, environ)
}

// withWorkspace reads the recipe's first-party code, unless the request has it. Git is asked in an
// environment as os.Environ has it.
func withWorkspace(ctx context.Context, req Request, environ []string) (Request, error) {
	if req.Recipe.App == nil || req.Workspace != nil {
		return req, nil
	}
	var err error
	req.Workspace, err = workspace.Read(ctx, workspaceSpec(req), environ)
	if err == nil && len(req.Workspace.State.Untracked) > 0 {
		progress.Send(ctx, progress.Event{
			Kind: progress.Told, Stage: progress.StageBuild, Task: req.Recipe.Name,
			Message: "git does not track these, and the application is built without them: " + strings.Join(recipes.First(req.Workspace.State.Untracked), ", "),
		})
	}
	return req, err
}

// workspaceSpec asks for the code of a recipe's app. The recipe, what it extends, and its lock
// are no part of it: what they say is in the key, and locking would change the code.
func workspaceSpec(req Request) workspace.Spec {
	r := req.Recipe
	lock := recipes.LockPath(r.File())
	spec := workspace.Spec{
		Dir: filepath.Dir(r.File()), Files: r.App.Files, At: r.At("app", "source"),
		Except: append(r.Extended(), filepath.Base(r.File()), filepath.Base(lock)),
	}
	spec.Beside = slices.Concat(spec.Except, slices.Collect(maps.Keys(req.Requirements.Files)), slices.Collect(maps.Keys(req.Requirements.Patches)))
	for _, p := range req.Requirements.Projects {
		spec.Sources = append(spec.Sources, workspace.Source{Dir: p.Dir, Tagged: p.Version == recipes.VersionTags, At: p.At})
	}
	return spec
}

// sourceDir is the one directory of an archive of first-party code.
const sourceDir = "app"

// keepCode puts the archives of first-party code into the store. Files that are not what
// they were when they were read are a [*workspace.ChangedError].
func (b *Builder) keepCode(ctx context.Context, req Request) ([]locking.Code, error) {
	if req.Workspace == nil {
		return nil, nil
	}
	code := make([]locking.Code, len(req.Workspace.Projects))
	for i, p := range req.Workspace.Projects {
		files, err := markTracked(p.Tree, req.Requirements.Projects[i])
		if err != nil {
			return nil, fmt.Errorf("packing the application: %w", err)
		}
		archive, err := layers.Save(ctx, b.d.Store, files, sourceDir)
		if err != nil {
			return nil, fmt.Errorf("packing the application: %w", err)
		}
		code[i] = locking.Code{SHA256: strings.TrimPrefix(archive.DiffID, "sha256:")}
		if p.Version != "" {
			code[i].Env = map[string]string{req.Requirements.Projects[i].VersionVariable: p.Version}
		}
	}
	return code, nil
}

// trackedFile says to setuptools-scm that all files beside it are tracked, as in what
// `git archive` writes (its documentation, "Git archives"). setuptools takes package data by
// what that finds, and would leave it out without a word.
const (
	trackedFile = ".git_archival.txt"
	// It must look as if it named a commit and a tag, and the version is told otherwise.
	trackedText = "node: 0000000000000000000000000000000000000000\ndescribe-name: v0.0.0-0-g0000000\n"
)

// markTracked adds the file to a project that is built with setuptools-scm.
func markTracked(files *tree.Tree, p recipes.Project) (*tree.Tree, error) {
	_, there := files.Lookup(trackedFile)
	scm := func(text string) bool { return packaging.NormalName(packaging.RequiredName(text)) == "setuptools-scm" }
	if there || !slices.ContainsFunc(p.BuildRequires, scm) {
		return files, nil
	}
	return files.With(tree.FileEntry(trackedFile, 0o644, []byte(trackedText)))
}

// ownDists are first-party code as dists of the lock, with what their backends are told.
func ownDists(l *recipes.Lock, code []locking.Code) []recipes.Dist {
	var dists []recipes.Dist
	for i, c := range code {
		if i < len(l.App) {
			dists = append(dists, l.App[i].Dist(c.SHA256).WithEnv(c.Env))
		}
	}
	return dists
}

// dist finds a dist of the lock, or first-party code by its name.
func (r *build) dist(id string) (recipes.Dist, bool) {
	for _, d := range r.own {
		if d.ID() == id {
			return d, true
		}
	}
	return r.req.Lock.Dist(id)
}

// installed names what is installed into the tree: the requirements, and first-party code
// last.
func (r *build) installed() []string {
	ids := slices.Clone(r.req.Lock.Requirements)
	for _, d := range r.own {
		ids = append(ids, d.ID())
	}
	return ids
}

// ownNames are the names of first-party code.
func (r *build) ownNames() []string {
	names := make([]string, len(r.own))
	for i, d := range r.own {
		names[i] = d.Name
	}
	return names
}

// takeOwn looks at the wheel of first-party code, which says its version. One that requires
// something else than the lock knows makes the lock stale.
func (r *build) takeOwn(w wheels.Wheel) (version string, err error) {
	name, err := packaging.ParseWheelName(w.File)
	if err != nil {
		return "", fmt.Errorf("reading the wheel of %s: %w", w.Dist.ID(), err)
	}
	metadata, err := r.metadataOf(w)
	if err != nil {
		return "", fmt.Errorf("reading the wheel of %s: %w", w.Dist.ID(), err)
	}
	i := slices.IndexFunc(r.req.Lock.App, func(a recipes.LockedApp) bool { return a.Name == w.Dist.Name })
	locked := r.req.Lock.App[i]
	project := recipes.Project{Name: locked.Name, Extras: r.extrasOf(locked.Source), Requires: metadata["Requires-Dist"]}
	var specs []string
	for _, d := range project.Depends(r.req.Lock.Python.Version, r.ownNames()) {
		if err := d.Err(); err != nil {
			return "", fmt.Errorf("reading the wheel of %s: its dependency %w", w.Dist.ID(), err)
		}
		specs = append(specs, d.Spec)
	}
	if !slices.Equal(specs, slices.Sorted(slices.Values(locked.Requires))) {
		return "", recipes.Faults{{
			File: r.req.Lock.File(), What: fmt.Sprintf("the lock has that %s requires %s, and its wheel requires %s", w.Dist.ID(), listed(locked.Requires), listed(specs)),
			Hint: "run `ampoule lock`",
		}}
	}
	return name.Version, nil
}

func listed(specs []string) string {
	if len(specs) == 0 {
		return "nothing"
	}
	return strings.Join(recipes.First(specs), ", ")
}

// extrasOf are the extras that the recipe wants of the code in a directory.
func (r *build) extrasOf(source string) []string {
	if app := r.req.Recipe.App; app != nil && app.Source == source {
		return app.Extras
	}
	return nil
}

// metadataOf reads the core metadata of a wheel.
func (r *build) metadataOf(w wheels.Wheel) (_ packaging.Metadata, err error) {
	f, err := r.with.Store.Open(w.SHA256)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	z, err := wheelfile.Open(f, info.Size(), wheelfile.DefaultLimits)
	if err != nil {
		return nil, err
	}
	for _, member := range z.File {
		if ok, _ := path.Match("*.dist-info/METADATA", member.Name); ok {
			return readMetadata(z, member.Name)
		}
	}
	return nil, errors.New("it has no METADATA")
}

// maxMetadata bounds the metadata of a wheel, in bytes.
const maxMetadata = 8 << 20

// readMetadata reads core metadata. Lines that are no fields are left out.
func readMetadata(z fs.FS, name string) (packaging.Metadata, error) {
	in, err := z.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	data, err := io.ReadAll(io.LimitReader(in, maxMetadata))
	if err != nil {
		return nil, err
	}
	fields, err := packaging.ParseMetadata(data)
	if fields == nil {
		return nil, err
	}
	return fields, nil
}

// source says what the artifact's first-party code is of; nil without any. Versions are
// those of the wheels that were built, by name.
func source(req Request, versions map[string]string) *Source {
	if req.Workspace == nil {
		return nil
	}
	s := &Source{State: req.Workspace.State, Hash: req.Workspace.Hash()}
	for i, p := range req.Workspace.Projects {
		one := SourceProject{Source: p.Dir, Tree: p.Tree.Hash()}
		if i < len(req.Lock.App) {
			one.Name = req.Lock.App[i].Name
			one.Version = versions[one.Name]
		}
		s.Projects = append(s.Projects, one)
	}
	return s
}

// keepSource writes what first-party code is of beside the logs, and returns it as it is
// published.
func (r *build) keepSource() ([]byte, error) {
	said := source(r.req, r.versions)
	if said == nil {
		return nil, nil
	}
	data, err := json.MarshalIndent(said, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing what the code is of: %w", err)
	}
	data = append(data, '\n')
	return data, os.WriteFile(filepath.Join(r.logs, artifact.SourceFile), data, 0o644)
}

// checkCommand refuses an app.command whose program is neither in the tree nor in the base
// that the image stands on.
func (r *build) checkCommand(ctx context.Context, open *layers.Opened, sealed *tree.Tree) error {
	app := r.req.Recipe.App
	if app == nil || len(app.Command) == 0 {
		return nil
	}
	below, err := r.imageBase(ctx)
	if err != nil {
		return err
	}
	root, err := open.RootFS(ctx, below)
	if err != nil {
		return err
	}
	program := app.Command[0]
	why := missingProgram(program, sealed, root)
	if why == "" {
		return nil
	}
	hint := "a program of bin comes with a distribution that is required, or with the application's own scripts: project.scripts of its pyproject.toml"
	if names := programs(sealed); len(names) > 0 {
		hint = "bin has " + strings.Join(recipes.First(names), ", ") + "; " + hint
	}
	return recipes.Faults{r.req.Recipe.Fault(fmt.Sprintf("app.command: %s %s", program, why), hint, "app", "command", "0")}
}

// missingProgram says why an image does not run a program; nothing where it does.
func missingProgram(program string, sealed, root *tree.Tree) string {
	if !strings.Contains(program, "/") {
		for _, place := range searched(program, sealed, root) {
			if isProgram(place.in, place.path) {
				return ""
			}
		}
		return "is in no directory of the image's PATH"
	}
	in, at := root, strings.TrimPrefix(path.Join("/", program), "/")
	if inside, ok := strings.CutPrefix(at, Prefix+"/"); ok {
		in, at = sealed, inside
	}
	e, found := in.Resolve(at)
	switch {
	case !found || e.Kind != tree.File:
		return "is not in the image"
	case e.Mode&0o111 == 0:
		return "is not executable"
	}
	return ""
}

// searchPath are the directories of the image's PATH below the tree's own bin directory.
var searchPath = []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"}

type placed struct {
	in   *tree.Tree
	path string
}

// searched are the places at which the image looks for a program of a name.
func searched(program string, sealed, root *tree.Tree) []placed {
	places := []placed{{sealed, path.Join("bin", program)}}
	for _, dir := range searchPath {
		places = append(places, placed{root, path.Join(dir, program)})
	}
	return places
}

func isProgram(in *tree.Tree, at string) bool {
	e, ok := in.Resolve(at)
	return ok && e.Kind == tree.File && e.Mode&0o111 != 0
}

// programs are the names of what the tree's distributions have in bin.
func programs(sealed *tree.Tree) []string {
	var names []string
	for _, e := range sealed.Entries() {
		if path.Dir(e.Path) == "bin" && strings.HasPrefix(e.Owner, audit.OwnerWheel) {
			names = append(names, path.Base(e.Path))
		}
	}
	return names
}

// takeCode puts the archives of first-party code into the store.
func (r *build) takeCode(ctx context.Context) error {
	code, err := r.b.keepCode(ctx, r.req)
	r.own, r.versions = ownDists(r.req.Lock, code), map[string]string{}
	return err
}
