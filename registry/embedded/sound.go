package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ampoule/faults"
	"ampoule/system"
)

// ErrDamaged is wrapped by errors about content that is not what its name says.
var ErrDamaged = faults.New(faults.Refused, "", "its bytes are not those that its digest names")

const (
	// soundName is the file that remembers which blobs were compared.
	soundName = "compared"
	// smallBlob is the size, in bytes, up to which blobs are read each time.
	smallBlob = 64 << 10
	// saveEvery is the time between two times that it is written while publications go on: it
	// holds all of the registry.
	saveEvery = 10 * time.Second
	// tick is longer than the steps of a file system's clock: what changed within it may
	// change once more without being seen.
	tick = 30 * time.Millisecond
)

// sound compares blobs with their digests. A large one is read again only when its file
// has changed since: in this process or, by what the file of the same name remembers, in an
// earlier one. What a disk changes behind the file system's back is found by reading alone:
// pulls do, and verifying does.
type sound struct {
	dir     string
	mu      sync.Mutex
	known   map[string]fileState
	changed bool
	saved   time.Time
}

// fileState is what changes with a file's content.
type fileState struct {
	Size   int64  `json:"size"`
	Mod    int64  `json:"mod"`
	Change int64  `json:"change"`
	Inode  uint64 `json:"inode"`
}

// newSound reads what is remembered in a directory. What cannot be read is compared again.
func newSound(dir string) *sound {
	s := &sound{dir: dir, known: map[string]fileState{}}
	if raw, err := readAtMost(filepath.Join(dir, soundName), maxIndex); err == nil && json.Unmarshal(raw, &s.known) != nil {
		s.known = map[string]fileState{}
	}
	return s
}

// saveLater is save, unless that was done a short time ago: what is lost is compared again.
func (s *sound) saveLater() {
	s.mu.Lock()
	recent := time.Since(s.saved) < saveEvery
	s.mu.Unlock()
	if !recent {
		s.save()
	}
}

// save remembers for the next process. Whoever calls it has the blobs on disk. What cannot
// be remembered, on a full disk, is compared again.
func (s *sound) save() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed && s.write() == nil {
		s.changed, s.saved = false, time.Now()
	}
}

func (s *sound) write() error {
	raw, err := json.Marshal(s.known)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, soundName+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.dir, soundName))
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// check compares a file with a digest and returns its size. It is [ErrDamaged] when they
// differ.
func (s *sound) check(path, digest string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	before, err := stateOf(f)
	if err != nil {
		return 0, err
	}
	name := s.name(path)
	s.mu.Lock()
	known, ok := s.known[name]
	s.mu.Unlock()
	if ok && known == before {
		return before.Size, nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return 0, err
	}
	if "sha256:"+hex.EncodeToString(hash.Sum(nil)) != digest {
		s.forget(path)
		return before.Size, ErrDamaged
	}
	s.note(name, f, before)
	return before.Size, nil
}

// note remembers a file that did not change while it was read, nor right before.
func (s *sound) note(name string, f *os.File, before fileState) {
	after, err := stateOf(f)
	quiet := time.Since(time.Unix(0, before.Change)) > tick
	if err != nil || after != before || before.Size <= smallBlob || !quiet {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[name], s.changed = before, true
}

// forget has a file read again.
func (s *sound) forget(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := s.name(path)
	if _, ok := s.known[name]; ok {
		delete(s.known, name)
		s.changed = true
	}
}

// touch makes a file young and keeps what is known of it.
func (s *sound) touch(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := stateOf(f)
	if err != nil {
		return err
	}
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil {
		return err
	}
	after, err := stateOf(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.known[s.name(path)]; ok && known == before && err == nil && after.Size == before.Size {
		s.known[s.name(path)], s.changed = after, true
	}
	return err
}

// name is how a file is remembered: by its path below the registry's directory.
func (s *sound) name(path string) string {
	if rel, err := filepath.Rel(s.dir, path); err == nil {
		return filepath.ToSlash(rel)
	}
	return path
}

func stateOf(f *os.File) (fileState, error) {
	info, err := f.Stat()
	if err != nil {
		return fileState{}, err
	}
	st, _ := system.StatOf(info)
	return fileState{Size: info.Size(), Mod: info.ModTime().UnixNano(), Change: st.Changed.UnixNano(), Inode: st.Inode}, nil
}

// read compares a file with its digest in any case.
func (s *sound) read(ctx context.Context, path, digest string) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	s.forget(path)
	return s.check(path, digest)
}
