package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	t.Parallel()
	kinds := Kinds()
	if len(kinds) != int(Undecided)+1 {
		t.Errorf("%d kinds", len(kinds))
	}
	for i, k := range kinds {
		if k.Means() == "" || k.Code() == 0 || k.String() == "" {
			t.Errorf("kind %d has code %d and means %q", k, k.Code(), k.Means())
		}
		if got, ok := Named(k.String()); !ok || got != k || k.Status() < 400 || k.Status() > 599 {
			t.Errorf("kind %s is found as %v, %v, with status %d", k, got, ok, k.Status())
		}
		if i > 0 && kinds[i-1].Code() >= k.Code() {
			t.Errorf("code %d stands behind %d", k.Code(), kinds[i-1].Code())
		}
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	if _, ok := Named("nothing"); ok {
		t.Error("there is a kind of that name")
	}
}

// own is an error that has a kind by its type.
type own struct{ kind Kind }

func (own) Error() string { return "own" }
func (e own) Kind() Kind  { return e.kind }

// foreign has a method of the same name that says something else.
type foreign struct{}

func (foreign) Error() string { return "foreign" }
func (foreign) Kind() string  { return "x" }

func TestOf(t *testing.T) {
	t.Parallel()
	build, input := New(Build, "", "x"), New(Input, "", "y")
	for name, test := range map[string]struct {
		err  error
		want Kind
	}{
		"nothing":               {nil, Unknown},
		"a plain error":         {errors.New("x"), Unknown},
		"a value":               {build, Build},
		"a type":                {own{Remote}, Remote},
		"a type of Unknown":     {own{Unknown}, Unknown},
		"a method of that name": {foreign{}, Unknown},
		"wrapped":               {fmt.Errorf("doing: %w", fmt.Errorf("it: %w", build)), Build},
		"a cause of a kind":     {New(Build, "", "doing: %w", input), Input},
		"a cause of a later":    {New(Input, "", "doing: %w", build), Input},
		"a cause of none":       {New(Build, "", "doing: %w", errors.New("x")), Build},
		"joined":                {errors.Join(errors.New("x"), build, input), Input},
		"joined the other way":  {errors.Join(input, build), Input},
		"joined and wrapped":    {fmt.Errorf("%w; %w", build, errors.Join(own{Undecided}, fmt.Errorf("x: %w", input))), Input},
		"with an interruption":  {errors.Join(input, own{Interrupted}), Interrupted},
		"a full disk":           {&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, Machine},
		"a full quota":          {syscall.EDQUOT, Machine},
		"a missing permission":  {&os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, Machine},
		"a full disk in a step": {New(Build, "", "step: %w", syscall.ENOSPC), Machine},
		"a missing file":        {fs.ErrNotExist, Unknown},
		"cancelled":             {context.Canceled, Unknown},
		"a step was cancelled":  {errors.Join(build, context.Canceled, context.DeadlineExceeded), Build},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Of(test.err); got != test.want {
				t.Errorf("Of(%v) is %q, want %q", test.err, got.Means(), test.want.Means())
			}
		})
	}
}

// What a server may answer otherwise later passes; what it refuses, and what is no server's fault, does
// not.
func TestPasses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":          {nil, false},
		"a server":         {fmt.Errorf("asking: %w", New(Remote, "", "it is away")), true},
		"a machine":        {syscall.ENOSPC, false},
		"busy":             {answered(429), true},
		"broken":           {fmt.Errorf("asking: %w", answered(502)), true},
		"refused":          {fmt.Errorf("asking: %w", answered(403)), false},
		"and refused here": {errors.Join(New(Remote, "", "it is away"), New(Refused, "", "no")), false},
	} {
		if got := Passes(c.err); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// answered is an error about the status of an answer.
type answered int

func (a answered) Error() string { return fmt.Sprintf("status %d", int(a)) }
func (answered) Kind() Kind      { return Remote }
func (a answered) Lasts() bool   { return StatusLasts(int(a)) }

func TestNew(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := New(Input, "look there", "reading %s: %w", "a.yaml", cause)
	if err.Error() != "reading a.yaml: cause" || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	same := New(Input, "look there", "reading %s: %w", "a.yaml", cause)
	if errors.Is(err, same) || !errors.Is(fmt.Errorf("x: %w", err), err) {
		t.Error("each error is one of its own")
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	inner := New(Input, "inner", "x")
	for name, test := range map[string]struct {
		err  error
		want []string
	}{
		"nothing":   {nil, nil},
		"none":      {New(Input, "", "x"), nil},
		"one":       {fmt.Errorf("doing: %w", inner), []string{"inner"}},
		"outermost": {New(Input, "outer", "x: %w", inner), []string{"outer", "inner"}},
		"each once": {errors.Join(inner, New(Build, "inner", "y"), New(Build, "last", "z")), []string{"inner", "last"}},
	} {
		if diff := cmp.Diff(test.want, Hints(test.err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Whoever looks for one error in a chain does not go through all of it.
func TestChainEnds(t *testing.T) {
	t.Parallel()
	seen := 0
	for range chain(errors.Join(fmt.Errorf("a: %w", New(Input, "", "b")), New(Input, "", "c"))) {
		if seen++; seen == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("%d", seen)
	}
}
