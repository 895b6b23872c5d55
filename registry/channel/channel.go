package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/trust/keys"
)

// Repository is where a channel's log lies; [*registry.Repository] is one.
type Repository interface {
	// Name is its name, without host and prefix; String is what people call it.
	Name() string
	String() string
	Tagged(ctx context.Context, tag string) (registry.ReferrerInfo, error)
	Open(ctx context.Context, f registry.FileInfo) (io.ReadCloser, error)
	Named(ctx context.Context, tag string) (string, error)
	Tags(ctx context.Context) ([]string, error)
	// IsOwn reports whether it is in the store's own registry.
	IsOwn() bool
	// Ahead is how far this machine's clock is ahead of the registry's, as far as that is known.
	Ahead() time.Duration
	// Probe finds out how tags are written, by writing one; Believe says what was found before.
	Probe(ctx context.Context, tag string) (registry.Way, error)
	Believe(way registry.Way)
	PutIf(ctx context.Context, tag, expected, artifactType string, annotations map[string]string, files []artifact.File) (string, error)
	PointIf(ctx context.Context, tag, expected, digest string) error
}

// Memory keeps what was seen, for good. A store is one.
type Memory interface {
	Lock(ctx context.Context, name string) (unlock func(), err error)
	Lookup(kind, key string, v any) (bool, error)
	RecordDurably(kind, key string, v any) error
}

// memoryKind is the kind of the records: how far a channel's log was seen, by a hash of where it
// lies.
const memoryKind = "channel"

// seen is one record.
type seen struct {
	Repository string `json:"repository"`
	Channel    string `json:"channel"`
	Sequence   int    `json:"sequence"`
	Hash       string `json:"hash"`
}

// Channel is one channel of a repository.
type Channel struct {
	repo   Repository
	name   string
	keys   Keys
	memory Memory
	now    func() time.Time
	// places give the repository of each channel, home says that this is the one that the channel
	// belongs to: see [Channel.Among].
	places func(channel string) (Repository, error)
	home   bool
}

// Among tells a channel where others of the repository's are, which may be in other registries.
// Without it they are in the same. Home says that the channel belongs where it is: there it is
// written even where its log says that it is a copy.
func (c *Channel) Among(home bool, places func(channel string) (Repository, error)) {
	c.home, c.places = home, places
}

// Open returns a channel. It makes no request. What is no name of a channel is an error of kind
// Usage.
func Open(repo Repository, name string, known Keys, memory Memory, now func() time.Time) (*Channel, error) {
	if !artifact.IsChannel(name) {
		return nil, faults.New(faults.Usage, "for example prod, or eu-prod-2", "%q is no name of a channel: at most 32 lower-case letters, digits and dashes, which begins with none of key-, hold-, channel- and sha256-", name)
	}
	return &Channel{repo: repo, name: name, keys: known, memory: memory, now: now}, nil
}

// sibling returns another channel of the repository.
func (c *Channel) sibling(name string) (*Channel, error) {
	repo := c.repo
	if c.places != nil {
		var err error
		if repo, err = c.places(name); err != nil {
			return nil, err
		}
	}
	return Open(repo, name, c.keys, c.memory, c.now)
}

// String is the channel for people: REPOSITORY:CHANNEL.
func (c *Channel) String() string { return name(c.repo.String(), c.name) }

// Reference is that of an artifact in the channel's repository.
func (c *Channel) Reference(digest string) string { return c.repo.String() + "@" + digest }

// Repository is where the log lies.
func (c *Channel) Repository() Repository { return c.repo }

// Name is the channel's name alone.
func (c *Channel) Name() string { return c.name }

// Read reads and verifies the log. A channel that has none yet has an empty one, unless it had
// one before. What is wrong with a log is a [*LogError].
func (c *Channel) Read(ctx context.Context) (*Log, error) {
	for last := "none"; ; {
		l, err := c.read(ctx)
		if err != nil {
			return nil, err
		}
		err = c.remember(ctx, l)
		var refused *LogError
		switch {
		case err == nil:
			return l, nil
		case !errors.As(err, &refused) || !refused.behind || last == l.head:
			return nil, err
		}
		// Somebody may have added an entry, and seen it, since it was read.
		last = l.head
	}
}

func (c *Channel) read(ctx context.Context) (*Log, error) {
	entries, head, err := c.fetch(ctx)
	if err != nil {
		return nil, err
	}
	l, err := check(c.repo.Name(), c.name, entries, c.keys, c.now())
	if err != nil {
		return nil, err
	}
	l.head, l.copyOf = head.digest, head.copyOf
	return l, nil
}

// Unverified reads the entries of a log, whether anybody may believe them or not.
func (c *Channel) Unverified(ctx context.Context) ([]Signed, error) {
	entries, _, err := c.fetch(ctx)
	return entries, err
}

// head is the manifest that lists the entries of a log.
type head struct {
	// digest is empty where the channel's tag is not there.
	digest string
	// copyOf is the channel that it is a copy of; empty where it is none.
	copyOf string
}

