package wheels

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Texts that name the build directory call it as compilers do; scripts and what is
// more than text are left for the gate to see.
func TestBuildDirectoryIsRenamed(t *testing.T) {
	t.Parallel()
	dir := driver(t)
	wheel := filepath.Join(dir, "out", "demo-1.0-py3-none-any.whl")
	write(t, wheel, zipped(t,
		member{"demo-1.0.dist-info/RECORD", "", 0o644},
		member{"demo-1.0.dist-info/sboms/demo.cyclonedx.json", `{"ref": "file://` + dir + `/src/demo"}`, 0o644},
		member{"demo/__config__.py", "é = '" + dir + "/env/bin/python'\n", 0o644},
		member{"demo/data.bin", "\x00" + dir, 0o644},
		member{"demo/latin.txt", "\xe9" + dir, 0o644},
		member{"demo/plain.py", "1\n", 0o644},
		member{"demo-1.0.data/scripts/demo", "#!" + dir + "/env/bin/python\n", 0o755},
	))
	told, err := call(t, dir, "finish_wheel(sys.argv[1])", wheel)
	if err != nil {
		t.Fatalf("%v\n%s", err, told)
	}
	data, err := os.ReadFile(wheel)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name] = strings.ReplaceAll(string(text), dir, "BUILD")
	}
	delete(got, "demo-1.0.dist-info/RECORD")
	want := map[string]string{
		"demo-1.0.dist-info/sboms/demo.cyclonedx.json": `{"ref": "file:///usr/src/ampoule/src/demo"}`,
		"demo/__config__.py":                           "é = '/usr/src/ampoule/env/bin/python'\n",
		"demo/data.bin":                                "\x00BUILD",
		"demo/latin.txt":                               "\xe9BUILD",
		"demo/plain.py":                                "1\n",
		"demo-1.0.data/scripts/demo":                   "#!BUILD/env/bin/python\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := strings.Count(told, "names the build directory"); n != 2 {
		t.Errorf("told %d times:\n%s", n, told)
	}
}
