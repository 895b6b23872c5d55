package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	type value struct {
		Sum  string
		When time.Time
	}
	want := value{textSum, time.Date(2024, 2, 29, 1, 2, 3, 0, time.UTC)}
	var got value
	if ok, err := s.Lookup("wheel", "a/../b c\n", &got); ok || err != nil {
		t.Fatalf("absent: %v, %v", ok, err)
	}
	for _, v := range []value{{}, want} {
		if err := s.Record("wheel", "a/../b c\n", v); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := s.Lookup("wheel", "a/../b c\n", &got); !ok || err != nil {
		t.Fatalf("present: %v, %v", ok, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if ok, err := s.Lookup("interpreter", "a/../b c\n", &got); ok || err != nil {
		t.Errorf("another kind: %v, %v", ok, err)
	}
	var number int
	if ok, err := s.Lookup("wheel", "a/../b c\n", &number); ok || err == nil {
		t.Errorf("another type: %v, %v", ok, err)
	}
	for range 2 {
		if err := s.Forget("wheel", "a/../b c\n"); err != nil {
			t.Error(err)
		}
	}
	if ok, err := s.Lookup("wheel", "a/../b c\n", &got); ok || err != nil {
		t.Errorf("forgotten: %v, %v", ok, err)
	}
	for _, kind := range []string{"", "../x", "A", "a/b", "a.b"} {
		if err := s.Record(kind, "k", 1); err == nil {
			t.Errorf("kind %q is taken", kind)
		}
	}
	if names := temporary(t, s); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

// recordFile is the path of a record.
func recordFile(t *testing.T, s *Store, area, kind, key string) string {
	t.Helper()
	path, err := s.recordPath(area, kind, key)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// damages are ways in which a record's file may be damaged.
func damages(whole []byte) map[string][]byte {
	torn := map[string][]byte{
		"empty": nil, "zeros": make([]byte, len(whole)), "cut": whole[:len(whole)-1], "first line": whole[:len(recordPrefix)+65],
		"longer": append(slices.Clone(whole), ' '), "old form": []byte(`{"kind":"wheel","key":"k","value":1}`), "nonsense": []byte("[]"),
	}
	for at := range whole {
		for bit := range 8 {
			flipped := slices.Clone(whole)
			flipped[at] ^= 1 << bit
			torn[fmt.Sprintf("bit %d of byte %d", bit, at)] = flipped
		}
	}
	return torn
}

// Whatever becomes of a record's file, its value is never another one: a record that can be
// made again is absent, one that cannot is an error that names the file.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	if err := errors.Join(s.Record("wheel", "k", "value"), s.RecordDurably("inputs", "k", "value")); err != nil {
		t.Fatal(err)
	}
	for area, kind := range map[string]string{recordsDir: "wheel", keptDir: "inputs"} {
		path := recordFile(t, s, area, kind, "k")
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range damages(whole) {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
			for how, err := range map[string]error{"looked up": lookUp(s, kind), "visited": visit(s, kind)} {
				var damaged *RecordError
				if area == recordsDir && err != nil || area == keptDir && (!errors.As(err, &damaged) || damaged.Path != path || damaged.Hint() == "") {
					t.Errorf("%s, %s, %s: %v", kind, name, how, err)
				}
			}
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := lookUp(s, kind); !errors.Is(err, errFound) {
			t.Errorf("mended: %v", err)
		}
	}
}

var errFound = errors.New("found")

func lookUp(s *Store, kind string) error {
	var value string
	found, err := s.Lookup(kind, "k", &value)
	if found {
		return errFound
	}
	return err
}

func visit(s *Store, kind string) error {
	return s.Records(kind, func(string, json.RawMessage) error { return errFound })
}

// A record under the name of another one answers for neither.
func TestMisplacedRecord(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]struct{ kind, key string }{"another kind": {"layer", "k"}, "another key": {"wheel", "other"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			if err := errors.Join(s.Record("wheel", "k", 1), s.Record(other.kind, other.key, 2)); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(recordFile(t, s, recordsDir, other.kind, other.key), recordFile(t, s, recordsDir, "wheel", "k")); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(lookUp(s, "wheel"), visit(s, "wheel")); err != nil {
				t.Errorf("it answers for another: %v", err)
			}
		})
	}
}

// FuzzRecord reads any bytes as a record.
func FuzzRecord(f *testing.F) {
	text, err := record{Kind: "wheel", Key: "k", Content: []string{textSum}, Value: []byte(`{"a":1}`)}.file()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(recordPrefix))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err != nil {
			return
		}
		again, err := r.file()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRecord(again); err != nil {
			t.Errorf("%q: %v", again, err)
		}
	})
}
