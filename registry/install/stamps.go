package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"ampoule/system"
	"ampoule/tree"
)

// stampsName is the file below content that tells how content was seen when it was right.
const stampsName = "stamps"

// stamp is what the kernel says of a file. The change time (st_ctim, inode(7)) is set by whatever
// writes, links, renames or chmods a file, and by no call that a program could make: as long as a
// stamp is the same, so are the bytes that a program can read. What a disk makes of them by itself
// it does not tell.
type stamp struct {
	inode     uint64
	size      int64
	sec, nsec int64
}

func stampOf(seen system.Look) stamp {
	return stamp{seen.Inode, seen.Size, seen.Changed.Unix(), int64(seen.Changed.Nanosecond())}
}

// seen looks at content without reading it.
func (c *content) seen(key string) (system.Look, error) { return seenAt(c.dir, key) }

// about says of an error which content it is about.
func (c *content) about(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: filepath.Join(c.dir.Name(), key), Err: err}
}

// isPlain reports whether what is seen has the kind, mode, time and owner that content has.
func (c *content) isPlain(seen system.Look, mode fs.FileMode) bool {
	return seen.Mode == mode && seen.Written.Equal(tree.Time) && c.owner(seen.Owner)
}

// unchanged reports whether content is as it was when it was read, or written, and right.
func (c *content) unchanged(key string, seen system.Look) bool {
	was, known := c.stamps[key]
	return known && was == stampOf(seen)
}

// readStamps reads what is known of content. What is damaged is forgotten: content is read then.
func (c *content) readStamps() {
	c.stamps = map[string]stamp{}
	list, ok := c.readList(stampsName)
	if !ok {
		return
	}
	for line := range strings.Lines(list) {
		if key, s, ok := parseStamp(strings.TrimSuffix(line, "\n")); ok {
			c.stamps[key] = s
		}
	}
}

func parseStamp(line string) (key string, s stamp, ok bool) {
	fields := strings.Fields(line)
	if len(fields) != 5 {
		return "", s, false
	}
	var errs [4]error
	s.inode, errs[0] = strconv.ParseUint(fields[1], 10, 64)
	s.size, errs[1] = strconv.ParseInt(fields[2], 10, 64)
	s.sec, errs[2] = strconv.ParseInt(fields[3], 10, 64)
	s.nsec, errs[3] = strconv.ParseInt(fields[4], 10, 64)
	return fields[0], s, errors.Join(errs[:]...) == nil && contentForm.MatchString(fields[0])
}

// stampAll notes how content is seen now that was read or written by this process, or was
// unchanged, and is linked to all its releases: each link changes the stamp.
func (c *content) stampAll(entries []tree.Entry) error {
	for _, e := range entries {
		if e.Kind != tree.File {
			continue
		}
		if err := c.stampAgain(contentKey(e), e.Size); err != nil {
			return err
		}
	}
	return c.writeStamps()
}

// stampAgain notes how content of a size is seen now.
func (c *content) stampAgain(key string, size int64) error {
	seen, err := c.seen(key)
	if ignoreMissing(err) != nil {
		return err
	}
	if err != nil || seen.Size != size || !c.isPlain(seen, keyMode(key)) {
		delete(c.stamps, key)
		return nil
	}
	c.stamps[key] = stampOf(seen)
	return nil
}

// keeping does what takes names of content away. What was unchanged before still is.
func (c *content) keeping(do func() error) error {
	if c == nil {
		return do()
	}
	for key := range c.stamps {
		if seen, err := c.seen(key); err != nil || !c.unchanged(key, seen) {
			delete(c.stamps, key)
		}
	}
	if err := do(); err != nil {
		return err
	}
	for key, was := range c.stamps {
		if err := c.stampAgain(key, was.size); err != nil {
			return err
		}
	}
	return c.writeStamps()
}

// writeStamps puts what is known of content in place. It is not synced: its first line is the hash of
// the rest, and what a power loss leaves of it is no such file. On a full disk it is not written: what
// is there then is of other stamps, and content is read.
func (c *content) writeStamps() error {
	var list bytes.Buffer
	for key, s := range c.stamps {
		fmt.Fprintf(&list, "%s %d %d %d %d\n", key, s.inode, s.size, s.sec, s.nsec)
	}
	err := c.putList(stampsName, list.Bytes())
	if isFull(err) {
		return nil
	}
	return err
}

// putList puts a list in place below content in one step, behind a line with its hash.
func (c *content) putList(name string, list []byte) error {
	temporary := path.Join(layersName, newStagingName())
	f, err := c.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append([]byte(digestOf(list)+"\n"), list...))
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = c.root.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(c.root.Remove(temporary)))
	}
	return nil
}

// readList reads what [content.putList] has put in place. It is not ok where that is not there, or is
// damaged.
func (c *content) readList(name string) (list string, ok bool) {
	info, err := c.root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxRecord || !c.trusts(info) {
		return "", false
	}
	raw, err := readSame(c.root, name, info)
	if err != nil {
		return "", false
	}
	sum, list, _ := strings.Cut(string(raw), "\n")
	return list, sum == digestOf([]byte(list))
}

// keyMode is the mode that content has by its name.
func keyMode(key string) fs.FileMode {
	bits, _ := strconv.ParseUint(key[strings.LastIndexByte(key, '-')+1:], 8, 32) // else it is no mode of any file
	return fs.FileMode(bits)
}
