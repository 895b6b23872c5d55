package foreign

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/packaging"
)

// pin is what two answers are compared by.
type pin struct {
	Version string
	Hashes  []string
}

func pins(lock *Lock) map[string]pin {
	all := map[string]pin{}
	for _, p := range lock.Packages {
		all[p.Name] = pin{p.Version, p.Hashes}
	}
	return all
}

// exported reads what a tool itself exported of its lock: a query in the first line, and
// requirements with markers and hashes.
func exported(t *testing.T, text string) (file string, q Query, want map[string]pin) {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n")
	for field := range strings.FieldsSeq(strings.TrimPrefix(head, "# query:")) {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "python":
			q.Python = value
		case "extras":
			q.Extras = strings.Split(value, ",")
		case "groups":
			q.Groups = strings.Split(value, ",")
		case "package":
			q.Package = value
		case "file":
			file = value
		default:
			t.Fatalf("%q in a query", field)
		}
	}
	want = map[string]pin{}
	for line := range strings.Lines(strings.ReplaceAll(body, "\\\n", " ")) {
		words, isOption := strings.TrimSpace(line), strings.HasPrefix(line, "-")
		if words == "" || isOption {
			continue
		}
		spec, hashes, _ := strings.Cut(words, "--hash=")
		r, err := packaging.ParseRequirement(strings.TrimSpace(spec))
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		if !r.Applies(packaging.LinuxEnvironment(q.Python, "x86_64"), nil) {
			continue
		}
		all := strings.Fields(strings.ReplaceAll(hashes, "--hash=", " "))
		slices.Sort(all)
		want[r.Name] = pin{r.Specifiers[0].Version, slices.Compact(append(want[r.Name].Hashes, all...))}
	}
	return file, q, want
}

// What is read of locks that the tools wrote is what the tools export of them.
func TestReadAsToolsDo(t *testing.T) {
	t.Parallel()
	wants, err := filepath.Glob("testdata/*/*.want")
	if err != nil || len(wants) < 20 {
		t.Fatal(wants, err)
	}
	for _, want := range wants {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			fsys := os.DirFS(filepath.Dir(want))
			file, q, expected := exported(t, string(text))
			if file == "" {
				found, err := Detect(fsys)
				if err != nil || len(found) != 1 {
					t.Fatal(found, err)
				}
				file = found[0].File
			}
			lock, err := Read(fsys, file, q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(expected, pins(lock)); diff != "" || len(expected) == 0 {
				t.Errorf("%d pins (-exported +read):\n%s", len(expected), diff)
			}
			for _, p := range lock.Packages {
				if p.Registry != "" || p.Line < 2 || p.File != file {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

// Newer Pipenv hashes names in their normal form, so that a spelling makes no lock stale.
func TestPipfileHashOfNormalNames(t *testing.T) {
	t.Parallel()
	files := sample(t, "pipenv")
	change{"Pipfile", "colorama =", "Colorama ="}.apply(t, files)
	change{"Pipfile", "gunicorn =", "GUnicorn ="}.apply(t, files)
	lock, err := Read(files, "Pipfile.lock", Query{Python: "3.12.1"})
	if err != nil || len(lock.Packages) == 0 {
		t.Errorf("%+v, %v", lock, err)
	}
}
