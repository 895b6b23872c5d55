package channel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/internal/basetime"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/layer"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/policy"
	"ampoule/registry/trust/roots"
	"ampoule/tree"
)

const day = 24 * time.Hour

// memory is a [Memory] in memory.
type memory struct {
	mu    sync.Mutex
	known map[string][]byte
	fail  error
}

func (m *memory) Lock(context.Context, string) (func(), error) {
	m.mu.Lock()
	return m.mu.Unlock, nil
}

func (m *memory) Lookup(kind, key string, v any) (bool, error) {
	data, ok := m.known[kind+key]
	if !ok || m.fail != nil {
		return false, m.fail
	}
	return true, json.Unmarshal(data, v)
}

func (m *memory) RecordDurably(kind, key string, v any) error {
	data, err := json.Marshal(v)
	if m.known == nil {
		m.known = map[string][]byte{}
	}
	m.known[kind+key] = data
	return err
}

// judge is a [Judge] that allows everything but what it is told to refuse: by its signatures,
// or by anything else.
type judge struct{ unsigned, refused map[string]bool }

func (j *judge) DecideBy(s policy.Subject, found []registry.Evidence) policy.Decision {
	d := j.DecideSigned(s, found)
	d.Allowed = d.Allowed && !j.refused[s.Digest]
	return d
}

func (j *judge) DecideSigned(s policy.Subject, _ []registry.Evidence) policy.Decision {
	return policy.Decision{Subject: s, Allowed: !j.unsigned[s.Digest]}
}

// madeKeys are the keys of all scenes.
var madeKeys = sync.OnceValue(func() map[string]*keys.Private {
	all := map[string]*keys.Private{}
	for _, name := range []string{"ann", "build-1", "approve-1", "approve-2", "approve-3", "promote-0", "promote-1", "promote-2", "promote-3", "stranger"} {
		k, err := keys.Generate()
		if err != nil {
			panic(err)
		}
		all[name] = k
	}
	return all
})

// scene is a store with artifacts, and a machine that reads and writes channels there.
type scene struct {
	t      *testing.T
	dir    string
	own    *embedded.Registry
	reg    *registry.Registry
	root   *roots.Root
	memory *memory
	judge  *judge
	now    time.Time
	// a, b and c are digests of artifacts.
	a, b, c string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), memory: &memory{}, judge: &judge{map[string]bool{}, map[string]bool{}}, now: basetime.Of(t).UTC().Truncate(time.Second)}
	s.own = embedded.Open(s.dir)
	t.Cleanup(func() { _ = s.own.Close() })
	var err error
	s.reg, err = registry.Local(s.own)
	s.must(err)
	s.root, err = roots.New("acme", s.now.AddDate(1, 0, 0), map[string]keys.Public{"ann": s.key("ann").Public()}, 1)
	s.must(err)
	for name, role := range map[string]string{"build-1": roots.RoleBuild, "approve-1": roots.RoleApprove, "approve-2": roots.RoleApprove, "approve-3": roots.RoleApprove, "promote-0": roots.RolePromote, "promote-1": roots.RolePromote, "promote-2": roots.RolePromote} {
		s.change(roots.AddKey(name, s.key(name).Public(), role, 0, ""))
	}
	s.change(roots.AddKey("promote-3", s.key("promote-3").Public(), roots.RolePromote, 0, s.now.Add(day).Format(time.DateOnly)))
	s.a, s.b, s.c = s.publish("web", "a"), s.publish("web", "b"), s.publish("web", "c")
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) key(name string) *keys.Private { return madeKeys()[name] }

// change changes the trust root.
func (s *scene) change(c roots.Change) {
	s.t.Helper()
	next, err := s.root.Next(true, c)
	s.must(err)
	s.root = next
}

// publish publishes a small artifact and returns its digest.
func (s *scene) publish(name, content string) string {
	s.t.Helper()
	whole, err := tree.New([]tree.Entry{tree.FileEntry("bin/python3", 0o755, []byte(content))})
	s.must(err)
	var tar bytes.Buffer
	s.must(whole.WriteTar(&tar, artifact.Prefix, s.now))
	open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tar.Bytes())), nil }
	l, err := layer.Packer{Dir: s.t.TempDir()}.Pack(s.t.Context(), "interpreter", fmt.Sprintf("sha256:%x", sha256.Sum256(tar.Bytes())), open)
	s.must(err)
	key := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	published, err := s.reg.Publish(s.t.Context(), registry.Packed{Name: name, Key: key, Images: []registry.PackedImage{{
		Platform: "linux/amd64", Created: s.now, Layers: []layer.Layer{l},
		Config: artifact.Config{Architecture: "amd64", Labels: map[string]string{artifact.LabelKey: key, artifact.LabelTree: whole.Hash()}},
	}}})
	s.must(err)
	return published.Digest
}

