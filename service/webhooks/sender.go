package webhooks

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/address"
	"ampoule/registry"
	"ampoule/service/database"
)

const (
	// answerTime bounds how long a receiver may take to answer. What it answers beyond the header is
	// not read.
	answerTime = 15 * time.Second
	// leaseTime is how long a delivery is one process's: longer than an answer may take.
	leaseTime = time.Minute
	// atOnce bounds how many deliveries of one receiver are sent at once.
	atOnce = 2
	// lookEvery is how often this process looks for what is due, without being told.
	lookEvery = time.Second
	// firstPause is how long after the first failure it is tried again, each time pauseGrows times as
	// long, up to mostPause; a fifth more or less keeps them from coming together.
	firstPause = 5 * time.Second
	pauseGrows = 4
	mostPause  = 2 * time.Hour
	// keepFor is how long deliveries stay listed.
	keepFor    = 30 * 24 * time.Hour
	cleanEvery = time.Hour
	// maxMessage bounds what is kept of what went wrong, in bytes.
	maxMessage = 500
)

// Sender sends what an outbox has.
type Sender struct {
	outbox *Outbox
	client *http.Client
	agent  string
	log    *logrus.Entry

	mu   sync.Mutex
	busy map[string]int
}

// NewSender makes a sender. The transport decides which addresses may be reached: see
// [registry.Reach].
func NewSender(o *Outbox, transport http.RoundTripper, agent string, log *logrus.Entry) *Sender {
	return &Sender{
		outbox: o, agent: agent, log: log, busy: map[string]int{},
		client: &http.Client{
			Transport: transport, Timeout: answerTime,
			// A receiver that sends on to somewhere else may not be who was configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Run sends until the context ends. What is being sent then ends first, or is cut off, and is sent
// again later.
func (s *Sender) Run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var sending sync.WaitGroup
	defer sending.Wait()
	var cleaned time.Time
	for {
		if time.Since(cleaned) > cleanEvery {
			cleaned = time.Now()
			s.told(ctx, "removing old deliveries", s.clean(ctx))
		}
		s.told(ctx, "looking for deliveries", s.look(ctx, &sending))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.outbox.wake:
		}
	}
}

func (s *Sender) told(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		s.log.WithError(err).Warn(what)
	}
}

// look sends all that is due, as far as its receivers have room.
func (s *Sender) look(ctx context.Context, sending *sync.WaitGroup) error {
	due := map[string]bool{}
	err := s.outbox.db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		clear(due)
		return database.Each(ctx, q, "SELECT DISTINCT webhook FROM webhook_deliveries WHERE due <= {now} AND lease_until < {now}", nil, func(from database.Row) error {
			var name string
			err := from.Scan(&name)
			due[name] = true
			return err
		})
	})
	if err != nil {
		return err
	}
	for _, h := range s.outbox.hooks {
		for due[h.Name] && s.room(h.Name, 1) {
			one, found, err := s.lease(ctx, h.Name)
			if err != nil || !found {
				s.room(h.Name, -1)
				if err != nil {
					return err
				}
				break
			}
			sending.Go(func() {
				defer s.outbox.rouse()
				defer s.room(h.Name, -1)
				s.send(ctx, h, one)
			})
		}
	}
	return nil
}

// room takes a place of a receiver, or gives one back. It reports whether there was one.
func (s *Sender) room(name string, change int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if change > 0 && s.busy[name] >= atOnce {
		return false
	}
	s.busy[name] += change
	return true
}

// leased is a delivery that this process sends.
type leased struct {
	id, event, body, token string
	kind                   Type
	// attempts counts this one, too.
	attempts int
	// left is how long it is tried from now on.
	left time.Duration
}

// lease takes the delivery of a receiver that is due first.
func (s *Sender) lease(ctx context.Context, hook string) (leased, bool, error) {
	one := leased{token: rand.Text()}
	found := false
	err := s.outbox.db.Write(ctx, func(ctx context.Context, tx database.Tx) (err error) {
		var left int64
		found, err = database.Get(ctx, tx, `SELECT id, event, kind, body, attempts + 1, until - {now} FROM webhook_deliveries
			WHERE webhook = $1 AND due <= {now} AND lease_until < {now} ORDER BY due, id LIMIT 1 {skip}`,
			[]any{hook}, &one.id, &one.event, &one.kind, &one.body, &one.attempts, &left)
		if err != nil || !found {
			return err
		}
		one.left = time.Duration(left) * time.Microsecond
		_, err = tx.Exec(ctx, "UPDATE webhook_deliveries SET attempts = $2, token = $3, lease_until = {now} + $4, tried = {now} WHERE id = $1",
			one.id, one.attempts, one.token, leaseTime.Microseconds())
		return err
	})
	if err != nil {
		return leased{}, false, fmt.Errorf("leasing a delivery to webhook %s: %w", hook, err)
	}
	return one, found, nil
}

