package webhooks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

// engines are the databases that every test runs on. With the tag "postgres" there is a second one.
var engines = map[string]func(testing.TB) database.Options{
	"sqlite": func(t testing.TB) database.Options { return database.Options{Dir: t.TempDir()} },
}

var secretOne, secretTwo = []byte(strings.Repeat("1", 32)), []byte(strings.Repeat("2", 24))

func coded(secret []byte) string { return secretPrefix + base64.StdEncoding.EncodeToString(secret) }

// receiver is who is told. Answer is called for each request; nil is 204.
type receiver struct {
	mu     sync.Mutex
	got    []*http.Request
	bodies []string
	answer func(n int, w http.ResponseWriter, r *http.Request)
}

func (s *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.got, s.bodies = append(s.got, r), append(s.bodies, string(body))
	n, answer := len(s.got), s.answer
	s.mu.Unlock()
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(n, w, r)
}

func (s *receiver) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// rig is an outbox with one webhook, whose receiver is on this machine.
type rig struct {
	*Outbox
	t   *testing.T
	db  *database.DB
	to  *receiver
	url string
	log *strings.Builder
}

func onEach(t *testing.T, test func(r *rig)) {
	t.Helper()
	t.Parallel()
	for name, options := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &rig{t: t, db: databasetest.Open(t, options(t)), to: &receiver{}, log: &strings.Builder{}}
			server := httptest.NewServer(r.to)
			t.Cleanup(server.Close)
			r.url = server.URL
			r.Outbox = NewOutbox(r.db, []Hook{{Name: "chat", URL: r.url + "/hook", Events: Types(), secrets: [][]byte{secretOne, secretTwo}}})
			test(r)
		})
	}
}

// loopback admits the receivers of tests.
var loopback = registry.NewReach(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))

func (r *rig) sender(o *Outbox, transport http.RoundTripper) *Sender {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return NewSender(o, transport, "ampoule/test", logrus.NewEntry(l))
}

// sends runs senders until a condition holds.
func (r *rig) sends(until func() bool, senders ...*Sender) {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for _, s := range senders {
		running.Go(func() { s.Run(ctx) })
	}
	for begun := time.Now(); !until(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			r.t.Fatalf("it does not come to that: %+v", r.last())
		}
	}
}