func (s *scene) repository(name string) *registry.Repository {
	s.t.Helper()
	repo, err := s.reg.Repository(name)
	s.must(err)
	return repo
}

// at opens a channel of a repository.
func (s *scene) at(repo Repository, channel string) *Channel {
	s.t.Helper()
	c, err := Open(repo, channel, s.root, s.memory, func() time.Time { return s.now })
	s.must(err)
	return c
}

func (s *scene) channel(name string) *Channel { return s.at(s.repository("web"), name) }

// writer writes a channel of web by a key.
func (s *scene) writer(channel, key string) *Writer {
	s.t.Helper()
	w, err := NewWriter(s.channel(channel), s.reg, s.judge, s.key(key))
	s.must(err)
	return w
}

// prod promotes by promote-1.
func (s *scene) prod(digest string) *Log {
	s.t.Helper()
	l, err := s.writer("prod", "promote-1").Promote(s.t.Context(), Promotion{Digest: digest})
	s.must(err)
	return l
}

// named is what a tag names.
func (s *scene) named(tag string) string {
	s.t.Helper()
	digest, err := s.repository("web").Named(s.t.Context(), tag)
	s.must(err)
	return digest
}

// refused wants an error of kind Refused with a text.
func refused(t *testing.T, err error, text string) {
	t.Helper()
	if faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), text) {
		t.Errorf("want %q refused: %v", text, err)
	}
}

// A channel moves, goes back and is stopped; the tag of its name follows, and what it has
// accepted is held.
func TestChannelMoves(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	empty, err := s.channel("prod").Read(ctx)
	s.must(err)
	if _, err := empty.Current(); faults.Of(err) != faults.NotFound {
		t.Errorf("an empty channel: %v", err)
	}
	w := s.writer("prod", "promote-1")
	for _, act := range []func() (*Log, error){
		func() (*Log, error) { return w.Rollback(ctx, "", "") },
		func() (*Log, error) { return w.Freeze(ctx, "holidays") },
		func() (*Log, error) { return w.Refresh(ctx) },
		func() (*Log, error) { return w.Restart(ctx, s.a, "why", false) },
	} {
		if _, err := act(); faults.Of(err) != faults.NotFound {
			t.Errorf("an empty channel: %v", err)
		}
	}
	s.prod(s.a)
	s.now = s.now.Add(time.Hour)
	l := s.prod(s.b)
	if digest, err := l.Current(); err != nil || digest != s.b || l.Back() != s.a || !l.Since.Equal(s.now) || len(l.Entries) != 2 || l.Entries[1].By[0] != "promote-1" {
		t.Errorf("%v: %+v", err, l)
	}
	if s.named("prod") != s.b || s.named(artifact.ChannelHoldTag("prod", s.a)) != s.a || s.named(artifact.ChannelHoldTag("prod", s.b)) != s.b {
		t.Error("the tags do not follow")
	}
	_, err = w.Promote(ctx, Promotion{Digest: s.b})
	refused(t, err, "names "+s.b+" already")
	_, err = w.Rollback(ctx, s.c, "")
	refused(t, err, "none of the digests that the channel has named before")

	l, err = w.Rollback(ctx, "", "it leaks")
	s.must(err)
	if l.Digest != s.a || s.named("prod") != s.a || l.Back() != s.b {
		t.Errorf("it went back to %s", l.Digest)
	}
	_, err = w.Revoke(ctx, s.a, "it is poisoned")
	s.must(err)
	read, err := s.channel("prod").Read(ctx)
	s.must(err)
	var revoked *RevokedError
	if _, err := read.Current(); !errors.As(err, &revoked) || revoked.Back != s.b || revoked.Hint() == "" {
		t.Errorf("revoked: %v", err)
	}
	_, err = w.Promote(ctx, Promotion{Digest: s.a})
	refused(t, err, "which is revoked: it is poisoned")
	l, err = w.Rollback(ctx, "", "")
	s.must(err)
	if l.Digest != s.b || s.named("prod") != s.b {
		t.Errorf("it went back to %s", l.Digest)
	}
	_, err = w.Rollback(ctx, s.a, "")
	refused(t, err, "which is revoked")

	_, err = w.Freeze(ctx, "holidays")
	s.must(err)
	_, err = w.Promote(ctx, Promotion{Digest: s.c})
	refused(t, err, "the channel is frozen: holidays")
	if _, err = w.Promote(ctx, Promotion{Digest: s.c, BreakGlass: true}); err == nil {
		t.Error("the glass is broken for no reason")
	}
	l, err = w.Promote(ctx, Promotion{Digest: s.c, BreakGlass: true, Reason: "a hole is closed"})
	s.must(err)
	if last := l.Entries[len(l.Entries)-1]; !last.BreakGlass || last.Reason != "a hole is closed" || l.Frozen == "" {
		t.Errorf("%+v", last)
	}
	if _, err = w.Rollback(ctx, "", "in the frost"); err != nil {
		t.Errorf("a frozen channel must go back: %v", err)
	}
	_, err = w.Unfreeze(ctx, "")
	s.must(err)
	_, err = w.Unfreeze(ctx, "")
	refused(t, err, "is not frozen")
	before := s.named(artifact.ChannelTag("prod"))
	l, err = w.Refresh(ctx)
	s.must(err)
	if l.Digest != s.b || s.named(artifact.ChannelTag("prod")) == before {
		t.Errorf("%+v", l.State)
	}
}

