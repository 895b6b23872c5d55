package install

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"ampoule/artifact"
	"ampoule/tree"
)

// A layer that was unpacked once is known by a file of the listing of its entries, so that it
// need not be fetched again while its files are here. The first line is the hash of the rest: the
// file is not synced, and a power loss may leave any part of it.

// layerFile is the name of the list of a layer's files; empty for a layer without a proper digest.
func layerFile(digest string) string {
	if !artifact.IsDigest(digest) {
		return ""
	}
	return strings.TrimPrefix(digest, "sha256:")
}

// known returns the entries of a layer whose files all are here; nil if the layer must be fetched.
func (c *content) known(digest string) []tree.Entry {
	name := layerFile(digest)
	if c == nil || name == "" {
		return nil
	}
	listing, ok := c.readList(path.Join(layersName, name))
	if !ok {
		return nil
	}
	entries, err := parseListing(listing)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.Kind == tree.File && !c.has(contentKey(e)) {
			return nil
		}
	}
	return entries
}

// learn notes the entries of a layer that was unpacked.
func (c *content) learn(digest string, entries []tree.Entry) error {
	name := layerFile(digest)
	if name == "" {
		return nil
	}
	t, err := tree.New(entries)
	if err != nil {
		return err
	}
	return c.putList(path.Join(layersName, name), t.Listing())
}

// forget has a layer be fetched the next time.
func (c *content) forget(digest string) error {
	if name := layerFile(digest); c != nil && name != "" {
		return ignoreMissing(c.layers.Remove(name))
	}
	return nil
}

// parseListing reads the entries of a [tree.Tree.Listing].
func parseListing(listing string) ([]tree.Entry, error) {
	var entries []tree.Entry
	for line := range strings.Lines(listing) {
		e, err := parseLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

var errLine = errors.New("it is no line of a listing")

func parseLine(line string) (tree.Entry, error) {
	kind, rest, _ := strings.Cut(line, " ")
	e := tree.Entry{Kind: tree.Symlink, Mode: 0o777}
	if kind != "link" {
		octal, after, _ := strings.Cut(rest, " ")
		bits, err := strconv.ParseUint(octal, 8, 32)
		if err != nil || bits > 0o777 {
			return e, errLine
		}
		e.Mode, rest = fs.FileMode(bits), after
	}
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return e, errLine
	}
	if e.Path, err = strconv.Unquote(quoted); err != nil || tree.CheckPath(e.Path) != nil {
		return e, errLine
	}
	rest = rest[len(quoted):]
	switch kind {
	case "dir":
		e.Kind = tree.Dir
		return e, unless(rest == "")
	case "file":
		e.Kind, e.SHA256 = tree.File, strings.TrimPrefix(rest, " ")
		return e, unless(len(e.SHA256) == 64 && strings.Trim(e.SHA256, "0123456789abcdef") == "")
	case "link":
		e.Link, err = strconv.Unquote(strings.TrimPrefix(rest, " "))
		return e, unless(err == nil)
	}
	return e, errLine
}

func unless(ok bool) error {
	if ok {
		return nil
	}
	return errLine
}

// newStagingName is a name that no other process chooses.
func newStagingName() string { return ".tmp-" + rand.Text() }