func (r *rig) last() []Delivery {
	r.t.Helper()
	all, err := r.Last(context.WithoutCancel(r.t.Context()), "chat", 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *rig) all(state State) func() bool {
	return func() bool {
		return !slices.ContainsFunc(r.last(), func(d Delivery) bool { return d.State != state })
	}
}

func (r *rig) happens(subject string) {
	r.t.Helper()
	if err := r.AddOne(r.t.Context(), event(subject)); err != nil {
		r.t.Fatal(err)
	}
}

func event(subject string) Event {
	return Event{Type: BuildEnded, Name: "team/web", Subject: subject, Time: time.Unix(1700000000, 0), Data: map[string]string{"build": subject}}
}

// change changes the rows of deliveries.
func (r *rig) change(set string, args ...any) {
	r.t.Helper()
	err := r.db.Write(r.t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE webhook_deliveries SET "+set, args...)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// A receiver gets what happened, signed by each secret, as the specification has it.
func TestSigned(t *testing.T) {
	onEach(t, func(r *rig) {
		r.happens("b1")
		r.happens("b1") // the same event is sent once
		r.sends(r.all(Delivered), r.sender(r.Outbox, loopback))
		if r.to.count() != 1 {
			t.Fatalf("%d requests", r.to.count())
		}
		got, body := r.to.got[0], r.to.bodies[0]
		id, at := got.Header.Get("Webhook-Id"), got.Header.Get("Webhook-Timestamp")
		var want []string
		for _, secret := range [][]byte{secretOne, secretTwo} {
			mac := hmac.New(sha256.New, secret)
			fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
			want = append(want, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		}
		if got.Method != http.MethodPost || got.URL.Path != "/hook" || !strings.HasPrefix(id, "msg_") || got.Header.Get("Webhook-Signature") != strings.Join(want, " ") ||
			got.Header.Get("Content-Type") != "application/json" || got.Header.Get("User-Agent") != "ampoule/test" {
			t.Errorf("%v", got.Header)
		}
		var sent struct {
			Type, Timestamp string
			Data            map[string]string
		}
		if err := json.Unmarshal([]byte(body), &sent); err != nil || sent.Type != "build.ended" || sent.Timestamp != "2023-11-14T22:13:20Z" || sent.Data["build"] != "b1" {
			t.Errorf("%s: %v", body, err)
		}
		if d := r.last()[0]; d.Status != http.StatusNoContent || d.Attempts != 1 || d.Tried.IsZero() {
			t.Errorf("%+v", d)
		}
	})
}

// An example of the specification's own: its secret, message and signature.
func TestSignatureOfTheSpecification(t *testing.T) {
	t.Parallel()
	secret, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	h := Hook{secrets: [][]byte{secret}}
	got := h.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", `{"test": 2432232314}`)
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What belongs to a transaction that is undone is not sent.
func TestUndone(t *testing.T) {
	onEach(t, func(r *rig) {
		undone := errors.New("undone")
		err := r.db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
			return errors.Join(r.Add(ctx, tx, event("b1")), undone)
		})
		if !errors.Is(err, undone) || len(r.last()) != 0 {
			t.Errorf("%v %+v", err, r.last())
		}
	})
}

// A receiver that fails is tried again, later each time, and given up after a day.
func TestRetried(t *testing.T) {
	onEach(t, func(r *rig) {
		r.to.answer = func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 2 {
				w.Header().Set("Retry-After", "3600")
			}
			w.WriteHeader(http.StatusInternalServerError)
		}
		r.happens("b1")
		tried := func(n int) func() bool {
			return func() bool { d := r.last()[0]; return d.Attempts == n && (d.Message != "" || d.State != Waiting) }
		}
		s := r.sender(r.Outbox, loopback)
		r.sends(tried(1), s)
		d := r.last()[0]
		if pause := d.Due.Sub(d.Tried); d.State != Waiting || d.Status != 500 || !strings.Contains(d.Message, "500 Internal Server Error") || pause < firstPause/2 || pause > 3*firstPause {
			t.Errorf("%s: %+v", pause, d)
		}
		r.change("due = {now}, message = ''")
		r.sends(tried(2), s)
		if d := r.last()[0]; d.Due.Sub(d.Tried) < 50*time.Minute {
			t.Errorf("what the receiver asks for: %+v", d)
		}
		r.change("due = {now}, until = {now} + 1000000, message = ''")
		r.sends(r.all(GivenUp), s)
		if d := r.last()[0]; d.Attempts != 3 || !strings.Contains(d.Message, "500") {
			t.Errorf("%+v", d)
		}
		r.to.mu.Lock()
		r.to.answer = nil
		r.to.mu.Unlock()
		if _, err := r.Again(t.Context(), "chat", "nothing"); faults.Of(err) != faults.NotFound {
			t.Errorf("%v", err)
		}
		if d, err := r.Again(t.Context(), "chat", r.last()[0].ID); err != nil || d.State != Waiting {
			t.Errorf("%+v %v", d, err)
		}
		r.sends(r.all(Delivered), s)
		if r.to.count() != 4 || r.to.got[3].Header.Get("Webhook-Id") != r.to.got[0].Header.Get("Webhook-Id") {
			t.Errorf("%d requests", r.to.count())
		}
	})
}

// Pauses grow, and have a bound.
func TestPauses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		attempts int
		want     time.Duration
	}{{1, 5 * time.Second}, {2, 20 * time.Second}, {3, 80 * time.Second}, {6, 5120 * time.Second}, {7, 2 * time.Hour}, {1000, 2 * time.Hour}} {
		for range 20 {
			if got := pauseAfter(c.attempts); got < c.want*8/10 || got > c.want*12/10 {
				t.Errorf("after %d attempts %s, want about %s", c.attempts, got, c.want)
			}
		}
	}
}

