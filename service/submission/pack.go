// Package submission carries what a person builds from to a service: one archive with the recipe,
// the files that it names, its lock, and first-party code.
//
// The archive is a tar, which may be compressed by gzip. Its member ampoule-submission.json says
// which file is the recipe. An archive without it has the recipe in ampoule.yaml, and may be made
// by any program. Whoever reads one trusts nothing in it: see [Unpack].
package submission

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"ampoule/builder/workspace"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// MediaTypes are those that an archive may have, the usual one first.
func MediaTypes() []string {
	return []string{"application/gzip", "application/x-tar", "application/x-gzip", "application/octet-stream"}
}

const (
	// manifestName is the member that says what is in the archive.
	manifestName = "ampoule-submission.json"
	// version is that of the form.
	version = 1
	// defaultRecipe is the recipe of an archive without a manifest.
	defaultRecipe = "ampoule.yaml"
	// maxManifest bounds the manifest, in bytes.
	maxManifest = 32 << 20
)

// manifest says what is in an archive.
type manifest struct {
	Version int `json:"version"`
	// Recipe is the recipe's path in the archive.
	Recipe string `json:"recipe"`
	// App is the first-party code; nil without any.
	App *app `json:"app,omitempty"`
}

// app says which of the files are first-party code, and what they are of.
type app struct {
	// Hash is [workspace.Workspace.Hash].
	Hash       string          `json:"hash"`
	State      workspace.State `json:"state"`
	Repository string          `json:"repository,omitempty"`
	Ref        string          `json:"ref,omitempty"`
	Projects   []project       `json:"projects"`
}

// project is the code of one source directory.
type project struct {
	// Dir is as the recipe names it; Version is what tags give.
	Dir     string `json:"dir"`
	Version string `json:"version,omitempty"`
	// Files are its files, relative to Dir.
	Files []string `json:"files"`
}

// Input is what is packed: what was read of files beside each other.
type Input struct {
	Recipe       *recipes.Recipe
	Requirements *recipes.RequirementSet
	// Workspace is the recipe's first-party code; nil without any.
	Workspace *workspace.Workspace
	// WithoutLock leaves the lock out.
	WithoutLock bool
}

// Archive is an archive on its way to a service.
type Archive struct {
	// Data is the archive. The same files give the same bytes.
	Data []byte
	root string
}

// Place gives the path of a file, as the person who packed it sees it, by its name in the archive.
func (a Archive) Place(file string) string {
	return filepath.Join(a.root, filepath.FromSlash(file))
}

// Pack makes an archive of what a build reads.
func Pack(in Input) (Archive, error) {
	p := packing{members: map[string]member{}}
	dir := filepath.Dir(in.Recipe.File())
	// The archive begins where the topmost of the files is.
	up := in.above()
	p.base = strings.Repeat("../", up)
	below, err := lastParts(dir, up)
	if err != nil {
		return Archive{}, err
	}
	p.dir = below
	m := manifest{Version: version, Recipe: path.Join(below, filepath.Base(in.Recipe.File()))}
	p.disk(dir, filepath.Base(in.Recipe.File()), true)
	for _, file := range in.Recipe.Extended() {
		p.disk(dir, file, true)
	}
	p.requirements(in.Requirements)
	if !in.WithoutLock {
		p.disk(dir, recipes.LockPath(filepath.Base(in.Recipe.File())), false)
	}
	if in.Workspace != nil {
		m.App = p.app(in.Workspace)
	}
	if p.err != nil {
		return Archive{}, fmt.Errorf("packing %s: %w", in.Recipe.File(), p.err)
	}
	data, err := p.write(m)
	if err != nil {
		return Archive{}, fmt.Errorf("packing %s: %w", in.Recipe.File(), err)
	}
	return Archive{Data: data, root: filepath.Join(dir, filepath.FromSlash(p.base))}, nil
}

