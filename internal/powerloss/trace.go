package powerloss

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// calls are those that change files or put them on disk, and those that no test has to do with and
// that would do so unseen.
const calls = "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,truncate,ftruncate,fallocate,copy_file_range,sendfile,splice," +
	"rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,sync,syncfs,sync_file_range,dup,dup2,dup3"

var (
	line    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (-?\d+)(.*)$`)
	begun   = regexp.MustCompile(`^(\d+) +(\w+\(.*) <unfinished \.\.\.>$`)
	resumed = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	// quoted is a string, handle a file descriptor with the path that it leads to.
	quoted   = regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?`)
	handle   = regexp.MustCompile(`^(AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>`)
	returned = regexp.MustCompile(`^<((?:\\x[0-9a-f]{2})*)>`)
)

// tracer follows the files of a directory through a program's calls.
type tracer struct {
	dir  string
	now  disk
	root *inode
	// files are the open files below the directory, by descriptor. One that is closed stays until
	// its number is used again.
	files map[string]*openFile
	ops   []op
	// began is how many operations there were when the call began.
	began int
}

type openFile struct {
	at     *inode
	offset int64
	append bool
}

// parse reads strace's output.
func parse(dir string, root *inode, text []byte) ([]op, error) {
	t := &tracer{dir: dir, root: root, files: map[string]*openFile{}, now: disk{entries: map[*inode]map[string]*inode{}, data: map[*inode][]byte{}}}
	type head struct {
		text string
		at   int
	}
	unfinished := map[string]head{}
	for raw := range strings.Lines(string(text)) {
		raw = strings.TrimSuffix(raw, "\n")
		if m := begun.FindStringSubmatch(raw); m != nil {
			unfinished[m[1]] = head{m[2], len(t.ops)}
			continue
		}
		t.began = len(t.ops)
		if m := resumed.FindStringSubmatch(raw); m != nil {
			raw = m[1] + " " + unfinished[m[1]].text + m[2]
			t.began = unfinished[m[1]].at
		}
		m := line.FindStringSubmatch(raw)
		if m == nil || strings.HasPrefix(m[4], "-") {
			continue // it failed, or is no call
		}
		if err := t.call(m[2], arguments(m[3]), m[4], m[5]); err != nil {
			return nil, fmt.Errorf("%w: %.200s", err, raw)
		}
	}
	return t.ops, nil
}

// arguments parts what stands between the brackets of a call.
func arguments(text string) []string {
	var args []string
	depth, from := 0, 0
	for i, c := range text {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 0 {
				args = append(args, strings.TrimSpace(text[from:i]))
				from = i + 1
			}
		}
	}
	return append(args, strings.TrimSpace(text[from:]))
}

var errUnknown = errors.New("a call is not understood")

// call follows one call.
func (t *tracer) call(name string, args []string, result, rest string) error {
	switch name {
	case "open", "creat":
		return t.open(args[0], args[1:], result, rest, "")
	case "openat":
		return t.open(args[1], args[2:], result, rest, args[0])
	case "write", "pwrite64", "writev":
		return t.write(name, args, result)
	case "lseek":
		if f := t.file(args[0]); f != nil {
			f.offset = number(result)
		}
	case "ftruncate":
		if f := t.file(args[0]); f != nil {
			t.put(op{content: f.at, offset: number(args[1])})
		}
	case "rename", "link", "symlink":
		return t.name(name, "", args[0], "", args[1])
	case "renameat", "renameat2", "linkat":
		return t.name(name, args[0], args[1], args[2], args[3])
	case "symlinkat":
		return t.name(name, "", args[0], args[1], args[2])
	case "unlink", "rmdir":
		t.unlink(t.path("", args[0]))
	case "unlinkat":
		t.unlink(t.path(args[0], args[1]))
	case "mkdir":
		t.create(t.path("", args[0]), &inode{dir: true})
	case "mkdirat":
		t.create(t.path(args[0], args[1]), &inode{dir: true})
	case "fsync", "fdatasync":
		if f := t.file(args[0]); f != nil {
			t.ops = append(t.ops, op{synced: f.at, before: t.began})
		}
	case "sync", "syncfs":
		t.ops = append(t.ops, op{everything: true, before: t.began})
	default:
		for _, a := range args {
			if t.file(a) != nil {
				return errUnknown
			}
		}
	}
	return nil
}

