package queue

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"

	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

// What many callers send at once is not in memory, nor is a large archive that is read. Nothing
// is left of what broke off.
//
//nolint:paralleltest // it measures the process's memory
func TestArchivesAreNotInMemory(t *testing.T) {
	const uploads, size = 16, 8 << 20
	temp := t.TempDir()
	q := open(t, databasetest.Open(t, database.Options{Dir: t.TempDir()}), Config{Temp: temp})
	before := heap()
	var sent, ended sync.WaitGroup
	end := make(chan struct{})
	for range uploads {
		sent.Add(1)
		ended.Go(func() {
			body := io.MultiReader(io.LimitReader(zeros{}, size), &breaking{reached: sent.Done, end: end})
			if _, _, err := q.PutArchive(t.Context(), body); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a body that breaks off: %v", err)
			}
		})
	}
	sent.Wait()
	if grown := heap() - before; grown > uploads*size/8 {
		t.Errorf("%d bytes of memory for %d uploads of %d bytes", grown, uploads, size)
	}
	close(end)
	ended.Wait()

	sum, _, err := q.PutArchive(t.Context(), io.LimitReader(zeros{}, size))
	must(t, err)
	before = heap()
	all, err := q.OpenArchive(t.Context(), sum)
	must(t, err)
	if grown := heap() - before; grown > size/4 {
		t.Errorf("%d bytes of memory for an archive of %d bytes that is read", grown, size)
	}
	if n, err := io.Copy(io.Discard, all); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	must(t, all.Close())
	if left, err := os.ReadDir(temp); len(left) != 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

// heap is how many bytes of memory are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// zeros are without end.
type zeros struct{}

// Read implements [io.Reader].
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// breaking says when it is reached, and breaks off.
type breaking struct {
	reached func()
	end     <-chan struct{}
}

// Read implements [io.Reader].
func (b *breaking) Read([]byte) (int, error) {
	b.reached()
	<-b.end
	return 0, io.ErrUnexpectedEOF
}

// A directory that takes nothing is an error, for what is too large for memory alone.
func TestSpoolHasNoRoom(t *testing.T) {
	t.Parallel()
	s := &spool{dir: "/dev/null"}
	if _, err := s.Write(make([]byte, inMemory)); err != nil {
		t.Errorf("what is small: %v", err)
	}
	if _, err := s.Write(make([]byte, 1)); err == nil || s.size != inMemory {
		t.Errorf("what is large: %v, %d bytes", err, s.size)
	}
}
