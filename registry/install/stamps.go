package install

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
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
	inode, size int64
	sec, nsec   int64
}

func stampOf(seen system.Look) stamp {
	return stamp{int64(seen.Inode), seen.Size, seen.Changed.Unix(), int64(seen.Changed.Nanosecond())} //nolint:gosec // it is compared by its bits
}

// seen looks at content without reading it.
func (c *content) seen(key string) (system.Look, error) {
	seen, err := seenAt(c.dir, key)
	return seen, c.about("fstatat", key, err)
}

// about says of an error which content it is about.
func (c *content) about(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: filepath.Join(c.root.Name(), key), Err: err}
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
	s.inode, errs[0] = strconv.ParseInt(fields[1], 10, 64)
	s.size, errs[1] = strconv.ParseInt(fields[2], 10, 64)
	s.sec, errs[2] = strconv.ParseInt(fields[3], 10, 64)
	s.nsec, errs[3] = strconv.ParseInt(fields[4], 10, 64)
	_, ok = keyMode(fields[0])
	return fields[0], s, ok && errors.Join(errs[:]...) == nil
}

// stampHere notes how the content of entries is seen now, as far as it is here. It was read or written by this
// process, or was unchanged, and it has its names in all releases: each of these changes the stamp.
func (c *content) stampHere(ctx context.Context, entries []tree.Entry) error {
	if c == nil {
		return nil
	}
	sizes := make(map[string]int64, len(entries))
	for _, e := range entries {
		if e.Kind != tree.File {
			continue
		}
		if key := contentKey(e); c.has(key) {
			sizes[key] = e.Size
		}
	}
	return c.stampAgain(ctx, sizes)
}

// stampAgain notes how content is seen now, by its key and its size.
func (c *content) stampAgain(ctx context.Context, sizes map[string]int64) error {
	keys := slices.Collect(maps.Keys(sizes))
	now := make([]stamp, len(keys))
	err := inParts(ctx, writers(), len(keys), func(from, to int) error {
		for i := from; i < to; i++ {
			seen, err := c.seen(keys[i])
			if ignoreMissing(err) != nil {
				return err
			}
			mode, _ := keyMode(keys[i])
			if err == nil && seen.Size == sizes[keys[i]] && c.isPlain(seen, mode) {
				now[i] = stampOf(seen)
			}
		}
		return nil
	})
	for i, key := range keys {
		if now[i] == (stamp{}) {
			delete(c.stamps, key)
			continue
		}
		c.stamps[key] = now[i]
	}
	return err
}

// keeping does what takes names of content away. What was unchanged before still is.
func (c *content) keeping(ctx context.Context, do func() error) error {
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
	sizes := make(map[string]int64, len(c.stamps))
	for key, was := range c.stamps {
		sizes[key] = was.size
	}
	if err := c.stampAgain(context.WithoutCancel(ctx), sizes); err != nil {
		return err
	}
	return c.writeStamps()
}

// writeStamps puts what is known of content in place. It is not synced: its first line is the hash of
// the rest, and what a power loss leaves of it is no such file. On a full disk it is not written: what
// is there then is of other stamps, and content is read.
func (c *content) writeStamps() error {
	list := make([]byte, 0, len(c.stamps)*128)
	for key, s := range c.stamps {
		list = append(list, key...)
		for _, n := range []int64{s.inode, s.size, s.sec, s.nsec} {
			list = strconv.AppendInt(append(list, ' '), n, 10)
		}
		list = append(list, '\n')
	}
	err := c.putList(stampsName, list)
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
	_, err = f.Write(withHash(list))
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
	return readHashed(c.root, name, c.trusts)
}