// What a policy refuses is not promoted; going back asks for the signatures alone.
func TestPolicyDecides(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	w := s.writer("prod", "promote-1")
	s.prod(s.a)
	s.judge.refused[s.b] = true
	var no *policy.RefusedError
	if _, err := w.Promote(ctx, Promotion{Digest: s.b}); !errors.As(err, &no) {
		t.Errorf("%v", err)
	}
	delete(s.judge.refused, s.b)
	s.prod(s.b)
	s.judge.refused[s.a] = true
	if _, err := w.Rollback(ctx, "", ""); err != nil {
		t.Errorf("evidence that became too old keeps a channel from going back: %v", err)
	}
	s.judge.unsigned[s.b] = true
	if _, err := w.Rollback(ctx, "", ""); !errors.As(err, &no) {
		t.Errorf("it went back to what nobody has signed: %v", err)
	}
	if _, err := w.Promote(ctx, Promotion{Digest: "sha256:" + strings.Repeat("0", 64)}); faults.Of(err) != faults.NotFound {
		t.Errorf("a digest that is not there: %v", err)
	}
	l, err := s.channel("prod").Read(ctx)
	s.must(err)
	if len(l.Entries) != 3 || s.named("prod") != s.a {
		t.Errorf("what was refused left something: %d entries", len(l.Entries))
	}
}

// A promotion from a channel takes what that names, and nothing else.
func TestPromoteFrom(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	prod := s.writer("prod", "promote-1")
	if _, err := prod.Promote(ctx, Promotion{From: "staging"}); faults.Of(err) != faults.NotFound {
		t.Errorf("from an empty channel: %v", err)
	}
	staging := s.writer("staging", "promote-2")
	_, err := staging.Promote(ctx, Promotion{Digest: s.a})
	s.must(err)
	_, err = prod.Promote(ctx, Promotion{From: "staging", Digest: s.b})
	refused(t, err, "channel web:staging names "+s.a)
	l, err := prod.Promote(ctx, Promotion{From: "staging"})
	s.must(err)
	if l.Digest != s.a || l.Entries[0].From != "staging" {
		t.Errorf("%+v", l.Entries)
	}
	_, err = staging.Revoke(ctx, s.a, "bad")
	s.must(err)
	_, err = s.writer("eu-prod", "promote-1").Promote(ctx, Promotion{From: "staging"})
	refused(t, err, "is revoked in channel web:staging: bad")
}

