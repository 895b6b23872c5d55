// Package cache keeps results of build stages in a repository of a registry, where other
// machines find them by kind and key. Who can read the repository can read them; what is read is
// used only if one of the trusted keys has signed it, so that write access to the registry
// alone changes no build.
//
// An entry is a manifest of files (OCI image-spec, manifest.md, "Guidelines for Artifact
// Usage") under the tag that [Tag] gives. Its first file is the statement: kind, key, value, and
// the sha256 and size of all content that the value names. The signature is of the statement's
// bytes. The other files are that content.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/store"
)

const (
	// answerTime bounds how long asking for a statement takes.
	answerTime = 30 * time.Second
	// silence is how long a registry may neither take nor send a byte.
	silence = 30 * time.Second
	// leastRate is how many bytes a second a cache must move to be worth it.
	leastRate = 256 << 10
	// maxContents bounds how much content one entry has.
	maxContents = 64
	// maxContent bounds the content of an entry, in bytes: as much as a sandbox may give.
	maxContent = 17 << 30
	// maxWindow bounds the memory that unpacking takes, in bytes.
	maxWindow = 32 << 20
	// transfers is how much content of an entry moves at once.
	transfers = 4
)

// ErrAbsent says that a cache has no entry of a kind and a key.
var ErrAbsent = faults.New(faults.NotFound, "", "the cache has no such entry")

// RefusedError says that an entry is there and must not be used.
type RefusedError struct {
	// Why completes the sentence "the entry …".
	Why string
}

func (e *RefusedError) Error() string { return "the entry " + e.Why }

// Kind says whose fault it is.
func (*RefusedError) Kind() faults.Kind { return faults.Refused }

// maxWhy bounds the reason, in bytes, since it repeats what the entry says.
const maxWhy = 500

func refused(format string, args ...any) error {
	why := fmt.Sprintf(format, args...)
	if len(why) > maxWhy {
		why = strings.ToValidUTF8(why[:maxWhy], "") + "…"
	}
	return &RefusedError{why}
}

// Cache is a cache in a repository. Its methods may be called from several goroutines.
type Cache struct {
	at     *registry.Repository
	store  *store.Store
	trust  Trust
	signer *Signer
	now    func() time.Time
	// answer is how long asking for a statement may take, rate how many bytes a second must move.
	answer time.Duration
	rate   int64
}

// Open returns the cache in the repository HOST[:PORT]/NAME. It makes no request. Without a signer
// the cache is read alone.
func Open(ref string, st *store.Store, trust Trust, signer *Signer) (*Cache, error) {
	at, err := registry.OpenRepository(ref, silence)
	if err != nil {
		return nil, fmt.Errorf("opening cache: %w", err)
	}
	if signer != nil {
		if trust, err = trust.with(signer); err != nil {
			return nil, fmt.Errorf("opening cache %s: %w", ref, err)
		}
	}
	return &Cache{at: at, store: st, trust: trust, signer: signer, now: time.Now, answer: answerTime, rate: leastRate}, nil
}

// String is the cache's reference.
func (c *Cache) String() string { return c.at.String() }

// Writable reports whether the cache has a key to sign with.
func (c *Cache) Writable() bool { return c.signer != nil }

// Wanted is an entry that is looked for.
type Wanted struct {
	Kind, Key string
	// Names gives the sha256, in hex, of all content that a value names.
	Names func(value []byte) ([]string, error)
	// Advance is told how many bytes of content have come, and of how many; may be nil.
	Advance func(done, total int64)
}

// Read brings the content of an entry into the store and returns the entry's value. One that is
// not there is an [ErrAbsent], one that must not be used a [*RefusedError]; all other errors are the
// registry's or the store's.
func (c *Cache) Read(ctx context.Context, w Wanted) ([]byte, error) {
	s, files, err := c.statement(ctx, w)
	if err != nil {
		return nil, judge(err)
	}
	named, err := w.Names(s.Value)
	if err != nil {
		return nil, refused("has a value that cannot be read: %v", err)
	}
	if !slices.Equal(sorted(named), sorted(s.sums())) {
		return nil, refused("has other content than its value names")
	}
	if err := c.fetch(ctx, s, files, w.Advance); err != nil {
		return nil, judge(err)
	}
	return s.Value, nil
}

// judge tells what must not be used from what could not be read.
func judge(err error) error {
	var damaged *registry.DamagedError
	var other *store.MismatchError
	var absent *registry.NotFoundError
	switch {
	case errors.Is(err, registry.ErrDigest), errors.As(err, &damaged), errors.As(err, &other):
		return refused("is damaged: %v", err)
	case errors.As(err, &absent):
		return refused("is not whole: %v", err)
	}
	return err
}

