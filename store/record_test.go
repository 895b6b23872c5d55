package store

import (
	"os"
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
	if err := s.Record("wheel", "a/../b c\n", value{}); err != nil {
		t.Fatal(err)
	}
	if err := s.RecordDurably("wheel", "a/../b c\n", want); err != nil {
		t.Fatal(err)
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

func TestTornRecord(t *testing.T) {
	t.Parallel()
	for name, torn := range map[string]string{
		"empty":       "",
		"cut":         `{"kind":"wheel","key":"k","val`,
		"zeros":       "\x00\x00\x00",
		"other key":   `{"kind":"wheel","key":"other","value":1}`,
		"without it":  `{"kind":"wheel","key":"k"}`,
		"not a value": `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			if err := s.Record("wheel", "k", 1); err != nil {
				t.Fatal(err)
			}
			path, err := s.recordPath("wheel", "k")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(torn), 0o644); err != nil {
				t.Fatal(err)
			}
			var got int
			if ok, err := s.Lookup("wheel", "k", &got); ok || err != nil {
				t.Errorf("found %v, %v", ok, err)
			}
		})
	}
}