// Who holds no promotion key is told so before anything is done.
func TestNoPromotionKey(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, key := range []string{"stranger", "build-1", "approve-1", "ann"} {
		_, err := NewWriter(s.channel("prod"), s.reg, s.judge, s.key(key))
		refused(t, err, "is no promotion key of the trust root")
	}
	s.now = s.now.Add(3 * day)
	_, err := NewWriter(s.channel("prod"), s.reg, s.judge, s.key("promote-3"))
	refused(t, err, "or has expired; those that count are: promote-0, promote-1, promote-2")
	for _, name := range []string{"", "Prod", "key-1", "channel-x", "a/b"} {
		if _, err := Open(s.repository("web"), name, s.root, s.memory, time.Now); faults.Of(err) != faults.Usage {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Of two promotions at the same moment one wins, in one process or in two, and the other is
// told. Whatever they do, the tag says what the log does in the end.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	other := embedded.Open(s.dir) // another process asks the one that holds the registry
	t.Cleanup(func() { _ = other.Close() })
	far, err := registry.Local(other)
	s.must(err)
	repo, err := far.Repository("web")
	s.must(err)
	s.prod(s.a)
	near, away := s.channel("prod"), s.at(repo, "prod")
	old, err := away.Read(t.Context())
	s.must(err)
	s.prod(s.b)
	var moved *registry.MovedError
	if _, err := away.Append(t.Context(), old, Entry{Action: Promote, Digest: s.c, Who: "promote-2"}, s.key("promote-2")); !errors.As(err, &moved) || faults.Of(err) != faults.Refused {
		t.Errorf("a log that has moved on is overwritten: %v", err)
	}
	if s.named("prod") != s.b {
		t.Error("who lost has moved the tag")
	}

	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() {
			c := near
			if i%2 == 1 {
				c = away
			}
			l, err := c.Read(t.Context())
			if err == nil {
				_, err = c.Append(t.Context(), l, Entry{Action: Refresh, Digest: l.Digest, Who: "promote-1"}, s.key("promote-1"))
			}
			errs[i] = err
		})
	}
	group.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.As(err, &moved):
			t.Error(err)
		}
	}
	l, err := near.Read(t.Context())
	s.must(err)
	if won == 0 || len(l.Entries) != 2+won {
		t.Errorf("%d have won, and there are %d entries", won, len(l.Entries))
	}
}

// A process that ends between the log and the tag leaves a tag that is behind. The log decides,
// and the next entry mends the tag.
func TestTagIsMended(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.prod(s.a)
	l := s.prod(s.b)
	s.must(s.repository("web").PointIf(t.Context(), "prod", s.b, s.c))
	read, err := s.channel("prod").Read(t.Context())
	s.must(err)
	if digest, err := read.Current(); err != nil || digest != s.b {
		t.Errorf("the tag decides: %s, %v", digest, err)
	}
	_, err = s.channel("prod").Append(t.Context(), l, Entry{Action: Refresh, Digest: s.b, Who: "promote-1"}, s.key("promote-1"))
	s.must(err)
	if s.named("prod") != s.b {
		t.Error("the tag is not mended")
	}
}

