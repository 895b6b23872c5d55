package sources_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/channel"
	"ampoule/registry/channel/rules"
	"ampoule/registry/embedded"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/policy"
	"ampoule/registry/trust/roots"
	"ampoule/service/web"
	"ampoule/service/web/sources"
	"ampoule/store"
)

// allowing allows everything.
type allowing struct{}

func (allowing) DecideBy(s policy.Subject, _ []registry.Evidence) policy.Decision {
	return policy.Decision{Subject: s, Allowed: true}
}

func (j allowing) DecideSigned(s policy.Subject, found []registry.Evidence) policy.Decision {
	return j.DecideBy(s, found)
}

// scene is a registry with two artifacts, and channels that a service writes.
type scene struct {
	t             *testing.T
	own           *embedded.Registry
	reg           *registry.Registry
	root          *roots.Root
	memory        *store.Store
	key           *keys.Private
	now           time.Time
	channels      *sources.Channels
	first, second string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	own, artifacts := published(t)
	s := &scene{t: t, own: own, now: time.Now().UTC().Truncate(time.Second)}
	_, s.first, _ = strings.Cut(publish(t, own, "3.1.2"), "@")
	_, s.second, _ = strings.Cut(publish(t, own, "3.1.3"), "@")
	var err error
	s.reg, err = registry.Local(own)
	s.must(err)
	s.memory, err = store.Open(t.TempDir())
	s.must(err)
	t.Cleanup(func() { _ = s.memory.Close() })
	s.key, err = keys.Generate()
	s.must(err)
	s.root = s.newRoot()
	s.channels = &sources.Channels{
		Open:     func(context.Context) (sources.Opener, error) { return s, nil },
		Promoter: s, Artifacts: artifacts, Now: func() time.Time { return s.now },
		Fleet: &sources.Fleet{Queue: newQueue(), Reports: func(context.Context) ([]web.Host, error) {
			return []web.Host{{Name: "a", Channel: "web:prod", Digest: s.first}, {Name: "b", Channel: "web:prod"}, {Name: "c", Channel: "web:staging"}}, nil
		}},
		Rules: func(context.Context) (*rules.Rules, error) {
			return rules.Parse("channels.yaml", []byte("apiVersion: ampoule/v1\ntrust: acme\nversion: 1\npeople:\n  ann: {keys: [promote-1]}\n  ben: {keys: [approve-1]}\nchannels:\n  - {name: staging}\n  - name: prod\n    from: staging\n    soak: 24h\n    approvals: {count: 1}\n"))
		},
	}
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// newRoot is a trust root in which the key may promote.
func (s *scene) newRoot() *roots.Root {
	s.t.Helper()
	ann, err := keys.Generate()
	s.must(err)
	root, err := roots.New("acme", s.now.AddDate(1, 0, 0), map[string]keys.Public{"ann": ann.Public()}, 1)
	s.must(err)
	root, err = root.Next(true, roots.AddKey("promote-1", s.key.Public(), roots.RolePromote, 0, ""))
	s.must(err)
	return root
}

// Open opens a channel.
func (s *scene) Open(repository, name string) (*channel.Channel, error) {
	repo, err := s.reg.Repository(repository)
	if err != nil {
		return nil, err
	}
	return channel.Open(repo, name, s.root, s.memory, func() time.Time { return s.now })
}

func (s *scene) writer(repository, name string) *channel.Writer {
	s.t.Helper()
	c, err := s.Open(repository, name)
	s.must(err)
	w, err := channel.NewWriter(c, s.reg, allowing{}, s.key)
	s.must(err)
	return w
}

// Write does as the service's own promoter.
func (s *scene) Write(ctx context.Context, n channel.Name, _ string, m channel.Move) (*channel.Log, error) {
	return s.writer(n.Repository, n.Channel).Do(ctx, m)
}

func (s *scene) read(name string) web.Channel {
	s.t.Helper()
	c, err := s.channels.Channel(s.t.Context(), "web", name)
	s.must(err)
	return c
}

func TestChannels(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx, ann := t.Context(), web.Identity{Name: "ann"}
	if c := s.read("prod"); c.Digest != "" || len(c.Entries) > 0 || len(c.Candidates) > 0 {
		t.Errorf("before anything was promoted: %+v", c)
	}
	if _, err := s.channels.Channel(ctx, "web", "nowhere"); faults.Of(err) != faults.NotFound {
		t.Errorf("a channel that neither log nor rule has: %v", err)
	}
	s.must(s.channels.Promote(ctx, ann, web.Move{Repository: "web", Channel: "staging", Digest: s.first}))
	s.must(s.channels.Promote(ctx, ann, web.Move{Repository: "web", Channel: "prod", Digest: s.first, Reason: "release 1"}))
	s.now = s.now.Add(time.Hour)
	s.must(s.channels.Promote(ctx, ann, web.Move{Repository: "web", Channel: "staging", Digest: s.second}))
	c := s.read("prod")
	if c.Digest != s.first || c.By != "promote-1" || c.Hosts != 2 || c.Current != 1 || len(c.Entries) != 1 || c.Entries[0].Reason != "release 1 (by ann)" || !c.Writable {
		t.Errorf("%+v", c)
	}
	if len(c.Candidates) != 1 || c.Candidates[0].Digest != s.second || c.Candidates[0].From != "staging" || c.Candidates[0].Allowed() {
		t.Fatalf("candidates %+v", c.Candidates)
	}
	met := map[string]bool{}
	for _, one := range c.Candidates[0].Conditions {
		met[one.Text] = one.Met
	}
	if !met["staging names it"] || met["for 24h"] || len(met) != 3 {
		t.Errorf("conditions %+v", c.Candidates[0].Conditions)
	}
	s.now = s.now.Add(25 * time.Hour)
	if c := s.read("prod"); !c.Candidates[0].Conditions[1].Met {
		t.Errorf("after a day: %+v", c.Candidates[0].Conditions)
	}
	s.must(s.channels.Promote(ctx, ann, web.Move{Repository: "web", Channel: "prod", Digest: s.second}))
	if c := s.read("prod"); c.Back != s.first || c.Digest != s.second {
		t.Errorf("%+v", c)
	}
	s.must(s.channels.Rollback(ctx, ann, web.Move{Repository: "web", Channel: "prod", Digest: s.first, Reason: "it leaks"}))
	if c := s.read("prod"); c.Digest != s.first || c.Entries[0].Action != "rollback" || len(c.Entries) != 3 {
		t.Errorf("%+v", c)
	}
	all, err := s.channels.Channels(ctx)
	if err != nil || len(all) != 2 || all[0].Ref() != "web:prod" || all[1].Ref() != "web:staging" || all[1].Hosts != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	list, err := s.channels.Artifacts.Artifacts(ctx, "web")
	if err != nil || len(list) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestRefusedLog wants a log that is not believed to be told as such, and not to be written.
func TestRefusedLog(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.must(s.channels.Promote(t.Context(), web.Identity{Name: "ann"}, web.Move{Repository: "web", Channel: "prod", Digest: s.first}))
	var err error
	s.key, err = keys.Generate()
	s.must(err)
	s.root = s.newRoot()
	c := s.read("prod")
	if c.Refused == "" || c.Writable || c.Digest != "" || len(c.Entries) > 0 {
		t.Errorf("%+v", c)
	}
	all, err := s.channels.Channels(t.Context())
	if err != nil || len(all) != 1 || all[0].Refused == "" {
		t.Errorf("%+v, %v", all, err)
	}
	s.channels.Promoter = nil
	if err := s.channels.Promote(t.Context(), web.Identity{Name: "ann"}, web.Move{}); faults.Of(err) != faults.Undecided {
		t.Errorf("without a key: %v", err)
	}
}
