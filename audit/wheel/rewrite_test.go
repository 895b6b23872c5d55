package wheel

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"ampoule/packaging"
)

// archive packs members, given as pairs of names and contents.
func packed(t *testing.T, members ...string) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		w, err := z.Create(members[i])
		if err == nil {
			_, err = io.WriteString(w, members[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

func TestWithFile(t *testing.T) {
	t.Parallel()
	const record = "a.py,,1\na-1.dist-info/METADATA,,2\na-1.dist-info/RECORD,,\n"
	from := packed(t, "a.py", strings.Repeat("x", 100), "a-1.dist-info/METADATA", "m", "a-1.dist-info/RECORD", record)
	var made, again bytes.Buffer
	for _, b := range []*bytes.Buffer{&made, &again} {
		if err := WithFile(b, from, from.Size(), "more.json", []byte("{}\n")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(made.Bytes(), again.Bytes()) {
		t.Error("the same wheel and file give two results")
	}
	z, err := Open(bytes.NewReader(made.Bytes()), int64(made.Len()), DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range z.File {
		data, err := readMember(f)
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name] = string(data)
	}
	// sha256 of "{}\n".
	const row = "a-1.dist-info/more.json,sha256=yj0WO6sFU4GCciYUBWjzvvfqrBh869doeOC2Pp5EI1Y,3\n"
	want := strings.Replace(record, "a-1.dist-info/RECORD", row+"a-1.dist-info/RECORD", 1)
	rows, err := packaging.ParseRecord([]byte(got["a-1.dist-info/RECORD"]))
	if err != nil || len(rows) != 4 || got["a-1.dist-info/more.json"] != "{}\n" || got["a.py"] != strings.Repeat("x", 100) {
		t.Errorf("%q, %v", got, err)
	}
	if got["a-1.dist-info/RECORD"] != want {
		t.Errorf("RECORD:\n%s\nwant:\n%s", got["a-1.dist-info/RECORD"], want)
	}
	for _, broken := range []*bytes.Reader{packed(t, "a.py", ""), packed(t, "a-1.dist-info/RECORD", "a.py,,\n"), bytes.NewReader([]byte("no zip"))} {
		if err := WithFile(io.Discard, broken, broken.Size(), "x", nil); !errors.Is(err, ErrArchive) {
			t.Errorf("a broken wheel: %v", err)
		}
	}
}