// outcome is what became of an attempt.
type outcome struct {
	status  int
	message string
	// done says that it was delivered, final that it is not tried again.
	done, final bool
	// after is how long the receiver wants to be left alone.
	after time.Duration
}

// send makes one attempt, and notes what became of it.
func (s *Sender) send(ctx context.Context, h Hook, one leased) {
	got := s.post(ctx, h, one)
	if ctx.Err() != nil && !got.done {
		// This process ends: another one, or a later one, goes on.
		got = outcome{message: "the service stopped meanwhile"}
	}
	pause := max(pauseAfter(one.attempts), got.after)
	giveUp := got.final || !got.done && pause > one.left
	log := s.log.WithFields(logrus.Fields{"webhook": h.Name, "delivery": one.id, "event": string(one.kind), "attempt": one.attempts, "status": got.status})
	switch {
	case got.done:
		log.Info("told a webhook")
	case giveUp:
		log.WithField("reason", got.message).Error("gave a webhook up")
	default:
		log.WithField("reason", got.message).Warn("a webhook was not told, and is tried again")
	}
	// It is noted although the process ends.
	err := s.settle(context.WithoutCancel(ctx), one, got, pause, giveUp)
	s.told(ctx, "noting a delivery", err)
}

// pauseAfter is how long it is waited after a number of attempts.
func pauseAfter(attempts int) time.Duration {
	d := firstPause
	for range min(attempts-1, 10) {
		d = min(d*pauseGrows, mostPause)
	}
	const spread = 0.4
	return d + time.Duration((mathrand.Float64()-0.5)*spread*float64(d)) //nolint:gosec // no secret
}

func (s *Sender) settle(ctx context.Context, one leased, got outcome, pause time.Duration, giveUp bool) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	due, args := "{now} + $6", []any{one.id, one.token, got.done, got.status, got.message, pause.Microseconds()}
	if got.done || giveUp {
		due, args = "NULL", args[:5]
	}
	return s.outbox.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE webhook_deliveries SET due = "+due+", delivered = $3, status = $4, message = $5, token = '', lease_until = 0 WHERE id = $1 AND token = $2", args...)
		return err
	})
}

// post sends an event: "Webhook headers" and "Signature scheme" of the specification.
func (s *Sender) post(ctx context.Context, h Hook, one leased) outcome {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, strings.NewReader(one.body))
	if err != nil {
		return outcome{message: "its address is none", final: true}
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.agent)
	req.Header.Set("webhook-id", one.event)
	req.Header.Set("webhook-timestamp", at)
	req.Header.Set("webhook-signature", h.sign(one.event, at, one.body))
	resp, err := s.client.Do(req)
	if err != nil {
		return outcome{message: told(err)}
	}
	// The status is all that counts: a body that never ends is not waited for.
	if err := resp.Body.Close(); err != nil {
		s.log.WithError(err).Debug("closing a receiver's answer")
	}
	return judge(resp)
}

// sign is the signatures of an event by all secrets.
func (h Hook) sign(id, at, body string) string {
	all := make([]string, 0, len(h.secrets))
	for _, secret := range h.secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + at + "." + body))
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(all, " ")
}

// judge reads a status: "Delivery" of the specification.
func judge(resp *http.Response) outcome {
	got := outcome{status: resp.StatusCode}
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		got.done = true
		return got
	case resp.StatusCode == http.StatusGone:
		got.message, got.final = "the receiver wants no more: 410 Gone", true
		return got
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		got.message = "the receiver sends on to another address, which is not followed"
	default:
		got.message = "the receiver answers " + strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		got.after = min(time.Duration(seconds)*time.Second, mostPause)
	}
	return got
}

// told is what is kept of an error.
func told(err error) string {
	var beyond *registry.ReachError
	if errors.As(err, &beyond) {
		return fmt.Sprintf("%s is not a public address: `ampoule serve --reach NETWORK` allows it", beyond.Address)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		if wrapped.Timeout() {
			return fmt.Sprintf("the receiver has not answered within %s", answerTime)
		}
		err = wrapped.Err
	}
	text := address.Redact(err.Error())
	return strings.ToValidUTF8(text[:min(len(text), maxMessage)], "")
}

// clean removes deliveries that ended long ago, and gives up those whose receiver is configured no
// more.
func (s *Sender) clean(ctx context.Context) error {
	return s.outbox.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM webhook_deliveries WHERE due IS NULL AND created < {now} - $1", keepFor.Microseconds()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE webhook_deliveries SET due = NULL, message = $1 WHERE due IS NOT NULL AND until < {now} AND lease_until < {now}",
			"it was not sent within a day: no process has the webhook in its file")
		return err
	})
}
