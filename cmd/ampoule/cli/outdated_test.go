package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/fetch"
)

// indexOf has the same files of each project.
type indexOf func(name string) []fetch.IndexFile

func (f indexOf) Project(_ context.Context, source, name string) ([]fetch.IndexFile, error) {
	if files := f(name); files != nil {
		return files, nil
	}
	return nil, &fetch.NoProjectError{Source: source, Name: name}
}

func TestOutdated(t *testing.T) {
	t.Parallel()
	s, out, st := whySession(t)
	newer := indexOf(func(name string) []fetch.IndexFile {
		return []fetch.IndexFile{{File: name + "-9.0.tar.gz", SHA256: sumA}}
	})
	if err := Outdated(t.Context(), s, st, newer); err != nil {
		t.Fatal(err)
	}
	want := "NAME  LOCKED  ALLOWED  NEWEST  HELD BY\n" +
		"idna  3.10    3.10     9.0     " + s.Recipe + ":7:16: idna==3.10\n" +
		"six   1.17.0  9.0      9.0\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	out.Reset()
	s.Output = JSON
	if err := Outdated(t.Context(), s, st, newer); err != nil {
		t.Fatal(err)
	}
	var res outdatedResult
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		t.Fatal(err)
	}
	if len(res.Pins) != 2 || res.Pins[1].Direct || !res.Pins[0].Direct || !cmp.Equal(res.Unknown, []string{"six==1.17.0"}) {
		t.Errorf("result %s", out)
	}
}

func TestNothingIsOutdated(t *testing.T) {
	t.Parallel()
	s, out, st := whySession(t)
	errs, _ := s.Err.(*bytes.Buffer)
	gone := indexOf(func(name string) []fetch.IndexFile {
		if name == "six" {
			return nil
		}
		return []fetch.IndexFile{}
	})
	if err := Outdated(t.Context(), s, st, gone); err != nil {
		t.Fatal(err)
	}
	want := "not known is what these require, and so what they hold (fetch or build, and ask again): six==1.17.0\n" +
		"no index has six, which is locked\nnothing is outdated\n"
	if diff := cmp.Diff(want, errs.String()); diff != "" || out.Len() > 0 {
		t.Errorf("result %q, told (-want +got):\n%s", out, diff)
	}
}
