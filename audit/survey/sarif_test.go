package survey

import "testing"

// A fingerprint is the same in every report, and tells findings apart.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	f := poisonedFile("m.so", "")[0]
	first := fingerprint("d/x.whl", "m.so", f, map[string]int{})
	if first != "17bff56bfe7f897a863bf23e214f53d4:1" {
		t.Errorf("of a known finding it is %s", first)
	}
	seen := map[string]int{}
	other := f
	other.Value = "libpython3.12.so.1.0"
	for _, got := range []string{
		fingerprint("d/y.whl", "m.so", f, seen), fingerprint("d/x.whl", "n.so", f, seen), fingerprint("d/x.whl", "m.so", other, seen),
	} {
		if got == first {
			t.Errorf("another finding has the same: %s", got)
		}
	}
	if fingerprint("d/x.whl", "m.so", f, seen) != first || fingerprint("d/x.whl", "m.so", f, seen) == first {
		t.Error("the same finding is not counted")
	}
}
