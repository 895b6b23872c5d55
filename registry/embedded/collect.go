package embedded

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ampoule/artifact"
)

// Keep says what a collection leaves.
type Keep struct {
	// Unused is how long an artifact stays that only its key names and that nobody uses,
	// and up to an hour longer; 0 is for ever.
	Unused time.Duration `json:"unused"`
	// Dry has nothing removed: the outcome tells what would be.
	Dry bool `json:"dry"`
}

// Collected is the outcome of a collection. Sizes are in bytes.
type Collected struct {
	// Artifacts are those that were removed, as NAME@DIGEST.
	Artifacts    []string `json:"artifacts"`
	Removed      int      `json:"removed"`
	RemovedBytes int64    `json:"removedBytes"`
	Left         int      `json:"left"`
	LeftBytes    int64    `json:"leftBytes"`
	// Skipped are repositories that are damaged, where nothing was removed.
	Skipped []string `json:"skipped,omitempty"`
}

const (
	// usedName is the directory of what notes when artifacts were used last.
	usedName = "used"
	// youth is how long content stays that nothing refers to: a publication or a pull that
	// is under way may need it.
	youth = time.Hour
	// uploadAge is how long an upload may rest.
	uploadAge = 24 * time.Hour
)

// collect removes what nothing refers to, and artifacts that were not used for long. No
// manifest is written while a repository is collected, since what nothing referred to before may be
// named by it; between two repositories, whoever waits may write. Blobs may come and go.
func (g *guard) collect(ctx context.Context, keep Keep) (Collected, error) {
	g.upkeep.Lock()
	defer g.upkeep.Unlock()
	g.askedMu.Lock()
	maps.DeleteFunc(g.asked, func(_ string, then time.Time) bool { return time.Since(then) > youth })
	g.askedMu.Unlock()
	out := Collected{Artifacts: []string{}}
	repos, err := g.repositories()
	if err != nil {
		return out, err
	}
	for _, repo := range repos {
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		c := collection{guard: g, repo: repo, keep: keep, out: &out}
		if err := c.run(); err != nil {
			return out, err
		}
	}
	g.sound.save()
	return out, nil
}

// collection collects one repository.
type collection struct {
	*guard
	repo repository
	keep Keep
	now  time.Time
	out  *Collected
	// live is what stays: what roots lead to.
	live map[string]bool
	// unread says that what a root leads to is not known.
	unread bool
}

func (c *collection) run() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.now = time.Now()
	list, err := c.repo.index()
	if err == nil {
		c.mark(list.Manifests)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) || c.unread {
		c.out.Skipped = append(c.out.Skipped, c.repo.name)
		return c.sweep(func(string, os.FileInfo) bool { return false })
	}
	if err := c.unlist(list.Manifests); err != nil {
		return err
	}
	if err := c.dropUploads(); err != nil {
		return err
	}
	return c.sweep(func(digest string, info os.FileInfo) bool {
		return !c.live[digest] && !c.young(c.repo.blob(digest), info)
	})
}

