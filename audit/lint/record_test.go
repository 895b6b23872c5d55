package lint

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ampoule/audit"
	"ampoule/audit/elf"
	"ampoule/audit/policy"
	"ampoule/packaging"
	"ampoule/tree"
)

// What other tools say of wheels is recorded, so that tests need neither: see
// testdata/peers.sh.
var (
	handmadeTo = flag.String("handmade", "", "write hand-made wheels into this directory")
	wheelsIn   = flag.String("wheels", "", "directories of wheels to record, with colons between")
	peersIn    = flag.String("peers", "", "the directory of what testdata/peers.sh wrote about them")
)

// recordFile has a record for each wheel.
var recordFile = filepath.Join("testdata", "peers.json.gz")

// record is what is kept of a wheel, enough to lint it again, and what other tools say of it.
type record struct {
	Wheel string `json:"wheel"`
	// Files are not kept of wheels with very many.
	Files []recordedFile `json:"files,omitempty"`
	// Natives are not kept either; symbols only those that a rule looks at.
	Natives []recordedELF `json:"natives,omitempty"`
	// Auditwheel is its overall tag, Symbols the one by symbol versions alone; both are empty
	// where it ended with an error.
	Auditwheel string `json:"auditwheel,omitempty"`
	Symbols    string `json:"symbols,omitempty"`
	// Partial says that not all files are kept, or that check-wheel-contents cannot read it.
	Partial bool `json:"partial,omitempty"`
	// Contents are the codes of check-wheel-contents.
	Contents []string `json:"contents,omitempty"`
	// ABI3 is what abi3audit says of each module, by its base name.
	ABI3 map[string]recordedABI3 `json:"abi3,omitempty"`
}

type recordedFile struct {
	Path string `json:"p"`
	// Sum tells equal files; Text is the content of what is read, a space of what may repeat.
	Sum  string `json:"s"`
	Text string `json:"t,omitempty"`
	Size int64  `json:"n,omitempty"`
}

type recordedELF struct {
	Path string `json:"p"`
	*elf.File
}

type recordedABI3 struct {
	Stable   bool   `json:"is_abi3"`
	Baseline string `json:"baseline"`
	Computed string `json:"computed"`
}

// Of larger wheels not everything is recorded.
const (
	maxRecordedFiles   = 250
	maxRecordedNatives = 40
)

