package embedded

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"ampoule/artifact"
)

// A directory may be copied while it is served, by cp -a or any other program. Content is
// never changed, and is in place before a list names it; but a program that copies the content
// first and the list later gets a list that names more than it copied. So a registry notes which
// directory it is in; one that finds itself in another one is a copy, and takes what is not there
// out of its lists: it came while the directory was copied.

// placeName is the file that says which directory this is.
const placeName = "place"

// place is the content of that file.
type place struct {
	// Inodes are those of the registry's directory and of that of the repositories. A copy has
	// others.
	Inodes [2]uint64 `json:"inodes"`
	// LeftOut is what this copy is without.
	LeftOut []string `json:"leftOut,omitempty"`
}

// settle makes a copy sound, and notes where it is now.
func (g *guard) settle() error {
	if err := os.MkdirAll(g.root, 0o755); err != nil {
		return err
	}
	raw, err := readAtMost(filepath.Join(g.dir, placeName), maxManifest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// One that cannot be read says nothing: it is then looked at as a copy is.
	known := err == nil
	if known && json.Unmarshal(raw, &g.place) != nil {
		g.place = place{}
	}
	here, err := inodes(g.dir, g.root)
	if err != nil || known && g.place.Inodes == here {
		return err
	}
	g.place.Inodes = here
	if known {
		if err := g.dropMissing(); err != nil {
			return err
		}
	}
	return g.savePlace()
}

func inodes(dirs ...string) (all [2]uint64, err error) {
	for i, dir := range dirs {
		f, err := os.Open(dir)
		if err != nil {
			return all, err
		}
		state, err := stateOf(f)
		_ = f.Close()
		if err != nil {
			return all, err
		}
		all[i] = state.Inode
	}
	return all, nil
}

// savePlace writes the file in one step.
func (g *guard) savePlace() error {
	raw, err := json.Marshal(g.place)
	if err != nil {
		return err
	}
	return placeIn(g.dir, placeName, soundName+".*", raw)
}

// forgetLeftOut forgets what is left out.
func (g *guard) forgetLeftOut() error {
	if len(g.place.LeftOut) == 0 {
		return nil
	}
	g.place.LeftOut = nil
	return g.savePlace()
}

// dropMissing takes out of all lists what is not there.
func (g *guard) dropMissing() error {
	repos, err := g.repositories()
	if err != nil {
		return err
	}
	for _, repo := range repos {
		list, err := repo.index()
		if err != nil {
			continue // it is mended when something is written, as ever
		}
		if err := g.dropMissingIn(repo, list); err != nil {
			return err
		}
	}
	return nil
}

func (g *guard) dropMissingIn(repo repository, list manifest) error {
	whole := emptyList()
	for _, d := range list.Manifests {
		if repo.present(d, map[string]bool{}) {
			whole.Manifests = append(whole.Manifests, d)
			continue
		}
		switch tag := d.Annotations[artifact.AnnotationRefName]; {
		case tag != "":
			g.place.LeftOut = append(g.place.LeftOut, repo.name+":"+tag)
		case d.Annotations[subjectAnnotation] == "":
			g.place.LeftOut = append(g.place.LeftOut, repo.name+"@"+d.Digest)
		}
	}
	if len(whole.Manifests) == len(list.Manifests) {
		return nil
	}
	if err := repo.saveIndex(whole); err != nil {
		return err
	}
	g.renew()
	return g.listReferrers(repo)
}

// listReferrers takes what refers to something into its list.
func (g *guard) listReferrers(repo repository) error {
	found, err := repo.documents()
	if err != nil {
		return err
	}
	for _, doc := range found {
		if doc.Subject != nil && repo.present(descriptor{MediaType: doc.MediaType, Digest: doc.digest}, map[string]bool{}) {
			g.replay(repo, doc, doc.digest)
		}
	}
	return g.sync()
}

// present reports whether there is a file for all that a descriptor leads to. It reads manifests
// alone: copying damages nothing.
func (r repository) present(d descriptor, seen map[string]bool) bool {
	if seen[d.Digest] || d.isForeign() {
		return true
	}
	seen[d.Digest] = true
	if !r.has(d.Digest) {
		return false
	}
	if !isIndex(d.MediaType) && !isManifest(d.MediaType) {
		return true
	}
	m, _, err := r.document(d.Digest)
	if err != nil {
		return false
	}
	for _, part := range m.parts() {
		if !r.present(part, seen) {
			return false
		}
	}
	return true
}
