package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/artifact"
)

// Report is what verifying a registry found.
type Report struct {
	// Files and Bytes count the content that was read.
	Files  int     `json:"files"`
	Bytes  int64   `json:"bytes"`
	Faults []Fault `json:"faults"`
	// LeftOut lists what this directory's copy is without, as NAME:TAG or NAME@DIGEST: it was
	// pushed while the directory was copied. Repairing forgets it.
	LeftOut []string `json:"leftOut,omitempty"`
}

// Fault is one thing that is wrong in a registry.
type Fault struct {
	// Repository is empty for what belongs to none.
	Repository string `json:"repository,omitempty"`
	// Subject is a digest, a tag, or a file below the registry's directory.
	Subject string `json:"subject"`
	Problem string `json:"problem"`
	// NeededBy lists the artifacts that are not whole for it.
	NeededBy []string `json:"neededBy,omitempty"`
	// Done is what repairing did; empty where it could do nothing.
	Done string `json:"done,omitempty"`
	// Lost says that something that is needed is not there: it must be published again.
	Lost bool `json:"lost"`
}

func (f Fault) String() string {
	text := strings.TrimPrefix(f.Repository+": "+f.Subject+": "+f.Problem, ": ")
	if len(f.NeededBy) > 0 {
		text += ", needed by " + strings.Join(f.NeededBy, ", ")
	}
	if f.Done != "" {
		text += ": " + f.Done
	}
	return text
}

// inspection is one run of verifying.
type inspection struct {
	*guard
	repair bool
	report Report
}

// verify reads all content and compares it with its names, looks whether all that is
// referred to is there, and tells what belongs to nothing.
func (g *guard) verify(ctx context.Context, repair bool) (Report, error) {
	g.upkeep.Lock()
	defer g.upkeep.Unlock()
	v := &inspection{guard: g, repair: repair, report: Report{Faults: []Fault{}}}
	if err := v.strays("", g.dir, lockName, partName, soundName, rootName, usedName, placeName); err != nil {
		return v.report, err
	}
	repos, err := g.repositories()
	if err != nil {
		return v.report, err
	}
	if err := v.strangers(repos); err != nil {
		return v.report, err
	}
	for _, repo := range repos {
		if err := v.repository(ctx, repo); err != nil {
			return v.report, fmt.Errorf("verifying repository %s: %w", repo.name, err)
		}
	}
	v.report.LeftOut = g.place.LeftOut
	if repair {
		if err := g.forgetLeftOut(); err != nil {
			return v.report, err
		}
	}
	g.sound.save()
	return v.report, nil
}

// repository verifies one repository.
func (v *inspection) repository(ctx context.Context, repo repository) error {
	faults := map[string]*Fault{}
	if err := v.content(ctx, repo, faults); err != nil {
		return err
	}
	list, err := v.list(repo, faults)
	if err != nil {
		return err
	}
	for _, d := range list.Manifests {
		if err := v.entry(repo, d, faults); err != nil {
			return err
		}
	}
	for _, subject := range sortedKeys(faults) {
		v.report.Faults = append(v.report.Faults, *faults[subject])
	}
	return nil
}

