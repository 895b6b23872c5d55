// Package powerloss tells tests what a disk may hold after a machine lost its power.
//
// A program runs under strace(1), which writes down each call that changes files below a
// directory or puts them on disk. Any moment between two calls can then be taken for the
// one when the power went: what was synced until then is on the disk, and of the rest
// anything that a file system may have kept.
//
// The rules are stricter than those of a journal. fsync(2) of a file keeps its content and
// not its name, fsync of a directory the names in it, and syncfs(2) everything. The changes
// of names in one directory keep their order; those of two directories do not, and no
// content comes before or after any name. A rename happens or does not, in both directories.
package powerloss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// Loss is what is gone of all that was not synced.
type Loss int

// The losses.
const (
	// Everything is gone: names and content.
	Everything Loss = iota
	// Content is gone: files have their names, and nothing in them that was not synced.
	Content
	// Some of it is gone: names up to any moment in each directory, and any part of the content,
	// which may end early or have zeros where bytes should be.
	Some
)

// Losses are all of them.
var Losses = []Loss{Everything, Content, Some}

func (l Loss) String() string { return [...]string{"everything", "content", "some"}[l] }

// Recording is what a program did to the files of a directory.
type Recording struct {
	// root is the directory as it was before.
	root *inode
	ops  []op
}

// inode is a file, a directory or a link. Its content and its entries are those before the
// recording began.
type inode struct {
	dir     bool
	link    string
	data    []byte
	entries map[string]*inode
}

// op is one call.
type op struct {
	// names are the changes of directories, which happen at once.
	names []change
	// content is the file that is written to: data at an offset, or cut to the offset where
	// data is nil.
	content *inode
	offset  int64
	data    []byte
	// synced is what is put on disk, all of the file system where everything is set: what was done
	// by the first operations, as many as before says. A call that syncs may take its time.
	synced     *inode
	everything bool
	before     int
}

// change gives a name in a directory to something, or takes it away where that is nil.
type change struct {
	dir  *inode
	name string
	to   *inode
}