// open notes an open file, which may be new or cut.
func (t *tracer) open(path string, flags []string, result, rest, at string) error {
	delete(t.files, result)
	m := returned.FindStringSubmatch(rest)
	if m == nil || !t.below(unhex(m[1])) {
		return nil
	}
	mode := strings.Join(flags, ",")
	if strings.Contains(mode, "O_TMPFILE") {
		return errUnknown
	}
	full := t.path(at, path)
	file := t.lookup(full)
	if file == nil {
		file = &inode{}
		t.create(full, file)
	} else if strings.Contains(mode, "O_TRUNC") {
		t.put(op{content: file})
	}
	t.files[result] = &openFile{at: file, append: strings.Contains(mode, "O_APPEND")}
	return nil
}

// write notes what is written to a file.
func (t *tracer) write(name string, args []string, result string) error {
	f := t.file(args[0])
	if f == nil {
		return nil
	}
	var data []byte
	for _, m := range quoted.FindAllStringSubmatch(args[1], -1) {
		if m[2] != "" {
			return errors.New("what is written is cut short")
		}
		data = append(data, unhex(m[1])...)
	}
	data = data[:number(result)]
	switch {
	case len(data) == 0:
		return nil
	case name == "pwrite64":
		t.put(op{content: f.at, offset: number(args[3]), data: data})
		return nil
	case f.append:
		f.offset = int64(len(t.now.dataOf(f.at)))
	}
	t.put(op{content: f.at, offset: f.offset, data: data})
	f.offset += int64(len(data))
	return nil
}

// name notes that something gets a name.
func (t *tracer) name(call, fromAt, from, toAt, to string) error {
	target := t.path(toAt, to)
	if strings.HasPrefix(call, "symlink") {
		t.create(target, &inode{link: string(textOf(from))})
		return nil
	}
	source := t.path(fromAt, from)
	if !t.below(source) && !t.below(target) {
		return nil
	}
	what := t.lookup(source)
	if what == nil || !t.below(target) {
		return errors.New("something comes into the directory, or goes out of it")
	}
	dir, base := t.parent(target)
	changes := []change{{dir, base, what}}
	if strings.HasPrefix(call, "rename") {
		old, name := t.parent(source)
		changes = append([]change{{old, name, nil}}, changes...)
	}
	t.put(op{names: changes})
	return nil
}

func (t *tracer) create(path string, what *inode) {
	if dir, name := t.parent(path); dir != nil {
		t.put(op{names: []change{{dir, name, what}}})
	}
}

func (t *tracer) unlink(path string) {
	if dir, name := t.parent(path); dir != nil {
		t.put(op{names: []change{{dir, name, nil}}})
	}
}

// put notes an operation, and carries it out.
func (t *tracer) put(o op) {
	t.ops = append(t.ops, o)
	t.now.applyNames([]op{o}, []bool{true}, Content)
	if o.content != nil {
		t.now.data[o.content] = o.on(t.now.dataOf(o.content))
	}
}

// file is the open file of a descriptor; nil for one that is not of the directory.
func (t *tracer) file(arg string) *openFile {
	m := handle.FindStringSubmatch(arg)
	if m == nil || !t.below(unhex(m[2])) {
		return nil
	}
	return t.files[m[1]]
}

// path is the whole path of an argument, which may be relative to a directory's descriptor.
func (t *tracer) path(at, arg string) string {
	path := string(textOf(arg))
	if m := handle.FindStringSubmatch(at); m != nil && !filepath.IsAbs(path) {
		path = filepath.Join(unhex(m[2]), path)
	}
	return filepath.Clean(path)
}

func (t *tracer) below(path string) bool {
	return path == t.dir || strings.HasPrefix(path, t.dir+"/")
}

// lookup finds what a path leads to.
func (t *tracer) lookup(path string) *inode {
	if path == t.dir {
		return t.root
	}
	dir, name := t.parent(path)
	if dir == nil {
		return nil
	}
	return t.now.entriesOf(dir)[name]
}

// parent finds the directory of a path; nil for one outside.
func (t *tracer) parent(path string) (*inode, string) {
	if !t.below(path) || path == t.dir {
		return nil, ""
	}
	dir := t.lookup(filepath.Dir(path))
	return dir, filepath.Base(path)
}

func textOf(arg string) []byte {
	if m := quoted.FindStringSubmatch(arg); m != nil {
		return []byte(unhex(m[1]))
	}
	return nil
}

// unhex reads what strace writes with --strings-in-hex.
func unhex(text string) string {
	data, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		return ""
	}
	return string(data)
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
