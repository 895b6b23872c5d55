package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/recipes"
)

// sent is a problem as the other side reads it.
func sent(t *testing.T, err error) *Problem {
	t.Helper()
	raw, marshalErr := json.Marshal(Of(err))
	if marshalErr != nil {
		t.Fatal(marshalErr)
	}
	var p Problem
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// Whatever kind an error has, a client ends with the same code and the same hints as if it were
// its own, and the status is the table's.
func TestKindsCrossTheWire(t *testing.T) {
	t.Parallel()
	for _, kind := range faults.Kinds() {
		err := fmt.Errorf("doing it: %w", errors.Join(faults.New(kind, "first", "x"), faults.New(kind, "second", "y")))
		p := sent(t, err)
		back := p.Err(nil)
		if faults.Of(back) != kind || p.Status != kind.Status() || p.ExitCode != kind.Code() || p.Type != "urn:ampoule:fault:"+kind.String() {
			t.Errorf("%s became %+v and %v", kind, p, faults.Of(back))
		}
		want := []string{"first", "second"}
		if kind == faults.Unknown {
			want = nil
		}
		if diff := cmp.Diff(want, faults.Hints(back)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

func TestFaultsOfFilesCrossTheWire(t *testing.T) {
	t.Parallel()
	wrong := recipes.Faults{{File: "web/ampoule.yaml", Line: 3, Column: 7, What: "this is wrong", Hint: "write it right"}, {What: "and that"}}
	p := sent(t, fmt.Errorf("reading: %w", wrong))
	if p.Status != http.StatusUnprocessableEntity {
		t.Errorf("status %d", p.Status)
	}
	wrong[0].File = "here/web/ampoule.yaml"
	if diff := cmp.Diff(error(wrong), p.Err(func(file string) string { return "here/" + file })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A fault of the server itself tells its callers nothing of the server.
func TestInternalFaultTellsNothing(t *testing.T) {
	t.Parallel()
	err := errors.New("canary: password in /var/lib/x")
	p := Of(err)
	raw, _ := json.Marshal(p)
	if strings.Contains(string(raw), "canary") || !errors.Is(p.Cause(), err) || p.Status != http.StatusInternalServerError {
		t.Errorf("%s, cause %v", raw, p.Cause())
	}
}

// Addresses lose their credentials before they are told.
func TestRedacted(t *testing.T) {
	t.Parallel()
	p := Of(faults.New(faults.Remote, "ask https://me:canary@example.org/x", "fetching https://me:canary@example.org/x: 500"))
	raw, _ := json.Marshal(p)
	if strings.Contains(string(raw), "canary") {
		t.Errorf("%s", raw)
	}
}

func TestStatusOfItsOwn(t *testing.T) {
	t.Parallel()
	p := sent(t, fmt.Errorf("submitting: %w", Later(http.StatusTooManyRequests, 1500*time.Millisecond, faults.Refused, "wait", "too many builds")))
	if p.Status != http.StatusTooManyRequests || p.RetryAfter != 2 || Of(p).GetHeaders().Get("Retry-After") != "2" {
		t.Errorf("%+v", p)
	}
	var later interface{ RetryAfter() time.Duration }
	if err := p.Err(nil); !errors.As(err, &later) || later.RetryAfter() != 2*time.Second || faults.Of(err) != faults.Refused {
		t.Errorf("%v", err)
	}
}

// What a newer server says in words that this program does not know is a fault of the server.
func TestUnknownKind(t *testing.T) {
	t.Parallel()
	if got := faults.Of((&Problem{Kind: "new", Detail: "x"}).Err(nil)); got != faults.Remote {
		t.Errorf("%v", got)
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	err := OfRequest(http.StatusUnprocessableEntity, "the request is wrong", Field{"query.limit", "expected a number"}, Field{What: "and that"}).Err(nil)
	if got, want := err.Error(), "the request is wrong\nquery.limit: expected a number\nand that"; got != want || faults.Of(err) != faults.Usage {
		t.Errorf("%q", got)
	}
}
