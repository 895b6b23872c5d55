package cli

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ampoule/agent/reports"
	"ampoule/config"
	"ampoule/registry"
	"ampoule/registry/channel"
	"ampoule/registry/channel/rules"
	"ampoule/registry/trust/keys"
	"ampoule/service/api"
	"ampoule/service/channels"
	"ampoule/service/database"
	"ampoule/service/hosts"
	"ampoule/service/journal"
	"ampoule/service/metrics"
	"ampoule/service/queue"
	"ampoule/service/web/sources"
	"ampoule/service/webhooks"
	"ampoule/wiring"
)

// servingFleet are the flags of serve that are about channels, hosts, and who is told of them.
type servingFleet struct {
	approve            config.Sign
	hostKeys, webhooks string
}

func (o *servingFleet) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.approve.Key, "approve-key", "", "the encrypted private key that approvals of callers are signed with (default: people approve with keys of their own)")
	f.StringVar(&o.hostKeys, "host-keys", "", "the list of hosts whose reports count, and their keys (default: the keys of the role host in the trust root)")
	f.StringVar(&o.webhooks, "webhooks", "", "the file that says who is told what happens (default: nobody is)")
}

// fleet is a service's channels, its hosts, and who is told of them.
type fleet struct {
	// promoter writes channels for API and pages; nil where they are only read.
	promoter api.Promoter
	// desk is nil where no policy is set.
	desk   *channels.Desk
	book   *hosts.Book
	outbox *webhooks.Outbox
	own    func(repository string) string
}

// openOutbox reads the file of webhooks; nil where there is none. It comes before the queue, whose
// builds it is told of.
func (o servingFleet) openOutbox(db *database.DB) (*webhooks.Outbox, error) {
	if o.webhooks == "" {
		return nil, nil // nobody is told
	}
	hooks, err := webhooks.Read(o.webhooks)
	if err != nil {
		return nil, err
	}
	return webhooks.NewOutbox(db, hooks), nil
}

// openFleet gives the API channels, by the policy, and hosts.
func (s *Session) openFleet(ctx context.Context, o serving, db *database.DB, q *queue.Queue, w *wiring.Parts, out *webhooks.Outbox, c *api.Config) (*fleet, error) {
	set, err := config.Read(s.Environ, "")
	if err != nil {
		return nil, err
	}
	policy := o.policy
	if policy == "" {
		policy = set.Trust.Policy
	}
	f := &fleet{outbox: out}
	if policy == "" && (o.promote.Key != "" || o.fleet.approve.Key != "") {
		return nil, &UsageError{Verb: "ampoule serve", Err: errors.New("--promote-key and --approve-key need a policy, which names the trust root: give --policy")}
	}
	if policy != "" {
		if f.desk, err = s.openDesk(ctx, o, w, policy); err != nil {
			return nil, err
		}
		f.giveChannels(c, q)
	}
	f.own = ownNames(s.Registry, o, f.desk) //nolint:contextcheck // what rules name is remembered for all who ask
	c.OwnName = f.own
	if policy != "" || o.fleet.hostKeys != "" {
		f.book = &hosts.Book{DB: db, Keys: func(ctx context.Context) (reports.Keys, error) { return hostKeys(ctx, w, o.fleet.hostKeys, policy) }}
		// A wrong list is told when the service starts.
		if _, err := f.book.Keys(ctx); err != nil {
			return nil, err
		}
		c.Reports = f.book
	}
	f.tell()
	return f, nil
}

// openDesk opens the keys that a service signs with.
func (s *Session) openDesk(ctx context.Context, o serving, w *wiring.Parts, policy string) (*channels.Desk, error) {
	d := &channels.Desk{Parts: w, Policy: policy}
	o.fleet.approve.PassphraseFile = o.promote.PassphraseFile
	for _, one := range []struct {
		set  config.Sign
		into **wiring.Signing
	}{{o.promote, &d.Promotes}, {o.fleet.approve, &d.Approves}} {
		if one.set.Key == "" {
			continue
		}
		by, err := s.signer(ctx, one.set)
		if err != nil {
			return nil, err
		}
		*one.into = by
	}
	return d, nil
}

// giveChannels gives the API what the desk can do.
func (f *fleet) giveChannels(c *api.Config, q *queue.Queue) {
	c.Channels = func(ctx context.Context) (api.Channels, error) { return f.desk.Channels(ctx) }
	if f.desk.Promotes != nil {
		c.Promoter = api.Promotions{Promoter: f.desk, Trust: q.Trust, Channels: c.Channels, Trail: c.Trail}
		f.promoter = c.Promoter
	}
	if f.desk.Approves != nil {
		c.Approver = f.desk
	}
}