// Record runs a command and records what it does below a directory, which must be
// there. The error of a command that fails has what it printed.
func Record(ctx context.Context, dir string, cmd *exec.Cmd) (*Recording, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	root, err := snapshot(dir)
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	logDir, err := os.MkdirTemp("", "powerloss-*")
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	defer func() { _ = os.RemoveAll(logDir) }()
	log := filepath.Join(logDir, "trace")
	traced := exec.CommandContext(ctx, "strace", append([]string{
		"--follow-forks", "--seccomp-bpf", "--decode-fds=path", "--strings-in-hex=all", "--string-limit=67108864", "--quiet=all", "--signal=none",
		"--output=" + log, "--trace=" + calls, "--", cmd.Path,
	}, cmd.Args[1:]...)...)
	traced.Env, traced.Dir = cmd.Env, cmd.Dir
	if out, err := traced.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("recording %s with strace: %w\n%s", cmd.Path, err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	r := &Recording{root: root}
	if r.ops, err = parse(dir, root, text); err != nil {
		return nil, fmt.Errorf("reading what strace recorded: %w", err)
	}
	return r, r.compare(dir)
}

// Len is the number of moments when the power may go: before the first call, and behind each.
func (r *Recording) Len() int { return len(r.ops) + 1 }

// Crash makes a directory of what the disk may hold if the power goes at a moment, counted
// from 0. The seed decides about what is lost by chance.
func (r *Recording) Crash(moment int, loss Loss, seed uint64, into string) error {
	d := disk{entries: map[*inode]map[string]*inode{}, data: map[*inode][]byte{}, random: rand.New(rand.NewPCG(seed, uint64(moment)))} //nolint:gosec // it is repeated by its seed
	done := r.ops[:moment]
	kept := durable(done)
	d.applyNames(done, kept, loss)
	d.applyContent(done, kept, loss)
	if err := d.write(r.root, into, map[*inode]string{}); err != nil {
		return fmt.Errorf("making the disk of moment %d: %w", moment, err)
	}
	return nil
}

// durable reports of each operation whether it is on disk in any case.
func durable(ops []op) []bool {
	kept := make([]bool, len(ops))
	all := 0
	synced, needed := map[*inode]int{}, map[*inode]bool{}
	for i := len(ops) - 1; i >= 0; i-- {
		o := ops[i]
		if o.everything {
			all = max(all, o.before)
		}
		if o.synced != nil {
			synced[o.synced] = max(synced[o.synced], o.before)
		}
		kept[i] = i < all || i < synced[o.content]
		for _, c := range o.names {
			kept[i] = kept[i] || i < synced[c.dir] || needed[c.dir]
		}
		if kept[i] {
			for _, c := range o.names {
				needed[c.dir] = true // what came before in that directory is there, too
			}
		}
	}
	return kept
}

// disk is what a disk holds, beside what it held at first.
type disk struct {
	entries map[*inode]map[string]*inode
	data    map[*inode][]byte
	random  *rand.Rand
}

func (d *disk) entriesOf(dir *inode) map[string]*inode {
	if d.entries[dir] == nil {
		d.entries[dir] = map[string]*inode{}
		for name, to := range dir.entries {
			d.entries[dir][name] = to
		}
	}
	return d.entries[dir]
}

func (d *disk) dataOf(file *inode) []byte {
	data, ok := d.data[file]
	if !ok {
		data = bytes.Clone(file.data)
	}
	return data
}

// applyNames makes the changes of names: those that are kept, and of the others the first
// ones in each directory.
func (d *disk) applyNames(ops []op, kept []bool, loss Loss) {
	stopped := map[*inode]bool{}
	for i, o := range ops {
		apply := true
		for _, c := range o.names {
			apply = apply && !stopped[c.dir]
		}
		if loss == Everything || loss == Some && d.random.IntN(8) == 0 {
			apply = false
		}
		for _, c := range o.names {
			switch {
			case !apply && !kept[i]:
				stopped[c.dir] = true
			case c.to == nil:
				delete(d.entriesOf(c.dir), c.name)
			default:
				d.entriesOf(c.dir)[c.name] = c.to
			}
		}
	}
}

// applyContent writes the content that is kept, and of the rest what chance keeps.
func (d *disk) applyContent(ops []op, kept []bool, loss Loss) {
	// left is how many operations of a file that were not synced come through.
	left := map[*inode]int{}
	for i, o := range ops {
		if o.content == nil {
			continue
		}
		if kept[i] {
			d.data[o.content] = o.on(d.dataOf(o.content))
			continue
		}
		if loss != Some {
			continue
		}
		if _, ok := left[o.content]; !ok {
			left[o.content] = d.random.IntN(4)
		}
		left[o.content]--
		if left[o.content] < 0 {
			continue
		}
		if left[o.content] == 0 && o.data != nil {
			o = d.torn(o)
		}
		d.data[o.content] = o.on(d.dataOf(o.content))
	}
}

// torn is a write of which a part, zeros or all is there.
func (d *disk) torn(o op) op {
	switch d.random.IntN(3) {
	case 0:
		o.data = o.data[:d.random.IntN(len(o.data)+1)]
	case 1:
		o.data = make([]byte, len(o.data))
	}
	return o
}

// on is the content of a file after the operation.
func (o op) on(data []byte) []byte {
	end := int(o.offset) + len(o.data)
	if len(data) < end {
		data = append(data, make([]byte, end-len(data))...)
	}
	if o.data == nil {
		return data[:o.offset]
	}
	copy(data[o.offset:], o.data)
	return data
}

// write makes a directory of an inode. Files with several names stay one.
func (d *disk) write(dir *inode, path string, done map[*inode]string) error {
	if err := os.MkdirAll(path, 0o755); err != nil { //nolint:gosec // what stands in it is a test's
		return err
	}
	for name, to := range d.entriesOf(dir) {
		at := filepath.Join(path, name)
		var err error
		switch first := done[to]; {
		case to.dir:
			err = d.write(to, at, done)
		case to.link != "":
			err = os.Symlink(to.link, at)
		case first != "":
			err = os.Link(first, at)
		default:
			done[to] = at
			err = os.WriteFile(at, d.dataOf(to), 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// snapshot reads a directory.
func snapshot(path string) (*inode, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	dir := &inode{dir: true, entries: map[string]*inode{}}
	for _, e := range entries {
		at, to := filepath.Join(path, e.Name()), &inode{}
		switch {
		case e.IsDir():
			to, err = snapshot(at)
		case e.Type()&fs.ModeSymlink != 0:
			to.link, err = os.Readlink(at)
		default:
			to.data, err = os.ReadFile(at)
		}
		if err != nil {
			return nil, err
		}
		dir.entries[e.Name()] = to
	}
	return dir, nil
}

// compare wants the recording to lead to what is there: a call that is not known would make
// all that is said of the disk wrong.
func (r *Recording) compare(dir string) error {
	kept := make([]bool, len(r.ops))
	for i := range kept {
		kept[i] = true
	}
	d := disk{entries: map[*inode]map[string]*inode{}, data: map[*inode][]byte{}}
	d.applyNames(r.ops, kept, Content)
	d.applyContent(r.ops, kept, Content)
	want, err := snapshot(dir)
	if err != nil {
		return fmt.Errorf("comparing the recording: %w", err)
	}
	return d.same(r.root, want, ".")
}

var errDiffers = errors.New("the recording lacks a call: it does not lead to what is there")

func (d *disk) same(got, want *inode, at string) error {
	if got.dir != want.dir || got.link != want.link || !bytes.Equal(d.dataOf(got), want.data) {
		return fmt.Errorf("%w: %s", errDiffers, at)
	}
	entries := d.entriesOf(got)
	for name, to := range want.entries {
		if entries[name] == nil {
			return fmt.Errorf("%w: %s is not known", errDiffers, filepath.Join(at, name))
		}
		if err := d.same(entries[name], to, filepath.Join(at, name)); err != nil {
			return err
		}
	}
	for name := range entries {
		if want.entries[name] == nil {
			return fmt.Errorf("%w: %s is gone", errDiffers, filepath.Join(at, name))
		}
	}
	return nil
}