// A receiver that redirects, wants no more, is slow, never ends its answer, or is none, is told as such.
func TestBadReceivers(t *testing.T) {
	onEach(t, func(r *rig) {
		elsewhere := &receiver{}
		other := httptest.NewServer(elsewhere)
		t.Cleanup(other.Close)
		release := make(chan struct{})
		var once sync.Once
		t.Cleanup(func() { once.Do(func() { close(release) }) })
		for _, c := range []struct {
			name   string
			answer func(n int, w http.ResponseWriter, req *http.Request)
			state  State
			says   string
		}{
			{"redirects", func(_ int, w http.ResponseWriter, req *http.Request) {
				http.Redirect(w, req, other.URL, http.StatusTemporaryRedirect)
			}, Waiting, "another address, which is not followed"},
			{"is gone", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }, GivenUp, "wants no more"},
			{"never ends its answer", func(_ int, w http.ResponseWriter, req *http.Request) {
				w.WriteHeader(http.StatusOK)
				for req.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 64<<10)); err != nil {
						return
					}
				}
			}, Delivered, ""},
			{"never begins one", func(_ int, _ http.ResponseWriter, req *http.Request) {
				select {
				case <-release:
				case <-req.Context().Done():
				}
			}, Waiting, "has not answered within"},
			{"breaks off", func(int, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Waiting, "EOF"},
		} {
			r.to.mu.Lock()
			r.to.answer = c.answer
			r.to.mu.Unlock()
			s := r.sender(r.Outbox, loopback)
			if c.says == "has not answered within" {
				s.client.Timeout = 300 * time.Millisecond
			}
			r.happens(c.name)
			find := func() Delivery {
				all := r.last()
				return all[slices.IndexFunc(all, func(d Delivery) bool { return d.Event == event(c.name).id() })]
			}
			r.sends(func() bool { d := find(); return d.Attempts > 0 && (d.Message != "" || d.State == Delivered) }, s)
			if d := find(); d.State != c.state || !strings.Contains(d.Message, c.says) {
				t.Errorf("one that %s: %+v", c.name, d)
			}
		}
		if elsewhere.count() != 0 {
			t.Error("a redirect was followed")
		}
	})
}

// A receiver that hangs does not hold up others, and is asked little at once.
func TestSlowReceiver(t *testing.T) {
	onEach(t, func(r *rig) {
		release := make(chan struct{})
		r.to.answer = func(_ int, w http.ResponseWriter, _ *http.Request) { <-release; w.WriteHeader(http.StatusOK) }
		fast := &receiver{}
		other := httptest.NewServer(fast)
		t.Cleanup(other.Close)
		r.hooks = append(r.hooks, Hook{Name: "fast", URL: other.URL, Events: Types(), secrets: [][]byte{secretOne}})
		for n := range 6 {
			r.happens(fmt.Sprint(n))
		}
		s := r.sender(r.Outbox, loopback)
		r.sends(func() bool {
			if fast.count() < 6 {
				return false
			}
			select {
			case <-release:
			default:
				if got := r.to.count(); got > atOnce {
					t.Errorf("%d requests at once", got)
				}
				close(release)
			}
			return r.all(Delivered)()
		}, s)
	})
}

// Of several processes one sends each delivery.
func TestSeveralProcesses(t *testing.T) {
	onEach(t, func(r *rig) {
		const many = 60
		var senders []*Sender
		for range 4 {
			o := NewOutbox(r.db, r.hooks)
			senders = append(senders, r.sender(o, loopback))
		}
		for n := range many {
			r.happens(fmt.Sprint(n))
		}
		r.sends(r.all(Delivered), senders...)
		seen := map[string]int{}
		for _, got := range r.to.got {
			seen[got.Header.Get("Webhook-Id")]++
		}
		if len(seen) != many || r.to.count() != many {
			t.Errorf("%d requests for %d of %d events", r.to.count(), len(seen), many)
		}
	})
}

// What a process had leased that was killed is sent by another one when the lease is over.
func TestLostSender(t *testing.T) {
	onEach(t, func(r *rig) {
		r.happens("b1")
		killed := r.sender(r.Outbox, loopback)
		one, found, err := killed.lease(t.Context(), "chat")
		if err != nil || !found {
			t.Fatal(found, err)
		}
		if _, found, err := killed.lease(t.Context(), "chat"); found || err != nil {
			t.Errorf("it is leased twice: %v", err)
		}
		r.change("lease_until = {now} - 1")
		r.sends(r.all(Delivered), r.sender(r.Outbox, loopback))
		// What the one that was taken for dead writes then changes nothing.
		if err := killed.settle(t.Context(), one, outcome{message: "late"}, time.Second, false); err != nil || r.last()[0].State != Delivered {
			t.Errorf("%v %+v", err, r.last())
		}
	})
}

