package packaging

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	emptyHash = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
	emptyHex  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func TestParseRecord(t *testing.T) {
	t.Parallel()
	text := "a.py," + emptyHash + ",0\r\n\"with, comma.py\"," + emptyHash + ",\nx.dist-info/RECORD,,\n"
	got, err := ParseRecord([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []RecordRow{{"a.py", RecordHash{SHA256, emptyHex}, 0, 1}, {"with, comma.py", RecordHash{SHA256, emptyHex}, -1, 2}, {"x.dist-info/RECORD", RecordHash{}, -1, 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseRecordErrors(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"two fields":   "a.py," + emptyHash,
		"four fields":  "a.py," + emptyHash + ",0,x",
		"no path":      "," + emptyHash + ",0",
		"NUL":          "a\x00.py,,",
		"line break":   "\"a\nb\",,",
		"quote":        "a\".py,,",
		"hex":          "a.py,sha256=" + emptyHex + ",0",
		"no algorithm": "a.py,=" + strings.TrimPrefix(emptyHash, "sha256=") + ",0",
		"no sum":       "a.py,sha256=,0",
		"cut":          "a.py," + emptyHash[:len(emptyHash)-2] + ",0",
		"trailing bit": "a.py," + emptyHash[:len(emptyHash)-1] + "V,0",
		"negative":     "a.py," + emptyHash + ",-1",
		"no number":    "a.py," + emptyHash + ",x",
	} {
		if _, err := ParseRecord([]byte(text)); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("a.py," + emptyHash + ",0\n\"b,c\",,\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := ParseRecord(data)
		if err != nil && !errors.Is(err, ErrRecord) {
			t.Errorf("unclassified error: %v", err)
		}
		for _, r := range rows {
			if r.Path == "" || len(r.Hash.Sum) != 2*algorithms[r.Hash.Algorithm].size || r.Size < -1 {
				t.Errorf("row %+v", r)
			}
		}
	})
}

func TestWithoutRows(t *testing.T) {
	t.Parallel()
	record := "a.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n\"b,c.py\",,\nx/RECORD,,"
	got, err := WithoutRows([]byte(record), func(p string) bool { return p == "b,c.py" })
	if want := "a.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\nx/RECORD,,"; err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := WithoutRows([]byte(record), func(string) bool { return false }); err != nil || string(got) != record {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := WithoutRows([]byte("a\n"), func(string) bool { return false }); err == nil {
		t.Error("takes what is no RECORD")
	}
}
