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

// A layer that was unpacked once is known by a file with the listing of its entries, so that it
// need not be fetched again while its files are here. Before the listing stand the paths of those that are ELF
// files, quoted, and how many there are: whoever asks what the machine must have looks at these. The first line
// is the hash of the rest: the file is not synced, and a power loss may leave any part of it.

// layerList is what is known of a layer.
type layerList struct {
	entries []tree.Entry
	natives []string
}

// layerFile is the name of the list of a layer's files; empty for a layer without a proper digest.
func layerFile(digest string) string {
	if !artifact.IsDigest(digest) {
		return ""
	}
	return strings.TrimPrefix(digest, "sha256:")
}

// known returns what is known of a layer whose files all are here; nothing if the layer must be fetched.
func (c *content) known(digest string) layerList {
	name := layerFile(digest)
	if c == nil || name == "" {
		return layerList{}
	}
	list, ok := c.readList(path.Join(layersName, name))
	if !ok {
		return layerList{}
	}
	l, err := parseList(list)
	if err != nil {
		return layerList{}
	}
	for _, e := range l.entries {
		if checkName(e.Path) != nil || e.Kind == tree.File && !c.has(contentKey(e)) {
			return layerList{}
		}
	}
	return l
}

// nativesLine begins a list.
const nativesLine = "natives "

// parseList reads what [content.learn] has written.
func parseList(list string) (l layerList, err error) {
	head, rest, _ := strings.Cut(list, "\n")
	count, isList := strings.CutPrefix(head, nativesLine)
	n, err := strconv.Atoi(count)
	if !isList || err != nil {
		return l, errLine
	}
	for range n {
		var quoted string
		quoted, rest, _ = strings.Cut(rest, "\n")
		p, err := strconv.Unquote(quoted)
		if err != nil {
			return l, errLine
		}
		l.natives = append(l.natives, p)
	}
	l.entries, err = parseListing(rest)
	return l, err
}

// learn notes the entries of a layer that was unpacked, and which of them are ELF files.
func (c *content) learn(digest string, entries []tree.Entry, natives map[string]bool) error {
	name := layerFile(digest)
	if name == "" {
		return nil
	}
	t, err := tree.New(entries)
	if err != nil {
		return err
	}
	var paths []string
	for _, e := range t.Entries() {
		if natives[e.Path] {
			paths = append(paths, strconv.Quote(e.Path)+"\n")
		}
	}
	head := fmt.Sprintf("%s%d\n%s", nativesLine, len(paths), strings.Join(paths, ""))
	return c.putList(path.Join(layersName, name), append([]byte(head), t.Listing()...))
}

// forget has a layer be fetched the next time.
func (c *content) forget(digest string) error {
	if name := layerFile(digest); c != nil && name != "" {
		return ignoreMissing(c.layers.Remove(name))
	}
	return nil
}

// kinds are how a listing's lines begin.
var kinds = map[tree.Kind]string{tree.Dir: "dir ", tree.File: "file ", tree.Symlink: "link "}

// linesOf are the lines of a listing that are of a kind.
func linesOf(listing string, kind tree.Kind) string {
	var b strings.Builder
	for line := range strings.Lines(listing) {
		if strings.HasPrefix(line, kinds[kind]) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// parseListing reads the entries of a [tree.Tree.Listing].
func parseListing(listing string) ([]tree.Entry, error) {
	entries := make([]tree.Entry, 0, strings.Count(listing, "\n"))
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
