package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"

	"ampoule/registry/internal/protocol"
)

// adminPath begins the paths of what only the store's own processes ask the holder for.
const adminPath = "/ampoule/v1/"

// order is a request to the holder; each verb reads its part.
type order struct {
	Repair bool   `json:"repair,omitempty"`
	Keep   Keep   `json:"keep,omitzero"`
	Target Target `json:"target,omitzero"`
}

// refusal is an order's error on its way to whoever gave it.
type refusal struct {
	Message string `json:"message"`
	Missing bool   `json:"missing,omitempty"`
	Damaged bool   `json:"damaged,omitempty"`
	Held    string `json:"held,omitempty"`
	Channel string `json:"channel,omitempty"`
	Full    bool   `json:"full,omitempty"`
}

// administer carries an order out. The answer is given when all is done.
func (g *guard) administer(w http.ResponseWriter, r *http.Request, verb string) {
	var o order
	if r.Method != http.MethodPost || json.NewDecoder(io.LimitReader(r.Body, maxManifest)).Decode(&o) != nil {
		protocol.Refuse(w, http.StatusBadRequest, "UNSUPPORTED", "an order is a POST of JSON")
		return
	}
	var result any = struct{}{}
	var err error
	switch verb {
	case "verify":
		result, err = g.verify(r.Context(), o.Repair)
	case "collect":
		result, err = g.collect(r.Context(), o.Keep)
	case "list":
		result, err = g.artifacts()
	case "remove":
		err = g.remove(o.Target)
	case "hold":
		err = g.hold(o.Target)
	case "unhold":
		err = g.unhold(o.Target)
	default:
		protocol.Refuse(w, http.StatusNotFound, "UNSUPPORTED", "no such order")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		result = toRefusal(err)
	}
	_ = json.NewEncoder(w).Encode(result)
}

func toRefusal(err error) refusal {
	out := refusal{Message: err.Error(), Missing: errors.Is(err, ErrNoArtifact), Damaged: errors.Is(err, ErrDamaged), Full: errors.Is(err, syscall.ENOSPC)}
	var held *HeldError
	if errors.As(err, &held) {
		out.Held = held.Ref
	}
	var channel *ChannelError
	if errors.As(err, &channel) {
		out.Held, out.Channel = channel.Ref, channel.Channel
	}
	return out
}

// err is the error that a refusal was made of, as far as others tell it by its value.
func (f refusal) err() error {
	switch {
	case f.Channel != "":
		return &ChannelError{f.Held, f.Channel}
	case f.Held != "":
		return &HeldError{f.Held}
	case f.Missing:
		return refused{f.Message, ErrNoArtifact}
	case f.Damaged:
		return refused{f.Message, ErrDamaged}
	case f.Full:
		return refused{f.Message, syscall.ENOSPC}
	}
	return errors.New(f.Message)
}

// refused is an error of another process with the value that it is told by.
type refused struct {
	message string
	is      error
}

func (r refused) Error() string { return r.message }

func (r refused) Unwrap() error { return r.is }

// errOlder says that whoever holds the lock knows no orders.
var errOlder = errors.New("it is of another version and knows no such order")

// order gives the holder an order, and reads its answer into result.
func (r *Registry) order(ctx context.Context, verb string, o order, result any) error {
	raw, err := json.Marshal(o)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+ownHost+adminPath+verb, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	resp, err := r.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		if err := json.NewDecoder(resp.Body).Decode(result); err != nil {
			return fmt.Errorf("reading the answer of the store's registry: %w", err)
		}
		return nil
	case http.StatusConflict:
		var f refusal
		if err := json.NewDecoder(resp.Body).Decode(&f); err != nil {
			return fmt.Errorf("reading the answer of the store's registry: %w", err)
		}
		return f.err()
	}
	return busy(r.dir, errOlder)
}

// Verify reads all content and compares it with its digest, and looks whether all that is
// referred to is there. With repair true what is damaged is restored or removed, lists are
// made anew, and tags that lie and files that belong to nothing are removed.
func (r *Registry) Verify(ctx context.Context, repair bool) (Report, error) {
	var report Report
	if err := r.order(ctx, "verify", order{Repair: repair}, &report); err != nil {
		return report, fmt.Errorf("verifying the store's registry: %w", err)
	}
	return report, nil
}

// Collect removes what nothing refers to, and artifacts that only their key names and that
// were not used for long. Publications and pulls that are under way go on.
func (r *Registry) Collect(ctx context.Context, keep Keep) (Collected, error) {
	var out Collected
	if err := r.order(ctx, "collect", order{Keep: keep}, &out); err != nil {
		return out, fmt.Errorf("collecting in the store's registry: %w", err)
	}
	return out, nil
}

// Artifacts lists what is published.
func (r *Registry) Artifacts(ctx context.Context) ([]Artifact, error) {
	var all []Artifact
	if err := r.order(ctx, "list", order{}, &all); err != nil {
		return nil, fmt.Errorf("listing the store's registry: %w", err)
	}
	return all, nil
}

// Remove takes an artifact, or one of its tags, out of the registry. What is not there is
// an [ErrNoArtifact], what is held a [*HeldError]. Content goes with a collection.
func (r *Registry) Remove(ctx context.Context, t Target) error {
	return r.target(ctx, "remove", "removing", t)
}

// Hold has an artifact stay, whatever its age, until it is let go.
func (r *Registry) Hold(ctx context.Context, t Target) error {
	return r.target(ctx, "hold", "holding", t)
}

// Unhold lets an artifact go.
func (r *Registry) Unhold(ctx context.Context, t Target) error {
	return r.target(ctx, "unhold", "letting go", t)
}

func (r *Registry) target(ctx context.Context, verb, doing string, t Target) error {
	var done struct{}
	if err := r.order(ctx, verb, order{Target: t}, &done); err != nil {
		return fmt.Errorf("%s %s: %w", doing, t, err)
	}
	return nil
}
