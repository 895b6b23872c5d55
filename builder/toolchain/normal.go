package toolchain

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/tree"
)

// mounts are directories that whoever runs a root file system mounts.
var mounts = []string{"dev", "proc", "sys"}

// emptied are directories that nothing below is kept of. Apt makes what it needs
// below its own, owned by one or another user.
var emptied = append([]string{"tmp", "var/tmp", "var/cache/apt", "var/lib/apt/lists"}, mounts...)

// fixed are files that differ from machine to machine, with the content that they
// have in every base.
var fixed = map[string]string{
	"etc/hostname":         "localhost\n",
	"etc/hosts":            "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
	"etc/resolv.conf":      "",
	"etc/machine-id":       "",
	"etc/apt/sources.list": "",
}

// scratch are directories whose files are logs, caches and such; directories
// below them are kept, for programs expect them.
var scratch = []string{
	"run", "var/log", "var/cache/ldconfig",
	"etc/apt/sources.list.d", "root/.cache",
}

// dropped are single files of that kind: backups, and what Docker adds.
var dropped = map[string]bool{
	".dockerenv": true, "etc/.pwd.lock": true, "var/lib/dbus/machine-id": true, "var/lib/systemd/random-seed": true,
	"var/lib/apt/extended_states": true,
	"etc/passwd-":                 true, "etc/group-": true, "etc/shadow-": true, "etc/gshadow-": true, "etc/subuid-": true, "etc/subgid-": true,
	"var/cache/debconf/config.dat-old": true, "var/cache/debconf/templates.dat-old": true, "var/cache/debconf/passwords.dat-old": true,
	"var/lib/dpkg/lock": true, "var/lib/dpkg/lock-frontend": true, "var/lib/dpkg/triggers/Lock": true,
}

// volatile says of an entry that it depends on when or where a root was made, and
// that no layer speaks of it.
func volatile(e tree.Entry) bool {
	if below(e.Path, emptied) {
		return true
	}
	if _, ok := fixed[e.Path]; ok || dropped[e.Path] {
		return true
	}
	if path.Dir(e.Path) == "var/lib/dpkg" && strings.HasSuffix(e.Path, "-old") {
		return true
	}
	return e.Kind != tree.Dir && below(e.Path, scratch)
}

func below(p string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(p, dir+"/") })
}

// normaliseBase makes a base's tree independent of the machine that it was made on.
func normaliseBase(t *tree.Tree) (*tree.Tree, error) {
	t, err := normalise(t)
	if err != nil {
		return nil, err
	}
	entries := make([]tree.Entry, 0, len(fixed)+len(mounts))
	for name, content := range fixed {
		entries = append(entries, tree.FileEntry(name, 0o644, []byte(content)))
	}
	for _, dir := range mounts {
		entries = append(entries, tree.Entry{Path: dir, Kind: tree.Dir, Mode: 0o755})
	}
	return t.With(entries...)
}

// normalise leaves out what is volatile, and dates passwords' changes at [tree.Time].
func normalise(t *tree.Tree) (*tree.Tree, error) {
	t = t.Select(func(e tree.Entry) bool { return !volatile(e) })
	e, ok := t.Lookup("etc/shadow")
	if !ok || e.Kind != tree.File {
		return t, nil
	}
	data, err := e.ReadAll()
	if err != nil {
		return nil, err
	}
	return t.With(e.Replace(undateShadow(data)))
}

// undateShadow sets the third field of each line of shadow(5), the day of the last change.
func undateShadow(data []byte) []byte {
	day := strconv.FormatInt(tree.Time.Unix()/(24*60*60), 10)
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		fields := strings.Split(line, ":")
		if len(fields) > 2 && fields[2] != "" && fields[2] != "0" {
			fields[2] = day
			lines[i] = strings.Join(fields, ":")
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// whiteout is the prefix of the names that delete a lower layer's entry (OCI image
// specification, layer.md).
const whiteout = ".wh."

// difference returns the layer that makes upper of lower. What is volatile in
// either is left as it is in lower.
func difference(lower, upper *tree.Tree) (*tree.Tree, error) {
	layer := map[string]tree.Entry{}
	for _, e := range upper.Entries() {
		old, ok := lower.Lookup(e.Path)
		if volatile(e) || ok && same(old, e) || slices.Contains(mounts, e.Path) {
			continue
		}
		layer[e.Path] = e
		if err := addParents(layer, upper, e.Path); err != nil {
			return nil, err
		}
	}
	for _, e := range lower.Entries() {
		if _, ok := upper.Lookup(e.Path); ok || volatile(e) || slices.Contains(mounts, e.Path) {
			continue
		}
		dir, name := path.Split(e.Path)
		if parent, ok := upper.Lookup(path.Clean(dir)); path.Clean(dir) != "." && (!ok || parent.Kind != tree.Dir) {
			continue
		}
		gone := tree.FileEntry(dir+whiteout+name, 0o644, nil)
		layer[gone.Path] = gone
		if err := addParents(layer, upper, gone.Path); err != nil {
			return nil, err
		}
	}
	entries := make([]tree.Entry, 0, len(layer))
	for _, e := range layer {
		entries = append(entries, e)
	}
	return tree.New(entries)
}

// same reports whether a layer need not speak of an entry.
func same(a, b tree.Entry) bool {
	return a.Kind == b.Kind && a.UID == b.UID && a.GID == b.GID && a.Size == b.Size && a.SHA256 == b.SHA256 && a.Link == b.Link &&
		a.Mode&modeBits == b.Mode&modeBits
}

const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// addParents adds the directories above a path as they are in upper, because a
// layer that leaves them out says nothing of their modes.
func addParents(layer map[string]tree.Entry, upper *tree.Tree, p string) error {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		if _, ok := layer[dir]; ok {
			return nil
		}
		e, ok := upper.Lookup(dir)
		if !ok {
			return fmt.Errorf("%s: no directory %s", p, dir)
		}
		layer[dir] = e
	}
	return nil
}