// dropUploads removes uploads that nobody went on with for a day. Who does so later has to begin
// anew.
func (c *collection) dropUploads() error {
	dir := filepath.Join(c.repo.dir, uploadsName)
	entries, err := readDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || c.now.Sub(info.ModTime()) < uploadAge || c.keep.Dry {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// mark finds what stays.
func (c *collection) mark(entries []descriptor) {
	c.live = map[string]bool{}
	tags := tagsOf(entries)
	known := c.knownSubjects(entries)
	var lists []descriptor
	for _, d := range entries {
		switch subject := subjectOf(d); {
		case subject != "" && d.Annotations[subjectAnnotation] == "" && !known[subject]:
			// What it is beside is kept elsewhere: it is found by its tag alone.
			c.reach(d)
		case subject != "":
			lists = append(lists, d)
		case c.isRoot(d, tags[d.Digest]):
			c.reach(d)
		}
	}
	for again := true; again; {
		again = false
		for _, d := range lists {
			// Referrers and signatures are published before their subject.
			if !c.live[d.Digest] && (c.live[subjectOf(d)] || c.isYoung(d.Digest)) {
				c.reach(d)
				again = true
			}
		}
	}
}

// knownSubjects are the manifests that a list leads to, whether they stay or not. They are
// looked for only where something is tagged as beside another one.
func (c *collection) knownSubjects(entries []descriptor) map[string]bool {
	known := map[string]bool{}
	beside := func(d descriptor) bool { return d.Annotations[subjectAnnotation] == "" && subjectOf(d) != "" }
	if !slices.ContainsFunc(entries, beside) {
		return known
	}
	for _, d := range entries {
		c.repo.eachManifest(d, known)
	}
	return known
}

// isRoot reports whether an entry of the list stays: what has a tag that is no key's,
// what a key's tag names and is used, and what is new.
func (c *collection) isRoot(d descriptor, tags []string) bool {
	if len(tags) == 0 {
		return c.isYoung(d.Digest)
	}
	if slices.ContainsFunc(tags, func(tag string) bool { return !artifact.IsKeyTag(tag) }) {
		return true
	}
	return c.keep.Unused <= 0 || c.now.Sub(c.usedAt(c.repo, d.Digest)) <= c.keep.Unused+freshUse
}

func (c *collection) reach(root descriptor) {
	c.repo.visit(root, func(d descriptor, err error) bool {
		c.live[d.Digest] = true
		if err != nil && (isIndex(d.MediaType) || isManifest(d.MediaType)) {
			c.unread = true
		}
		return true
	})
}

func (c *collection) isYoung(digest string) bool {
	info, err := os.Stat(c.repo.blob(digest))
	return err == nil && c.young(c.repo.blob(digest), info)
}

// young tells content that came, or was asked for, a short time ago.
func (c *collection) young(path string, info os.FileInfo) bool {
	c.askedMu.Lock()
	defer c.askedMu.Unlock()
	return c.now.Sub(info.ModTime()) < youth || c.now.Sub(c.asked[path]) < youth
}

// unlist takes what does not stay out of the repository's list.
func (c *collection) unlist(entries []descriptor) error {
	if c.keep.Dry || !slices.ContainsFunc(entries, func(d descriptor) bool { return !c.live[d.Digest] }) {
		return c.unlistEach(entries)
	}
	// No list on disk may name what is removed next.
	return c.change(c.repo, func() error { return c.unlistEach(entries) })
}

func (c *collection) unlistEach(entries []descriptor) error {
	gone := map[string]bool{}
	for _, d := range entries {
		if c.live[d.Digest] || gone[d.Digest] {
			continue
		}
		gone[d.Digest] = true
		if subjectOf(d) == "" && len(tagsOf(entries)[d.Digest]) > 0 {
			c.out.Artifacts = append(c.out.Artifacts, c.repo.name+"@"+d.Digest)
		}
		if c.keep.Dry {
			continue
		}
		if err := c.delete(c.repo, d.Digest); err != nil {
			return err
		}
		if err := os.Remove(c.used(c.repo, d.Digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sweep removes the blobs that are dead, and counts them and the others.
func (c *collection) sweep(dead func(digest string, info os.FileInfo) bool) error {
	entries, err := readDir(filepath.Join(c.repo.dir, blobsName, hashName))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		digest := "sha256:" + entry.Name()
		if !artifact.IsDigest(digest) || !dead(digest, info) {
			c.out.Left++
			c.out.LeftBytes += info.Size()
			continue
		}
		gone, err := c.removeBlob(digest)
		if err != nil {
			return err
		}
		if gone {
			c.out.Removed++
			c.out.RemovedBytes += info.Size()
		} else {
			c.out.Left++
			c.out.LeftBytes += info.Size()
		}
	}
	return nil
}

// removeBlob removes content unless somebody has asked for it meanwhile.
func (c *collection) removeBlob(digest string) (gone bool, err error) {
	path := c.repo.blob(digest)
	c.askedMu.Lock()
	defer c.askedMu.Unlock()
	if c.now.Sub(c.asked[path]) < youth {
		return false, nil
	}
	delete(c.asked, path)
	if c.keep.Dry {
		return true, nil
	}
	c.sound.forget(path)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}

// subjectOf is the digest that an entry of a repository's list belongs to: that of a list of
// referrers, or of signatures, which have a tag. Others have none.
func subjectOf(d descriptor) string {
	if subject := d.Annotations[subjectAnnotation]; subject != "" {
		return subject
	}
	subject, _ := artifact.SubjectOfTag(d.Annotations[artifact.AnnotationRefName])
	return subject
}

// tagsOf lists the tags of each digest.
func tagsOf(entries []descriptor) map[string][]string {
	tags := map[string][]string{}
	for _, d := range entries {
		if tag := d.Annotations[artifact.AnnotationRefName]; tag != "" {
			tags[d.Digest] = append(tags[d.Digest], tag)
		}
	}
	return tags
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
