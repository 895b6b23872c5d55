package webhooks

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"ampoule/faults"
	"ampoule/service/database"
)

// Event is something that happened.
type Event struct {
	Type Type
	// Name is the recipe's or repository's.
	Name string
	// Subject tells events of a type apart: the same subject is the same event, and is sent once.
	Subject string
	// Time is when it happened.
	Time time.Time
	// Data is what receivers get, as JSON.
	Data any
}

// id is the event's webhook-id.
func (e Event) id() string {
	sum := sha256.Sum256([]byte(string(e.Type) + "\x00" + e.Name + "\x00" + e.Subject))
	return "msg_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
}

// body is what is sent: "Payload structure" of the specification.
func (e Event) body() ([]byte, error) {
	return json.Marshal(struct {
		Type      Type      `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      any       `json:"data"`
	}{e.Type, e.Time.UTC(), e.Data})
}

// Outbox keeps what is to be sent.
type Outbox struct {
	db    *database.DB
	hooks []Hook
	wake  chan struct{}
}

// NewOutbox makes an outbox for receivers.
func NewOutbox(db *database.DB, hooks []Hook) *Outbox {
	return &Outbox{db: db, hooks: hooks, wake: make(chan struct{}, 1)}
}

// Hooks are the receivers.
func (o *Outbox) Hooks() []Hook { return o.hooks }

// givenUp is how long an event is tried.
const givenUp = 24 * time.Hour

// Add has receivers told of an event when the transaction is committed. One that was added before, by
// whichever process, changes nothing.
func (o *Outbox) Add(ctx context.Context, tx database.Tx, e Event) error {
	id := e.id()
	var body []byte
	for _, h := range o.hooks {
		if !h.Wants(e.Type, e.Name) {
			continue
		}
		if body == nil {
			var err error
			if body, err = e.body(); err != nil {
				return fmt.Errorf("writing the event %s: %w", e.Type, err)
			}
			tx.OnCommit(o.rouse)
		}
		_, err := tx.Exec(ctx, `INSERT INTO webhook_deliveries (id, webhook, event, kind, name, body, created, due, until)
			VALUES ($1, $2, $3, $4, $5, $6, {now}, {now}, {now} + $7) ON CONFLICT DO NOTHING`,
			deliveryID(h.Name, id), h.Name, id, e.Type, e.Name, string(body), givenUp.Microseconds())
		if err != nil {
			return fmt.Errorf("noting a delivery to webhook %s: %w", h.Name, err)
		}
	}
	return nil
}

// AddOne adds an event in a transaction of its own.
func (o *Outbox) AddOne(ctx context.Context, e Event) error {
	return o.db.Write(ctx, func(ctx context.Context, tx database.Tx) error { return o.Add(ctx, tx, e) })
}

// deliveryID names a delivery.
func deliveryID(hook, event string) string {
	sum := sha256.Sum256([]byte(hook + "\x00" + event))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:20])
}

// rouse has this process look at what is to be sent.
func (o *Outbox) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// State is how far a delivery is.
type State string

// The states.
const (
	Waiting   State = "waiting"
	Delivered State = "delivered"
	GivenUp   State = "given-up"
)

// Delivery is one event for one receiver.
type Delivery struct {
	ID, Webhook, Event string
	Type               Type
	Name               string
	State              State
	Attempts           int
	Created            time.Time
	// Due is when it is sent next; zero once that is over. Tried is when it was sent last.
	Due, Tried time.Time
	// Status is the answer's; 0 where there was none. Message says what went wrong.
	Status  int
	Message string
}

const columns = "id, webhook, event, kind, name, attempts, created, COALESCE(due, 0), COALESCE(tried, 0), delivered, status, message"

func scan(from database.Row) (Delivery, error) {
	var d Delivery
	var created, due, tried int64
	var delivered bool
	err := from.Scan(&d.ID, &d.Webhook, &d.Event, &d.Type, &d.Name, &d.Attempts, &created, &due, &tried, &delivered, &d.Status, &d.Message)
	d.Created = database.Time(created)
	if tried != 0 {
		d.Tried = database.Time(tried)
	}
	switch {
	case due != 0:
		d.State, d.Due = Waiting, database.Time(due)
	case delivered:
		d.State = Delivered
	default:
		d.State = GivenUp
	}
	return d, err
}

// Last are the last deliveries to a receiver, the newest first.
func (o *Outbox) Last(ctx context.Context, hook string, most int) ([]Delivery, error) {
	list := []Delivery{}
	err := o.db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		list = list[:0]
		return database.Each(ctx, q, "SELECT "+columns+" FROM webhook_deliveries WHERE webhook = $1 ORDER BY created DESC, id LIMIT $2", []any{hook, most},
			func(from database.Row) error {
				d, err := scan(from)
				list = append(list, d)
				return err
			})
	})
	return list, err
}

// Again sends a delivery again, whatever became of it. One that does not exist is an error of kind
// NotFound.
func (o *Outbox) Again(ctx context.Context, hook, id string) (d Delivery, err error) {
	err = o.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		n, err := tx.Exec(ctx, "UPDATE webhook_deliveries SET due = {now}, until = {now} + $3, delivered = $4 WHERE webhook = $1 AND id = $2",
			hook, id, givenUp.Microseconds(), false)
		if err != nil {
			return err
		}
		if n == 0 {
			return faults.New(faults.NotFound, "GET /v1/webhooks lists the last ones", "webhook %.80q has no delivery %.80q", hook, id)
		}
		tx.OnCommit(o.rouse)
		d, err = scan(tx.QueryRow(ctx, "SELECT "+columns+" FROM webhook_deliveries WHERE id = $1", id))
		return err
	})
	return d, err
}