// fetch reads the entries, and what lists them.
func (c *Channel) fetch(ctx context.Context) ([]Signed, head, error) {
	entries, at, err := c.fetchTag(ctx, artifact.ChannelTag(c.name))
	if err != nil || c.repo.IsOwn() {
		return entries, at, err
	}
	numbered, last, err := c.fetchNumbered(ctx, len(entries) == 0)
	if err != nil || numbered == nil {
		return entries, at, err
	}
	longer, shorter := numbered, entries
	at.copyOf = last.copyOf
	if len(entries) > len(numbered) {
		longer, shorter = entries, numbered
	}
	for i, e := range shorter {
		if longer[i].Hash != e.Hash {
			return nil, head{}, c.refuse(i+1, errors.New("there are two logs, one under the channel's tag and one under numbered ones, and they differ"))
		}
	}
	return longer, at, nil
}

func (c *Channel) refuse(sequence int, err error) *LogError {
	return &LogError{Log: c.String(), Sequence: sequence, Err: err}
}

// fetchTag reads the entries that a tag leads to. There are none where there is no such tag.
func (c *Channel) fetchTag(ctx context.Context, tag string) ([]Signed, head, error) {
	info, err := c.repo.Tagged(ctx, tag)
	var missing *registry.NotFoundError
	if errors.As(err, &missing) {
		return nil, head{}, nil
	}
	if err != nil {
		return nil, head{}, fmt.Errorf("reading channel %s: %w", c, err)
	}
	entries, err := unpack(ctx, c.repo, info)
	var form *formError
	if errors.As(err, &form) || errors.As(err, &missing) {
		return nil, head{}, c.refuse(0, err)
	}
	if err != nil {
		return nil, head{}, fmt.Errorf("reading channel %s: %w", c, err)
	}
	return entries, head{info.Digest, line(info.Annotations[artifact.AnnotationChannelCopy])}, nil
}

// readAnyway reads a log of which the form alone holds: what follows what, and what was seen
// before. Whoever signed it, a restart can vouch for it.
func (c *Channel) readAnyway(ctx context.Context) (*Log, error) {
	entries, head, err := c.fetch(ctx)
	if err != nil {
		return nil, err
	}
	l := &Log{Repository: c.repo.Name(), Channel: c.name, Entries: entries, head: head.digest, copyOf: head.copyOf}
	if err := l.checkChain(c.now()); err != nil {
		return nil, err
	}
	return l, c.withSeen(ctx, func(known seen, _ func(seen) error) error { return l.checkSeen(known) })
}

// remember compares a log with what was seen of it before, and notes it. A log that is shorter,
// or that has another entry where one was seen, is a [*LogError].
func (c *Channel) remember(ctx context.Context, l *Log) error {
	return c.withSeen(ctx, func(known seen, note func(seen) error) error {
		if err := l.checkSeen(known); err != nil || known.Sequence == len(l.Entries) {
			return err
		}
		last := l.Entries[len(l.Entries)-1]
		return note(seen{c.repo.String(), c.name, last.Sequence, last.Hash})
	})
}

// withSeen gives what was seen of the log, and what notes that more was. Nothing has the
// sequence 0.
func (c *Channel) withSeen(ctx context.Context, do func(known seen, note func(seen) error) error) error {
	key := c.memoryKey()
	unlock, err := c.memory.Lock(ctx, memoryKind+"-"+key)
	if err != nil {
		return err
	}
	defer unlock()
	failed := func(err error) error {
		if err != nil {
			return fmt.Errorf("remembering channel %s: %w", c, err)
		}
		return nil
	}
	var known seen
	if _, err := c.memory.Lookup(memoryKind, key, &known); err != nil {
		return failed(err)
	}
	return do(known, func(now seen) error { return failed(c.memory.RecordDurably(memoryKind, key, now)) })
}

// checkSeen compares a log with how far it was seen.
func (l *Log) checkSeen(known seen) error {
	if known.Sequence == 0 {
		return nil
	}
	if len(l.Entries) < known.Sequence {
		err := l.refuse(0, fmt.Errorf("it is rolled back or cut off: it has %d entries, and %d were seen here", len(l.Entries), known.Sequence))
		err.behind = true
		return err
	}
	if has := l.Entries[known.Sequence-1].Hash; has != known.Hash {
		return l.refuse(known.Sequence, fmt.Errorf("the log is forked: it is %s, and %s was seen here", has, known.Hash))
	}
	return nil
}