func TestRecord(t *testing.T) {
	if *handmadeTo != "" {
		for i, l := range layouts {
			name := fmt.Sprintf("handmade%02d-1.0-py3-none-any.whl", i)
			if err := os.WriteFile(filepath.Join(*handmadeTo, name), zipped(t, name, l.files), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if *wheelsIn == "" {
		return
	}
	var records []record
	for _, dir := range filepath.SplitList(*wheelsIn) {
		files, err := filepath.Glob(filepath.Join(dir, "*.whl"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			records = append(records, recorded(t, file))
		}
	}
	slices.SortFunc(records, func(a, b record) int { return strings.Compare(a.Wheel, b.Wheel) })
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(z)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recordFile, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// zipped is a hand-made wheel of a name, as a file.
func zipped(t *testing.T, name string, files map[string]string) []byte {
	t.Helper()
	dist := strings.Join(strings.Split(name, "-")[:2], "-")
	rename := func(p string) string {
		return strings.Replace(strings.Replace(p, info, dist+".dist-info/", 1), "spam-1.0.data/", dist+".data/", 1)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	var rows strings.Builder
	for _, e := range wheelOf("py3-none-any", files).Files {
		data, err := e.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if p := rename(e.Path); path.Base(p) != "RECORD" {
			w, err := z.Create(p)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(string(data), "Name: spam", "Name: "+strings.Split(name, "-")[0], 1)
			text = strings.Replace(text, "Root-Is-Purelib: false", "Root-Is-Purelib: true", 1)
			if _, err := w.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte(text))
			fmt.Fprintf(&rows, "%s,sha256=%s,%d\n", p, base64.RawURLEncoding.EncodeToString(sum[:]), len(text))
		}
	}
	w, err := z.Create(dist + ".dist-info/RECORD")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(w, "%s%s.dist-info/RECORD,,\n", rows.String(), dist)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// recorded is the record of a wheel file.
func recorded(t *testing.T, file string) record {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	w, err := audit.OpenWheel(f, stat.Size(), filepath.Base(file))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r := record{Wheel: filepath.Base(file)}
	members, unsound := w.Members(), false
	for _, e := range members {
		if len(members) <= maxRecordedFiles {
			r.Files = append(r.Files, recordedOf(t, e))
		} else if of := recordedOf(t, e); of.Text != "" && of.Text != " " {
			r.Files = append(r.Files, of)
		}
		f, err := readELF(e)
		unsound = unsound || errors.Is(err, elf.ErrFormat)
		if err == nil && f != nil {
			r.Natives = append(r.Natives, recordedELF{e.Path, distilled(f, strings.Contains(r.Wheel, "abi3"))})
		}
	}
	r.Partial = len(members) > maxRecordedFiles
	if len(r.Natives) > maxRecordedNatives || unsound {
		r.Natives = nil
	}
	r.ask(t)
	return r
}

// recordedOf is what is kept of a member.
func recordedOf(t *testing.T, e tree.Entry) recordedFile {
	t.Helper()
	r := recordedFile{Path: e.Path, Sum: e.SHA256[:10], Size: e.Size}
	base := path.Base(e.Path)
	isText := strings.HasSuffix(path.Dir(e.Path), ".dist-info") && (base == "WHEEL" || base == "METADATA" || base == "top_level.txt")
	if !isText && e.Size >= 64 {
		return r
	}
	data, err := e.ReadAll()
	switch {
	case err != nil:
		t.Fatal(err)
	case base == "METADATA" && isText:
		r.Text = "Name: spam\n"
		if bytes.Contains(data, []byte("\nRequires-Dist:")) {
			r.Text += "Requires-Dist: eggs\n"
		}
	case isText:
		r.Text = string(data)
	case mayRepeat.Match(data):
		r.Text = " "
	}
	return r
}

// distilled keeps of an ELF file what rules look at.
func distilled(f *elf.File, stable bool) *elf.File {
	kept := *f
	kept.Segments, kept.Notes, kept.Defines, kept.Symbols = nil, nil, nil, nil
	if audit.X8664Level(f) > 1 {
		kept.Notes = f.Notes
	}
	forbidden := func(name string) bool {
		for _, libc := range []packaging.Libc{packaging.Glibc, packaging.Musl} {
			for soname := range policy.Of(libc).Symbols() {
				if policy.Of(libc).Symbol(soname, name) > 0 {
					return true
				}
			}
		}
		return false
	}
	for _, s := range f.Symbols {
		matters := stable && audit.IsPythonAPI(s.Name) || forbidden(s.Name) || slices.Contains(fpectl, s.Name) ||
			strings.HasPrefix(s.Name, "PyUnicodeUCS2_") || lackedByMusl(s.Name) || addedToMusl[s.Name] > 0
		starts := s.Exported() && (strings.HasPrefix(s.Name, "PyInit_") || strings.HasPrefix(s.Name, "init"))
		if !s.Defined && matters || starts {
			kept.Symbols = append(kept.Symbols, s)
		}
	}
	return &kept
}

var contentsCode = regexp.MustCompile(`\.whl: (W\d+):`)

// ask reads what other tools say.
func (r *record) ask(t *testing.T) {
	t.Helper()
	told := func(of string) []byte {
		data, err := os.ReadFile(filepath.Join(*peersIn, r.Wheel+"."+of))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return data
	}
	r.Partial = r.Partial || bytes.Contains(told("contents"), []byte("invalid wheel"))
	if !r.Partial {
		for _, m := range contentsCode.FindAllSubmatch(told("contents"), -1) {
			if code := string(m[1]); !slices.Contains(r.Contents, code) {
				r.Contents = append(r.Contents, code)
			}
		}
	}
	var shown struct {
		Tag     string `json:"overall_tag"`
		Symbols string `json:"sym_tag"`
	}
	if data := told("auditwheel"); len(r.Natives) > 0 && json.Unmarshal(data, &shown) == nil {
		r.Auditwheel, r.Symbols = shown.Tag, shown.Symbols
	}
	var audited struct {
		Specs map[string]struct {
			Wheel []struct {
				Name   string
				Result recordedABI3
			}
		}
	}
	if json.Unmarshal(told("abi3audit"), &audited) != nil {
		return
	}
	r.ABI3 = map[string]recordedABI3{}
	for _, spec := range audited.Specs {
		for _, o := range spec.Wheel {
			r.ABI3[o.Name] = o.Result
		}
	}
}