// remote is a registry without conditions.
func remote(t *testing.T) *registry.Registry {
	t.Helper()
	server := httptest.NewServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	r, err := registry.Open(strings.TrimPrefix(server.URL, "http://") + "/team")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Another registry is not written, and a copy of a log there is read as any other one.
func TestOtherRegistries(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	l := s.prod(s.a)
	r := remote(t)
	for _, ref := range []string{"web:channel-prod", "web:prod"} {
		if _, err := registry.Copy(t.Context(), s.reg, ref, r, ref); err != nil {
			t.Fatal(err)
		}
	}
	repo, err := r.Repository("web")
	s.must(err)
	c := s.at(repo, "prod")
	read, err := c.Read(t.Context())
	s.must(err)
	if diff := cmp.Diff(l.State, read.State); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w, err := NewWriter(c, r, s.judge, s.key("promote-1"))
	s.must(err)
	var none *registry.UnconditionalError
	if _, err := w.Freeze(t.Context(), "x"); !errors.As(err, &none) || faults.Of(err) != faults.Refused || none.Hint() == "" {
		t.Errorf("%v", err)
	}
	if again, err := c.Read(t.Context()); err != nil || len(again.Entries) != 1 {
		t.Errorf("%v", err)
	}
	s.prod(s.b)
	_, err = registry.Copy(t.Context(), r, "web:channel-prod", s.reg, "web:channel-prod")
	refused(t, err, "web:channel-prod is the log of a channel, and is there")
	lost := newScene(t)
	lost.root = s.root
	if _, err := registry.Copy(t.Context(), r, "web:channel-prod", lost.reg, "web:channel-prod"); err != nil {
		t.Fatal(err)
	}
	if back, err := lost.channel("prod").Read(t.Context()); err != nil || back.Digest != s.a {
		t.Errorf("a log does not come back from a copy: %v", err)
	}
}

// What the channel names is ruined on disk: it can still be left.
func TestLeavingRuins(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.prod(s.a)
	s.prod(s.b)
	s.remove(s.b)
	if _, err := s.writer("prod", "promote-1").Rollback(t.Context(), "", "it is gone"); err != nil {
		t.Error(err)
	}
	if s.named("prod") != s.a {
		t.Errorf("the tag names %s", s.named("prod"))
	}
}

// A thousand entries become one file, and a registry is sent the new ones alone.
func TestSegments(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const many = 2*artifact.ChannelSegment + 3
	entries := s.chain(many)
	repo := s.repository("web")
	_, err := repo.PutIf(t.Context(), artifact.ChannelTag("prod"), "", artifact.ChannelType, nil, pack(entries))
	s.must(err)
	c := s.channel("prod")
	l, err := c.Read(t.Context())
	s.must(err)
	if len(l.Entries) != many {
		t.Fatalf("%d entries come back", len(l.Entries))
	}
	l, err = c.Append(t.Context(), l, Entry{Action: Refresh, Digest: l.Digest, Who: "promote-1"}, s.key("promote-1"))
	s.must(err)
	info, err := repo.Tagged(t.Context(), artifact.ChannelTag("prod"))
	s.must(err)
	var names []string
	for _, f := range info.Files {
		names = append(names, f.Name)
	}
	if want := []string{"1-1000.jsonl", "1001-2000.jsonl", "2001.json", "2002.json", "2003.json", "2004.json"}; !slices.Equal(names, want) || len(l.Entries) != many+1 {
		t.Errorf("the files are %q", names)
	}
}

// chain makes a good log of one promotion and many refreshments.
func (s *scene) chain(n int) []Signed {
	s.t.Helper()
	var entries []Signed
	for range n {
		entries = s.add(entries, "promote-1", func(e *Entry) {
			if len(entries) > 0 {
				e.Action = Refresh
			}
		})
	}
	return entries
}

// add adds a promotion of a to entries, after a change, signed by a key.
func (s *scene) add(entries []Signed, key string, change func(*Entry)) []Signed {
	s.t.Helper()
	e := Entry{Repository: "web", Channel: "prod", Sequence: len(entries) + 1, Time: stamp(s.now), Action: Promote, Digest: s.a, Who: key}
	if len(entries) > 0 {
		e.Previous = entries[len(entries)-1].Hash
	}
	change(&e)
	signed, err := e.sign(s.t.Context(), s.key(key))
	s.must(err)
	return append(entries[:len(entries):len(entries)], signed)
}

// A rollback target that is not whole any more is told, with what is missing.
func TestCheckTargets(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	c := s.channel("prod")
	if _, err := c.CheckTargets(ctx, s.reg, s.judge, 5); faults.Of(err) != faults.NotFound {
		t.Errorf("an empty channel: %v", err)
	}
	for _, digest := range []string{s.a, s.b, s.c} {
		s.prod(digest)
	}
	look := func() (problems []string) {
		t.Helper()
		found, err := c.CheckTargets(ctx, s.reg, s.judge, 2)
		s.must(err)
		if len(found) != 2 || found[0].Digest != s.c || !found[0].Current || found[1].Digest != s.b || found[1].Current || found[0].Parts.Blobs < 2 {
			t.Fatalf("%+v", found)
		}
		if len(found[0].Problems) > 0 {
			t.Errorf("%q", found[0].Problems)
		}
		return found[1].Problems
	}
	if problems := look(); len(problems) > 0 {
		t.Errorf("%q", problems)
	}
	s.judge.unsigned[s.b] = true
	if problems := look(); len(problems) != 1 || !strings.Contains(problems[0], "refuses") {
		t.Errorf("%q", problems)
	}
	s.judge.unsigned[s.b] = false
	s.must(s.own.Unhold(ctx, embedded.Target{Name: "web", Tag: artifact.ChannelHoldTag("prod", s.b)}))
	if problems := look(); len(problems) != 1 || !strings.Contains(problems[0], "nothing holds it") {
		t.Errorf("%q", problems)
	}
	d, err := s.reg.Resolve(ctx, "web@"+s.b)
	s.must(err)
	s.remove(d.Images[0].Layers[0].Digest)
	if problems := look(); len(problems) != 1 || !strings.Contains(problems[0], d.Images[0].Layers[0].Digest) {
		t.Errorf("%q", problems)
	}
}

// A memory that is damaged is no reason to forget.
func TestMemoryFails(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.prod(s.a)
	s.memory.fail = errors.New("broken")
	if _, err := s.channel("prod").Read(t.Context()); !errors.Is(err, s.memory.fail) {
		t.Errorf("%v", err)
	}
}

// remove takes content out of the store's registry, behind its back.
func (s *scene) remove(digest string) {
	s.t.Helper()
	s.must(os.Remove(filepath.Join(s.dir, "repositories", "web", "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))))
}