// Addresses of the network behind the service are not reached, whatever names lead there.
func TestWebhooksReach(t *testing.T) {
	onEach(t, func(r *rig) {
		_, port, err := net.SplitHostPort(strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		r.hooks[0].URL = "http://localhost:" + port + "/hook"
		r.happens("b1")
		r.sends(func() bool { return r.last()[0].Message != "" }, r.sender(r.Outbox, registry.NewReach()))
		if d := r.last()[0]; !strings.Contains(d.Message, "is not a public address") || !strings.Contains(d.Message, "--reach") || r.to.count() != 0 {
			t.Errorf("%+v", d)
		}
	})
}

// A delivery of a webhook that no process knows any more ends, and old ones are forgotten.
func TestClean(t *testing.T) {
	onEach(t, func(r *rig) {
		r.happens("b1")
		r.change("until = {now} - 1")
		s := r.sender(NewOutbox(r.db, nil), loopback)
		if err := s.clean(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := r.last()[0]; d.State != GivenUp || !strings.Contains(d.Message, "no process has the webhook") {
			t.Errorf("%+v", d)
		}
		r.change("created = created - $1", (keepFor + time.Hour).Microseconds())
		if err := s.clean(t.Context()); err != nil || len(r.last()) != 0 {
			t.Errorf("%v %+v", err, r.last())
		}
	})
}

const whole = `apiVersion: ampoule/v1
webhooks:
  chat:
    url: https://chat.example/hooks/ampoule
    events: [channel.moved, host.fell-back]
    match: [web, "team/*"]
    secret-file: chat.secret
`

// A file is read with its secrets, and what is wrong with it is told at its line and column.
func TestFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("chat.secret", coded(secretOne)+"\n"+coded(secretTwo)+"\n")
	write("short.secret", coded([]byte("short"))+"\n")
	write("empty.secret", "\n")
	file := filepath.Join(dir, "webhooks.yaml")
	write("webhooks.yaml", whole)
	hooks, err := Read(file)
	if err != nil || len(hooks) != 1 || len(hooks[0].secrets) != 2 {
		t.Fatalf("%+v %v", hooks, err)
	}
	for name, want := range map[string]bool{"web": true, "team/web": true, "team/web/x": true, "webs": false} {
		if hooks[0].Wants(ChannelMoved, name) != want || hooks[0].Wants(BuildEnded, name) {
			t.Errorf("%s: want %t", name, want)
		}
	}
	for name, c := range map[string]struct{ before, after, want string }{
		"an unknown key":      {"match:", "matches:", `webhooks.yaml:6:5: "matches" is no key`},
		"no URL":              {"    url: https://chat.example/hooks/ampoule\n", "", "webhooks.yaml:4:5: "},
		"plain http":          {"https:", "http:", "webhooks.yaml:4:10: url is plain http to another machine"},
		"credentials":         {"https://", "https://me:secret@", "webhooks.yaml:4:10: url has credentials in it"},
		"an unknown event":    {"channel.moved", "channel.stopped", "webhooks.yaml:5:14: "},
		"no events":           {"    events: [channel.moved, host.fell-back]\n", "", "webhooks.yaml:4:5: "},
		"a bad pattern":       {"[web,", "[WEB,", "webhooks.yaml:6:13: "},
		"a bad name":          {"  chat:", "  Chat:", "webhooks.yaml:3:3: "},
		"a missing secret":    {"chat.secret", "none.secret", "webhooks.yaml:7:18: reading the secret"},
		"a short secret":      {"chat.secret", "short.secret", "webhooks.yaml:7:18: line 1 of "},
		"a file without any":  {"chat.secret", "empty.secret", "has no secret"},
		"a second document":   {"webhooks:", "---\nwebhooks:", "webhooks.yaml:"},
		"an unquoted version": {"ampoule/v1", "ampoule/v2", "webhooks.yaml:1:13: "},
	} {
		text := strings.Replace(whole, c.before, c.after, 1)
		if text == whole {
			t.Fatalf("%s: nothing is replaced", name)
		}
		_, err := Parse(file, []byte(text))
		var all recipes.Faults
		if !errors.As(err, &all) || !strings.Contains(strings.TrimPrefix(all[0].String(), dir+"/"), c.want) || faults.Of(err) != faults.Input {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte("short"))) {
			t.Errorf("%s: a secret is told: %v", name, err)
		}
	}
	if _, err := Read(filepath.Join(dir, "missing.yaml")); faults.Of(err) != faults.Input {
		t.Errorf("%v", err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(whole))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = Parse("webhooks.yaml", text) })
}
