package store

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ampoule/system"
)

// old makes of a new store one of version 1 with some records.
func old(t *testing.T, s *Store, records ...record1) {
	t.Helper()
	for _, r := range records {
		path := recordFile(t, s, recordsDir, r.Kind, r.Key)
		text, err := json.Marshal(r)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(s.Root(), keptDir)), os.RemoveAll(filepath.Join(s.Root(), usersDir)),
		os.WriteFile(filepath.Join(s.Root(), locksDir, usersLock1), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	write(t, s.Root(), "format", "ampoule store 1\n")
}

// A store of version 1 keeps what nobody makes again. Its other records cannot show that
// they are what was written.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"kept": 100, "layer": 100})
	const key = "sha256:0123456789012345678901234567890123456789012345678901234567890123"
	value := `{"key":"` + key + `","files":[{"sha256":"` + sums["kept"] + `"}]}`
	old(t, s, record1{"inputs", key, json.RawMessage(value)}, record1{"inputs", "broken", json.RawMessage(`1`)},
		record1{"toolchain-layer", "k", json.RawMessage(`"` + sums["layer"] + `"`)}, record1{"store-id", "", json.RawMessage(`"0123456789abcdef"`)})
	broken := recordFile(t, s, recordsDir, "inputs", "broken")
	if err := os.WriteFile(broken, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Open(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	var got json.RawMessage
	if found, err := s.Lookup("inputs", key, &got); !found || err != nil || string(got) != value {
		t.Errorf("what was kept: %t, %s, %v", found, got, err)
	}
	var damaged *RecordError
	if _, err := s.Lookup("inputs", "broken", &got); !errors.As(err, &damaged) {
		t.Errorf("what was kept and cannot be read gives %v", err)
	}
	if err := s.Forget("inputs", "broken"); err != nil {
		t.Fatal(err)
	}
	var sum string
	if found, err := s.Lookup("toolchain-layer", "k", &sum); found || err != nil {
		t.Errorf("a record without a checksum: %t, %v", found, err)
	}
	if id, err := s.ID(t.Context()); err != nil || id != "0123456789abcdef" {
		t.Errorf("the id is %q, %v", id, err)
	}
	if checked, err := s.Check(t.Context(), false); err != nil || len(checked.Damages) > 0 {
		t.Errorf("checked: %+v, %v", checked, err)
	}
	if _, err := s.Collect(t.Context(), Keep{}, true); err != nil || left(s, sums) != "kept" {
		t.Errorf("left %q, %v", left(s, sums), err)
	}
	if format, err := os.ReadFile(filepath.Join(s.Root(), "format")); err != nil || string(format) != "ampoule store 2\n" {
		t.Errorf("format %q, %v", format, err)
	}
}

// An upgrade that was killed is done again, and one beside an older program waits.
func TestUpgradeAgain(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	old(t, s, record1{"inputs", "k", json.RawMessage(`1`)})
	lock, err := os.Open(filepath.Join(s.Root(), locksDir, usersLock1))
	if err == nil {
		err = system.LockFile(lock, system.Shared)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.Root()); !refused(err, "store "+s.Root()+" is in use by an older ampoule", "begin again") {
		t.Errorf("beside an older program: %v", err)
	}
	lock.Close()
	for range 2 {
		// The version is written last.
		if err := s.upgrade(); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	var value int
	if found, err := again.Lookup("inputs", "k", &value); !found || err != nil {
		t.Errorf("what was kept: %t, %v", found, err)
	}
}