// listing is a desk that knows which channels there are.
type listing struct {
	*channels.Desk
	names func(ctx context.Context) ([]channel.Name, error)
}

// Names implements [api.Desk].
func (l listing) Names(ctx context.Context) ([]channel.Name, error) { return l.names(ctx) }

// giveSources gives the pages the channels and hosts, and the API which channels there are.
func (f *fleet) giveSources(ctx context.Context, shown *sources.Service, m *metrics.Metrics, q *queue.Queue) error {
	var counted func(ctx context.Context) (map[metrics.Host]int, error)
	if f.book != nil {
		shown.Hosts = sources.Reports(f.book.List, f.own)
		counted = func(ctx context.Context) (map[metrics.Host]int, error) { return countHosts(ctx, shown) }
	}
	m.WatchQueue(q, counted)
	if f.desk == nil {
		return nil
	}
	// A policy that cannot be read is told when the service starts.
	if _, err := f.desk.Channels(ctx); err != nil {
		return err
	}
	shown.Keys = f.keyNames
	shown.Channels = &sources.Channels{
		Open:  func(ctx context.Context) (sources.Opener, error) { return f.desk.Channels(ctx) },
		Rules: func(ctx context.Context) (*rules.Rules, error) { return f.desk.Rules(ctx) }, Approvals: f.desk.Approvals,
	}
	if f.desk.Promotes != nil {
		shown.Channels.Promoter = f.promoter
	}
	if f.desk.Approves != nil {
		shown.Channels.Approver = f.desk
	}
	return nil
}

// keyNames are the keys of the trust root by name, as root keys have signed them last.
func (f *fleet) keyNames(ctx context.Context) map[string]keys.Public {
	all, err := f.desk.Channels(ctx)
	if err != nil {
		// A page shows an artifact all the same, without the names of who has signed it.
		journal.Of(ctx).WithError(err).Warn("reading the names of keys")
		return nil
	}
	return all.Keys()
}

// countHosts counts hosts by channel and state.
func countHosts(ctx context.Context, shown *sources.Service) (map[metrics.Host]int, error) {
	all, err := shown.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[metrics.Host]int{}
	for _, h := range all {
		counts[metrics.Host{Channel: h.Channel, State: string(h.State)}]++
	}
	return counts, nil
}

// rulesFor is for how long it is remembered which registries rules name.
const rulesFor = 30 * time.Second

// ownNames gives the name of a repository that a host knows by an address of the service's registry, or
// of one that a channel's rule names. Other registries' repositories stay as they are.
func ownNames(external string, o serving, desk *channels.Desk) func(repository string) string {
	prefixes := []string{o.advertise, external}
	ruled := ruledRegistries(desk)
	_, port, _ := net.SplitHostPort(o.Listen)
	return func(repository string) string {
		for _, prefix := range append(ruled(), prefixes...) {
			if name, ok := strings.CutPrefix(repository, strings.TrimSuffix(prefix, "/")+"/"); prefix != "" && ok {
				return name
			}
		}
		host, name, below := strings.Cut(repository, "/")
		if external != "" || !below || !registry.HasHost(repository) || !o.isOwnHost(host, port) {
			return repository
		}
		return name
	}
}

// isOwnHost reports whether HOST[:PORT] is this service, which listens on a port.
func (o serving) isOwnHost(at, port string) bool {
	host, given, err := net.SplitHostPort(at)
	if err != nil {
		host, given = at, ""
	}
	for _, own := range o.Hosts {
		if name, _, err := net.SplitHostPort(own); err == nil {
			own = name
		}
		if strings.EqualFold(own, host) {
			return true
		}
	}
	listens, _, _ := net.SplitHostPort(o.Listen)
	loopback := host == "localhost" || net.ParseIP(host).IsLoopback()
	return (loopback || host == listens) && (given == port || port == "0")
}

// ruledRegistries gives the registries that channel rules name.
func ruledRegistries(desk *channels.Desk) func() []string {
	var mu sync.Mutex
	var known []string
	var asked time.Time
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		if desk == nil || time.Since(asked) < rulesFor {
			return known
		}
		asked, known = time.Now(), nil
		// Rules that cannot be read are told of by whoever needs them.
		if all, err := desk.Rules(context.Background()); err == nil && all != nil {
			for _, rule := range all.Channels {
				if rule.Registry != "" {
					known = append(known, rule.Registry)
				}
			}
		}
		return known
	}
}
