package preflight

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"strings"

	"ampoule/audit"
	"ampoule/audit/survey"
	"ampoule/system"
	"ampoule/tree"
)

// What decides on a machine whether native code runs there: files whose content is taken, and files and
// directories that are looked at. A directory's time tells that a library has come or gone.
const (
	identities = "etc/os-release usr/lib/os-release proc/sys/kernel/ostype proc/sys/kernel/osrelease proc/sys/kernel/arch"
	libraries  = "etc/ld.so.cache etc/ld.so.preload etc/ld.so.conf " +
		"lib/x86_64-linux-gnu lib/x86_64-linux-gnu/libc.so.6 lib/aarch64-linux-gnu lib/aarch64-linux-gnu/libc.so.6 " +
		"usr/lib/x86_64-linux-gnu usr/lib/aarch64-linux-gnu lib64 lib64/libc.so.6 usr/lib64 lib usr/lib usr/lib/libc.so.6 usr/local/lib usr/local/lib64"
)

// maxIdentity bounds what is taken of a file, in bytes.
const maxIdentity = 64 << 10

// Fingerprint tells machines apart, and one from what an update has made of it: by its system, kernel,
// processor, C library and the directories of its libraries. What was found of a tree on a machine holds while
// it is the same. The program's version enters it, since another one may look for more.
func (m Machine) Fingerprint(version string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %q\n", Schema, version, m.CPU)
	root, ok := m.Files.(survey.Machine)
	if !ok {
		return ""
	}
	for p := range strings.FieldsSeq(identities) {
		data, err := os.ReadFile(path.Join(string(root), p))
		fmt.Fprintf(h, "%s %q %t\n", p, data[:min(len(data), maxIdentity)], err == nil)
	}
	for p := range strings.FieldsSeq(libraries) {
		info, err := os.Stat(path.Join(string(root), p))
		if err != nil {
			fmt.Fprintf(h, "%s is not there\n", p)
			continue
		}
		stat, _ := system.StatOf(info)
		fmt.Fprintf(h, "%s %d %d %d %d %d\n", p, stat.Device, stat.Inode, info.Size(), info.ModTime().UnixNano(), stat.Changed.UnixNano())
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Pure lists the directories of a tree, directly below one of distributions, that hold no native code: no ELF
// file, of which the paths are given, nothing that is named as a module, and no link. They ask nothing of a
// machine.
func Pure(t *tree.Tree, natives map[string]bool) map[string]bool {
	pure, mixed := map[string]bool{}, map[string]bool{}
	for _, e := range t.Entries() {
		dir, below := topOf(e.Path)
		switch {
		case dir == "" || isInfo(dir):
		case !below:
			if e.Kind == tree.Dir {
				pure[dir] = true
			}
		case e.Kind == tree.Symlink || natives[e.Path] || audit.NamedAsModule(path.Base(e.Path)):
			mixed[dir] = true
		}
	}
	for dir := range mixed {
		delete(pure, dir)
	}
	return pure
}

// Asking names what of a tree may ask something of a machine: everything but the packages of [Pure], what
// distributions say of themselves (.dist-info, .egg-info), and data (share), which no loader reads. [CheckNatives] finds the
// same in trees of one such name, at one path each, as long as nothing is wrong. natives are the paths of the ELF files.
func Asking(t *tree.Tree, natives map[string]bool) string {
	pure := Pure(t, natives)
	h := sha256.New()
	for _, e := range t.Entries() {
		dir, _ := topOf(e.Path)
		data := e.Kind == tree.Dir || e.Kind == tree.File && !natives[e.Path] && (isInfo(dir) || strings.HasPrefix(e.Path, "share/"))
		if !pure[dir] && !data {
			fmt.Fprintf(h, "%d %s %q %q %s\n", e.Kind, e.Mode, e.Path, e.Link, e.SHA256)
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// isInfo reports whether a name is that of what describes a distribution.
func isInfo(name string) bool {
	return strings.HasSuffix(name, ".dist-info") || strings.HasSuffix(name, ".egg-info")
}

// topOf is the directory or file below one of distributions that a path is or leads into; empty for none.
func topOf(p string) (top string, below bool) {
	at := strings.Index(p, "site-packages/")
	if at < 0 {
		return "", false
	}
	at += len("site-packages/")
	end := strings.IndexByte(p[at:], '/')
	if end < 0 {
		return p, false
	}
	return p[:at+end], true
}