// above is how many directories above the recipe's the topmost file is.
func (in Input) above() int {
	most := 0
	see := func(file string) {
		clean := path.Clean(file)
		n := 0
		for strings.HasPrefix(clean+"/", "../") {
			clean = strings.TrimPrefix(strings.TrimPrefix(clean, ".."), "/")
			n++
		}
		most = max(most, n)
	}
	for _, file := range in.Recipe.Extended() {
		see(file)
	}
	for _, set := range sets(in.Requirements) {
		for file := range set.Files {
			see(file)
		}
	}
	for file := range in.Requirements.Patches {
		see(file)
	}
	if in.Workspace != nil {
		for _, p := range in.Workspace.Projects {
			see(p.Dir)
		}
	}
	return most
}

// sets are a set of requirements, and those of its groups.
func sets(set *recipes.RequirementSet) []*recipes.RequirementSet {
	all := []*recipes.RequirementSet{set}
	for _, name := range slices.Sorted(maps.Keys(set.Groups)) {
		all = append(all, set.Groups[name])
	}
	return all
}

// lastParts are the last n names of a directory's path.
func lastParts(dir string, n int) (string, error) {
	if n == 0 {
		return ".", nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", dir, err)
	}
	parts := strings.Split(strings.Trim(filepath.ToSlash(strings.TrimPrefix(abs, filepath.VolumeName(abs))), "/"), "/")
	if len(parts) < n {
		return "", faults.New(faults.Input, "", "%s is not %d directories deep", dir, n)
	}
	return path.Join(parts[len(parts)-n:]...), nil
}

// member is one file of an archive.
type member struct {
	data       []byte
	executable bool
}

// packing collects the members of an archive.
type packing struct {
	// dir is the recipe's directory in the archive; base leads from there to the archive's top.
	dir, base string
	members   map[string]member
	err       error
}

func (p *packing) add(file string, m member) {
	name := path.Join(p.dir, file)
	if name == manifestName {
		p.err = errors.Join(p.err, faults.New(faults.Input, "rename the file", "%s: a submission's own file has that name", file))
		return
	}
	if _, ok := p.members[name]; !ok {
		p.members[name] = m
	}
}

// disk adds a file by its path from the recipe's directory.
func (p *packing) disk(dir, file string, must bool) {
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
	switch {
	case err == nil:
		p.add(file, member{data: data})
	case must || !errors.Is(err, fs.ErrNotExist):
		p.err = errors.Join(p.err, err)
	}
}

func (p *packing) requirements(set *recipes.RequirementSet) {
	for _, one := range sets(set) {
		for file, data := range one.Files {
			p.add(file, member{data: data})
		}
		for file, data := range one.Patches {
			p.add(file, member{data: data})
		}
	}
}

// app adds first-party code.
func (p *packing) app(w *workspace.Workspace) *app {
	a := &app{Hash: w.Hash(), State: w.State, Repository: w.Origin.Repository, Ref: w.Origin.Ref}
	for _, code := range w.Projects {
		one := project{Dir: code.Dir, Version: code.Version, Files: []string{}}
		for _, e := range code.Tree.Entries() {
			switch e.Kind {
			case tree.Dir:
				continue
			case tree.Symlink:
				p.err = errors.Join(p.err, faults.New(faults.Input, "put the file itself there, or leave the link out with app.files",
					"%s is a link, and submissions have none", path.Join(code.Dir, e.Path)))
				continue
			case tree.File:
			}
			data, err := e.ReadAll()
			if err != nil {
				p.err = errors.Join(p.err, err)
				continue
			}
			p.add(path.Join(code.Dir, e.Path), member{data, e.Mode&0o111 != 0})
			one.Files = append(one.Files, e.Path)
		}
		a.Projects = append(a.Projects, one)
	}
	return a
}

// write writes the archive, the manifest first.
func (p *packing) write(m manifest) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	err = writeMember(t, manifestName, member{data: text})
	for _, name := range slices.Sorted(maps.Keys(p.members)) {
		if err == nil {
			err = writeMember(t, name, p.members[name])
		}
	}
	err = errors.Join(err, t.Close(), z.Close())
	return out.Bytes(), err
}

func writeMember(t *tar.Writer, name string, m member) error {
	mode := int64(0o644)
	if m.executable {
		mode = 0o755
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(m.data)), Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := t.Write(m.data)
	return err
}