// statement reads and checks what an entry says of itself.
func (c *Cache) statement(ctx context.Context, w Wanted) (statement, map[string]registry.FileInfo, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.answer, slow(c.answer))
	defer cancel()
	info, err := c.at.Tagged(ctx, Tag(w.Kind, w.Key))
	var absent *registry.NotFoundError
	if errors.As(err, &absent) {
		return statement{}, nil, ErrAbsent
	}
	if err != nil {
		return statement{}, nil, explain(ctx, err)
	}
	if info.ArtifactType != artifact.CacheType || len(info.Files) == 0 || info.Files[0].MediaType != artifact.CacheStatementType {
		return statement{}, nil, refused("is none of a cache: its type is %q", info.ArtifactType)
	}
	if info.Files[0].Size > maxStatement {
		return statement{}, nil, refused("has a statement of %d bytes, which are more than %d", info.Files[0].Size, maxStatement)
	}
	text, err := c.readAll(ctx, info.Files[0])
	if err != nil {
		return statement{}, nil, explain(ctx, err)
	}
	s, err := c.trust.verify(text, info.Annotations[artifact.AnnotationSignature])
	if err != nil {
		return statement{}, nil, err
	}
	files := map[string]registry.FileInfo{}
	for _, f := range info.Files[1:] {
		files[f.Name] = f
	}
	return s, files, s.check(w.Kind, w.Key)
}

func (c *Cache) readAll(ctx context.Context, f registry.FileInfo) (_ []byte, err error) {
	r, err := c.at.Open(ctx, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	text, err := io.ReadAll(io.LimitReader(r, maxStatement+1))
	if err == nil && len(text) > maxStatement {
		err = refused("has a statement of more than %d bytes", maxStatement)
	}
	return text, err
}

// fetch brings content into the store that is not there yet.
func (c *Cache) fetch(ctx context.Context, s statement, files map[string]registry.FileInfo, advance func(done, total int64)) error {
	total := s.size()
	ctx, cancel := c.bound(ctx, total)
	defer cancel()
	// Whoever follows is told by one transfer at a time.
	var mu sync.Mutex
	var done int64
	came := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		done += int64(n)
		if advance != nil {
			advance(done, total)
		}
	}
	group, fetching := errgroup.WithContext(ctx)
	group.SetLimit(transfers)
	for _, part := range s.Content {
		group.Go(func() error { return c.fetchOne(fetching, part, files[part.SHA256], came) })
	}
	return explain(ctx, group.Wait())
}

// fetchOne brings one content into the store, and never more bytes than the statement says.
func (c *Cache) fetchOne(ctx context.Context, part content, file registry.FileInfo, came func(n int)) (err error) {
	whole, err := c.store.Whole(ctx, part.SHA256)
	if err != nil || whole {
		return err
	}
	if file.Name == "" {
		return refused("is not whole: it has no file with content %s", part.SHA256)
	}
	r, err := c.at.Open(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	plain := io.Reader(r)
	if file.MediaType == artifact.CachePackedType {
		unpacked, err := unpack(r)
		if err != nil {
			return err
		}
		defer unpacked.Close()
		plain = unpacked
	}
	return c.store.PutExpected(ctx, &counted{io.LimitReader(plain, part.Size+1), came}, part.SHA256)
}

// unpacking is a reader of what is compressed. It tells content that is damaged from content that
// could not be read.
type unpacking struct {
	*zstd.Decoder
	from *noted
}

func unpack(r io.Reader) (*unpacking, error) {
	from := &noted{Reader: r}
	d, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	return &unpacking{d, from}, err
}

// Read implements [io.Reader].
func (u *unpacking) Read(p []byte) (int, error) {
	n, err := u.Decoder.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && u.from.err == nil {
		err = refused("is damaged: unpacking it: %v", err)
	}
	return n, err
}

// noted notes what went wrong below.
type noted struct {
	io.Reader
	err error
}

// Read implements [io.Reader].
func (n *noted) Read(p []byte) (int, error) {
	got, err := n.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return got, err
}

// counted tells what passes.
type counted struct {
	io.Reader
	came func(n int)
}

// Read implements [io.Reader].
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.came(n)
	return n, err
}

// bound gives a context for moving so many bytes.
func (c *Cache) bound(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	limit := c.answer + time.Duration(size/c.rate)*time.Second
	return context.WithTimeoutCause(ctx, limit, slow(limit))
}

// slow says that a cache took too long.
func slow(limit time.Duration) error {
	return fmt.Errorf("it was not done within %s", limit)
}

// explain says why a context ended, where that ended the work.
func explain(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

func sorted(sums []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(sums)))
}
