package audit

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"ampoule/audit/elf"
	"ampoule/tree"
)

const (
	// inMemory is how much of a wheel's ELF files is kept in memory, in bytes; the others go
	// to temporary files.
	inMemory = 24 << 20
	// largeWheel is the size in bytes, unpacked, from which all processors unpack a wheel: a
	// smaller one is done before they have begun.
	largeWheel = 4 << 20
)

// unpacking is what members of one wheel that are unpacked at a time share.
type unpacking struct {
	mu sync.Mutex
	// inMemory is how much is there, in bytes; spilled has the ELF files that were too much for
	// it, and its size is onDisk.
	inMemory uint64
	spilled  *os.File
	onDisk   int64
	// fault is what this machine could not do.
	fault error
}

// reserve reports whether so many bytes may be kept in memory.
func (u *unpacking) reserve(n uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n > inMemory-u.inMemory {
		return false
	}
	u.inMemory += n
	return true
}

// spill makes room for so many bytes in a file that is gone when it is closed.
func (u *unpacking) spill(n uint64) (io.Writer, tree.Content, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.spilled == nil {
		f, err := os.CreateTemp("", "ampoule-wheel-*")
		if err != nil {
			return nil, nil, err
		}
		u.spilled = f
		if err := os.Remove(f.Name()); err != nil {
			return nil, nil, err
		}
	}
	offset := u.onDisk
	u.onDisk += int64(n)
	return io.NewOffsetWriter(u.spilled, offset), tree.Section(u.spilled, offset, int64(n)), nil
}

// blame notes what this machine could not do: the wheel's own faults are not of a file of it.
func (u *unpacking) blame(err error) {
	var fault *fs.PathError
	if !errors.As(err, &fault) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fault == nil {
		u.fault = err
	}
}

// unpackAll reads all members of a wheel whose content is kept, those of a large one with
// all processors.
func (w *wheelExam) unpackAll() {
	if !w.keep {
		return
	}
	members, size := make([]*wheelMember, 0, len(w.members)), uint64(0)
	for _, m := range w.members {
		members = append(members, m)
		size += m.UncompressedSize64
	}
	// The largest first, so that none is begun when all others are done.
	slices.SortFunc(members, func(a, b *wheelMember) int {
		return cmp.Or(cmp.Compare(b.UncompressedSize64, a.UncompressedSize64), cmp.Compare(a.Name, b.Name))
	})
	n := 1
	if size >= largeWheel {
		n = min(runtime.GOMAXPROCS(0), len(members))
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(members); i = int(next.Add(1)) - 1 {
				w.unpack(members[i])
			}
		})
	}
	workers.Wait()
}

// buffers are what members are read through.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

func (w *wheelExam) unpackInto(m *wheelMember) error {
	r, err := m.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	start := make([]byte, min(uint64(len(elf.Magic)), m.UncompressedSize64))
	if _, err := io.ReadFull(r, start); err != nil {
		return err
	}
	h := sha256.New()
	into := func(dst io.Writer) error {
		buffer := buffers.Get().(*[64 << 10]byte)
		defer buffers.Put(buffer)
		if _, err := dst.Write(start); err != nil {
			return err
		}
		n, err := io.CopyBuffer(dst, r, buffer[:])
		m.size = int64(len(start)) + n
		return err
	}
	switch {
	case !w.keep || !IsELF(start):
		err = into(h)
	case w.reserve(m.UncompressedSize64):
		kept := bytes.NewBuffer(make([]byte, 0, m.UncompressedSize64))
		err = into(io.MultiWriter(h, kept))
		m.content = tree.Section(bytes.NewReader(kept.Bytes()), 0, m.size)
	default:
		var spilled io.Writer
		if spilled, m.content, err = w.spill(m.UncompressedSize64); err != nil {
			return err
		}
		err = into(io.MultiWriter(h, spilled))
	}
	m.sum = hex.EncodeToString(h.Sum(nil))
	return err
}