// Append adds an entry to a log that was read, signed by a key, and returns the log with it.
// Sequence, time, and what else follows from the log are filled in. The entry is verified with
// the log, as whoever reads it will, before anything is written.
//
// What the channel then names is held first, so that nothing collects it, and the tag with the
// channel's name comes last: the log decides. If somebody has added an entry meanwhile, the
// error is a [*registry.MovedError], and nothing is added. A registry in which that could not be
// told is a [*registry.UnconditionalError].
func (c *Channel) Append(ctx context.Context, l *Log, e Entry, by keys.Signer) (*Log, error) {
	next, err := c.extend(ctx, l, e, by)
	if err != nil {
		return nil, err
	}
	way, err := c.mayWrite(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("writing channel %s: %w", c, err)
	}
	if e.Action.names() {
		if err := c.point(ctx, artifact.ChannelHoldTag(c.name, e.Digest), func() (string, error) { return e.Digest, nil }); err != nil {
			return nil, fmt.Errorf("holding %s: %w", e.Digest, err)
		}
	}
	tag, expected := artifact.ChannelTag(c.name), l.head
	if way == registry.CreateOnly {
		tag, expected = artifact.ChannelNumberTag(c.name, len(next.Entries)), ""
	}
	digest, err := c.repo.PutIf(ctx, tag, expected, artifact.ChannelType, c.says(next), pack(next.Entries))
	if err != nil {
		return nil, fmt.Errorf("writing channel %s: %w", c, err)
	}
	if way == registry.CreateOnly {
		return next, nil // the tag of its name cannot follow
	}
	next.head = digest
	return next, c.project(ctx)
}

// mayWrite refuses to add to a copy, to write where others would be lost, and by a clock that is
// wrong: what says tomorrow would be refused by all readers until then, and what says yesterday would
// have been in its channel since.
func (c *Channel) mayWrite(ctx context.Context, l *Log) (registry.Way, error) {
	// A log that was lost comes back from its copy.
	if l.copyOf != "" && l.copyOf != c.String() && !c.home {
		return "", faults.New(faults.Refused, "write the channel there; where it is to be written here from now on, its rule in channels.yaml names this registry",
			"its log is a copy, of channel %s", l.copyOf)
	}
	if ahead := c.repo.Ahead(); ahead.Abs() > skew {
		is := "ahead of"
		if ahead < 0 {
			is = "behind"
		}
		return "", faults.New(faults.Machine, "set the clock of this machine, or that of the registry", "the clock of this machine is %s %s that of the registry", ahead.Abs().Round(time.Minute), is)
	}
	way, err := c.Way(ctx, false)
	if err == nil && way == registry.Unguarded {
		err = &registry.UnconditionalError{Registry: c.repo.String()}
	}
	return way, err
}

// says are the annotations of a log's manifest.
func (c *Channel) says(l *Log) map[string]string {
	says := map[string]string{artifact.AnnotationChannel: c.name}
	if l.Digest != "" {
		says[artifact.AnnotationChannelNames] = l.Digest
	}
	return says
}

// extend makes the log with one more entry.
func (c *Channel) extend(ctx context.Context, l *Log, e Entry, by keys.Signer) (*Log, error) {
	now := c.now()
	e.Repository, e.Channel, e.Sequence = c.repo.Name(), c.name, len(l.Entries)+1
	if len(l.Entries) > 0 {
		last := l.Entries[len(l.Entries)-1]
		e.Previous = last.Hash
		if last.At.After(now) { // by less than skew
			now = last.At
		}
	}
	e.Time = stamp(now)
	signed, err := e.sign(ctx, by)
	if err != nil {
		return nil, err
	}
	entries := append(l.Entries[:len(l.Entries):len(l.Entries)], signed)
	next, err := check(c.repo.Name(), c.name, entries, c.keys, now)
	var refused *LogError
	if errors.As(err, &refused) && refused.Sequence == len(entries) {
		hint := ""
		if e.Action == Promote && l.Frozen != "" {
			hint = "`ampoule channel unfreeze`, or --break-glass with a --reason, which is recorded"
		}
		return nil, faults.New(faults.Refused, hint, "channel %s takes no such entry, and is as it was: %s: %w", c, e.Action, refused.Err)
	}
	return next, err
}

// project has the tag of the channel's name say what the log does. A tag that somebody else
// writes for an older log is written again.
func (c *Channel) project(ctx context.Context) error {
	err := c.point(ctx, c.name, func() (string, error) {
		l, err := c.Read(ctx)
		if err != nil {
			return "", err
		}
		return l.Digest, nil
	})
	if err != nil {
		return fmt.Errorf("the log is written, and the tag %s is not: %w", c, err)
	}
	return nil
}

// point has a tag name what the log wants, whatever others write at the same time.
func (c *Channel) point(ctx context.Context, tag string, wanted func() (string, error)) error {
	const tries = 100
	var moved *registry.MovedError
	for range tries {
		named, err := c.repo.Named(ctx, tag)
		if err != nil {
			return err
		}
		digest, err := wanted()
		if err != nil || digest == named {
			return err
		}
		// It is looked at again even when it was written: an older log may have been read.
		if err := c.repo.PointIf(ctx, tag, named, digest); err != nil && !errors.As(err, &moved) {
			return err
		}
	}
	return faults.New(faults.Remote, "call it again", "others write %s at the same time, again and again", tag)
}
