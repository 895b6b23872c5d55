package embedded

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"

	"ampoule/system"
)

const (
	// rootName is the directory of the repositories below the registry's.
	rootName = "repositories"
	// uploadsName is the directory in which the registry keeps unfinished uploads.
	uploadsName = "_uploads"
	// grace is how long Close waits for the requests of other processes.
	grace = 3 * time.Second
	// forever keeps the registry's own garbage collector from removing anything:
	// what may go is the store's to decide, and never by the clock.
	forever = 10 * 365 * 24 * time.Hour
)

// holder serves the registry in this process, for itself and for others.
type holder struct {
	lock      *os.File
	guard     *guard
	server    *http.Server
	inside    *pipe
	transport *http.Transport
	secret    string
	serving   sync.WaitGroup
}

// newHolder starts to serve a directory whose lock it takes over.
func newHolder(dir string, spare Spare, lock *os.File) (*holder, error) {
	root := filepath.Join(dir, rootName)
	if err := errors.Join(sweep(root), sweepCompared(dir)); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	no, yes := false, true
	fresh := func() http.Handler {
		return olareg.New(config.Config{
			Storage: config.ConfigStorage{
				StoreType: config.StoreDir, RootDir: root,
				GC: config.ConfigGC{Frequency: -1, GracePeriod: forever, RepoUploadMax: -1, Untagged: &no, EmptyRepo: &no, ReferrersWithSubj: &no},
			},
			// Only the guard deletes.
			API: config.ConfigAPI{DeleteEnabled: &yes},
		})
	}
	secret := rand.Text()
	h := &holder{lock: lock, guard: newGuard(dir, secret, spare, fresh), inside: newPipe(), secret: secret}
	h.server = &http.Server{Handler: h.guard, ReadHeaderTimeout: 10 * time.Second}
	h.transport = &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return h.inside.dial(ctx) },
		MaxIdleConnsPerHost: 8, DisableCompression: true,
	}
	// On a full disk the registry can be read.
	if err := errors.Join(h.guard.restoreLists(), h.guard.settle()); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return nil, errors.Join(fmt.Errorf("settling the copy in %s: %w", dir, err), lock.Close())
	}
	h.serve(h.inside)
	if err := h.listen(); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// listen opens the way for other processes. Where there is no loopback interface
// there is no way in, and nobody who could use it.
//
//nolint:contextcheck // to listen at the loopback interface takes no time, and outlives the caller
func (h *holder) listen() error {
	var from net.ListenConfig
	l, err := from.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil
	}
	h.serve(l)
	here, err := inodeOf(h.guard.dir)
	if err != nil {
		return err
	}
	a := address{Address: l.Addr().String(), Secret: h.secret, PID: os.Getpid(), Dir: here}
	if err := writeAddress(h.lock, a); err != nil {
		return fmt.Errorf("writing lock: %w", err)
	}
	return nil
}

// serve answers on a listener until the holder is closed.
func (h *holder) serve(l net.Listener) {
	h.serving.Go(func() { _ = h.server.Serve(l) })
}

func (h *holder) roundTrip(req *http.Request) (*http.Response, error) {
	req.URL.Scheme, req.Host = "http", ownHost
	req.Header.Set(admissionHeader, h.secret)
	return h.transport.RoundTrip(req)
}

// lost is never true: the lock is this process's until it closes.
func (h *holder) lost(error) bool { return false }

// close ends serving, then lets go of the lock: whoever takes it must find nobody
// writing. The registry itself is not closed: what it answered is on disk, and
// closing it would collect garbage.
func (h *holder) close() error {
	h.transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := eraseAddress(h.lock)
	if shutdown := h.server.Shutdown(ctx); shutdown != nil {
		err = errors.Join(err, h.server.Close())
	}
	h.serving.Wait()
	h.guard.shut()
	h.guard.sound.save()
	h.guard.lists.close()
	return errors.Join(err, system.CloseLocked(h.lock))
}

// holderName is what the holder says of itself in every answer.
func holderName(secret string) string {
	sum := sha256.Sum256([]byte("holder " + secret))
	return hex.EncodeToString(sum[:16])
}

// sweepCompared removes what was not put in place of what is remembered of content.
func sweepCompared(dir string) error {
	entries, err := readDir(dir)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), soundName+".") {
			err = errors.Join(err, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	return err
}

// sweep removes what an interrupted holder left: uploads that nobody can finish
// and indexes that were not put in place.
func sweep(root string) error {
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == uploadsName:
			if err := os.RemoveAll(name); err != nil {
				return err
			}
			return fs.SkipDir
		case d.IsDir() && d.Name() == "blobs":
			return fs.SkipDir
		case !d.IsDir() && (strings.HasPrefix(d.Name(), "index.json.") || d.Name() == previousName+nextEnding):
			return os.Remove(name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sweeping %s: %w", root, err)
	}
	return nil
}