// content reads every blob.
func (v *inspection) content(ctx context.Context, repo repository, faults map[string]*Fault) error {
	blobs := filepath.Join(repo.dir, blobsName)
	if err := v.strays(repo.name, blobs, hashName); err != nil {
		return err
	}
	entries, err := readDir(filepath.Join(blobs, hashName))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		d := descriptor{Digest: "sha256:" + entry.Name()}
		path := repo.blob(d.Digest)
		if !entry.Type().IsRegular() || !artifact.IsDigest(d.Digest) {
			if err := v.stray(repo.name, path); err != nil {
				return err
			}
			continue
		}
		size, err := v.sound.read(ctx, path, d.Digest)
		v.report.Files++
		v.report.Bytes += size
		switch {
		case errors.Is(err, ErrDamaged):
			fault := &Fault{Repository: repo.name, Subject: d.Digest, Problem: err.Error()}
			faults[d.Digest] = fault
			if err := v.mendBlob(repo, d, fault); err != nil {
				return err
			}
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// mendBlob puts content back from elsewhere, or removes it.
func (v *inspection) mendBlob(repo repository, d descriptor, fault *Fault) error {
	if !v.repair {
		return nil
	}
	restored, err := v.restore(repo, d)
	if err != nil {
		return err
	}
	if restored {
		fault.Done = "restored from the store's content"
		return nil
	}
	fault.Done = "removed"
	return v.drop(repo, d.Digest)
}

// list reads a repository's list, and makes it anew where it is lost.
func (v *inspection) list(repo repository, faults map[string]*Fault) (manifest, error) {
	list, err := repo.index()
	if err == nil {
		return list, nil
	}
	fault := &Fault{Repository: repo.name, Subject: indexName, Problem: err.Error(), Lost: !v.repair}
	if errors.Is(err, fs.ErrNotExist) {
		fault.Problem = "it is gone"
	}
	faults[""] = fault
	if !v.repair {
		return manifest{}, nil
	}
	v.writing.Lock()
	defer v.writing.Unlock()
	found, err := v.rebuild(repo)
	if err != nil {
		return manifest{}, err
	}
	fault.Done = fmt.Sprintf("made anew of %d manifests and the list before it; tags that neither has are lost", found)
	return repo.index()
}

// entry verifies what an entry of a repository's list leads to.
func (v *inspection) entry(repo repository, d descriptor, faults map[string]*Fault) error {
	if subject := d.Annotations[subjectAnnotation]; subject != "" && repo.check(d) != nil {
		return v.lostReferrers(repo, d, subject, faults)
	}
	name := repo.name + "@" + d.Digest
	if subject := d.Annotations[subjectAnnotation]; subject != "" {
		name = repo.name + "@" + subject
	}
	whole := true
	repo.visit(d, func(part descriptor, err error) bool {
		known := faults[part.Digest]
		if err == nil && (known == nil || known.Done != "") {
			if known != nil && !slices.Contains(known.NeededBy, name) {
				known.NeededBy = append(known.NeededBy, name)
			}
			return true
		}
		whole = false
		if known == nil {
			known = &Fault{Repository: repo.name, Subject: part.Digest, Problem: problem(err)}
			faults[part.Digest] = known
		}
		known.Lost = true
		if !slices.Contains(known.NeededBy, name) {
			known.NeededBy = append(known.NeededBy, name)
		}
		return true
	})
	if whole {
		return v.key(repo, d, faults)
	}
	if subject := d.Annotations[subjectAnnotation]; subject != "" && v.repair {
		return v.dropReferrers(repo, d, subject, faults)
	}
	if _, _, err := repo.document(d.Digest); err == nil || !v.repair {
		return nil
	}
	// Nothing can be had by its name any more.
	if fault := faults[d.Digest]; fault != nil {
		fault.Done = strings.TrimPrefix(fault.Done+"; taken out of the list", "; ")
	}
	return v.forgetEntry(repo, d.Digest)
}

// problem tells what is wrong with content.
func problem(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "it is gone"
	}
	return err.Error()
}

// lostReferrers tells of a list of referrers that is damaged or gone.
func (v *inspection) lostReferrers(repo repository, d descriptor, subject string, faults map[string]*Fault) error {
	fault := faults[d.Digest]
	if fault == nil {
		fault = &Fault{Repository: repo.name, Subject: d.Digest, Problem: problem(repo.check(d))}
		faults[d.Digest] = fault
	}
	fault.NeededBy = append(fault.NeededBy, repo.name+"@"+subject)
	fault.Lost = !v.repair
	if !v.repair {
		return nil
	}
	fault.Done = "the list of what refers to it is made anew"
	return v.mendReferrers(repo, subject)
}

// dropReferrers takes what refers to a subject and is not whole out of the list of that.
func (v *inspection) dropReferrers(repo repository, d descriptor, subject string, faults map[string]*Fault) error {
	m, _, err := repo.document(d.Digest)
	if err != nil {
		return err
	}
	for _, referrer := range m.Manifests {
		repo.visit(referrer, func(part descriptor, err error) bool {
			if fault := faults[part.Digest]; err != nil && fault != nil {
				fault.Done = strings.TrimPrefix(fault.Done+"; what needs it is taken out of the list of referrers", "; ")
			}
			return true
		})
		if repo.whole(referrer) {
			continue
		}
		if err := os.Remove(repo.blob(referrer.Digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(repo.blob(d.Digest)); err != nil {
		return err
	}
	return v.mendReferrers(repo, subject)
}

// key compares a key's tag with what the artifact says of itself.
func (v *inspection) key(repo repository, d descriptor, faults map[string]*Fault) error {
	tag := d.Annotations[artifact.AnnotationRefName]
	m, _, err := repo.document(d.Digest)
	if !artifact.IsKeyTag(tag) || err != nil || !isIndex(d.MediaType) {
		return nil
	}
	want, ok := artifact.KeyOfTag(tag)
	if key, err := repo.keyOf(m); err != nil || ok && key == want {
		return nil //nolint:nilerr // what cannot be read was told
	}
	fault := &Fault{Repository: repo.name, Subject: tag, Problem: "it names " + d.Digest + ", which is not that key's artifact"}
	faults[tag] = fault
	if !v.repair {
		return nil
	}
	fault.Done = "the tag is removed"
	return v.forgetEntry(repo, tag)
}

// forgetEntry takes a digest or a tag out of a repository's list.
func (v *inspection) forgetEntry(repo repository, ref string) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	return v.change(repo, func() error { return v.delete(repo, ref) })
}

// strangers tells of files between repositories that belong to none.
func (v *inspection) strangers(repos []repository) error {
	dirs := map[string]bool{v.root: true}
	for _, r := range repos {
		for dir := r.dir; len(dir) > len(v.root); dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
	}
	for _, dir := range sortedKeys(dirs) {
		known := []string{indexName, previousName, layoutName, blobsName, uploadsName}
		entries, err := readDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			path := filepath.Join(dir, entry.Name())
			if dirs[path] || dir != v.root && slices.Contains(known, entry.Name()) || strings.HasPrefix(entry.Name(), indexName+".") {
				continue
			}
			name, _ := filepath.Rel(v.root, dir)
			if err := v.stray(filepath.ToSlash(strings.TrimPrefix(name, ".")), path); err != nil {
				return err
			}
		}
	}
	return nil
}

// strays tells of all in a directory but what is known.
func (v *inspection) strays(repo, dir string, known ...string) error {
	entries, err := readDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if slices.Contains(known, entry.Name()) || strings.HasPrefix(entry.Name(), soundName+".") {
			continue
		}
		if err := v.stray(repo, filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// stray tells of a file that belongs to nothing, and removes it.
func (v *inspection) stray(repo, path string) error {
	rel, err := filepath.Rel(v.dir, path)
	if err != nil {
		return err
	}
	fault := Fault{Repository: repo, Subject: rel, Problem: "it belongs to nothing"}
	if v.repair {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		fault.Done = "removed"
	}
	v.report.Faults = append(v.report.Faults, fault)
	return nil
}

// readDir lists a directory; one that is not there is empty.
func readDir(dir string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}
