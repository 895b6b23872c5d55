package lint

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"ampoule/tree"
)

// records reads what was recorded.
func records(t *testing.T) []record {
	t.Helper()
	f, err := os.Open(recordFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []record
	for dec := json.NewDecoder(z); ; {
		var r record
		switch err := dec.Decode(&r); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, r)
	}
}

// wheelFiles are the recorded files as far as rules look at them.
func (r record) wheelFiles() []tree.Entry {
	var files []tree.Entry
	for _, f := range r.Files {
		e := entry(f.Path, []byte(f.Text))
		if f.Text == "" {
			e.SHA256, e.Size, e.Content = f.Sum, f.Size, tree.Bytes(nil) // what is in it was not kept
		}
		files = append(files, e)
	}
	return files
}

// lint lints what was recorded.
func (r record) lint(t *testing.T) *Report {
	t.Helper()
	x, err := open(Wheel{Name: r.Wheel, Files: r.wheelFiles()})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range r.Natives {
		x.add(n.Path, n.File)
	}
	for _, f := range r.Files {
		if p, ok := x.inLibrary(f.Path); ok {
			x.library[p] = f.Path
		}
	}
	x.resolve()
	report := &Report{Platform: x.platform(), Modules: x.modules()}
	report.Notes = slices.Concat(x.platformNotes(report.Platform), x.stableNotes(report.Modules), x.layoutNotes())
	return report
}

// otherTags are the wheels of which auditwheel says something else, with the reason why that
// is right here.
var otherTags = map[string]struct{ ours, why string }{
	"Pillow-8.4.0-cp39-cp39-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": {
		"manylinux_2_17_x86_64", "auditwheel counts the versions that are asked of the zlib in the wheel; the wheel brings them",
	},
	"regopy-1.4.0-cp312-cp312-musllinux_1_2_x86_64.whl": {"linux_x86_64", "no musl has __cxa_thread_atexit_impl: the library does not load"},
}

func TestPeersPlatform(t *testing.T) {
	t.Parallel()
	same := 0
	for _, r := range records(t) {
		if r.Auditwheel == "" {
			continue
		}
		p := r.lint(t).Platform
		ours := p.Satisfies[0]
		other, known := otherTags[r.Wheel]
		switch {
		case slices.Contains(p.Satisfies, r.Auditwheel) && !known:
			same++
		case known && other.ours == ours:
		// musl has no versions, and auditwheel takes the newest policy that it knows.
		case strings.HasPrefix(r.Auditwheel, "musllinux_1_2_") && slices.Contains(p.Satisfies, "musllinux_1_1_"+p.Machine):
		default:
			t.Errorf("%s: %v, auditwheel says %s; limits %+v", r.Wheel, p.Satisfies, r.Auditwheel, p.Limits[:min(3, len(p.Limits))])
		}
	}
	if same < 60 {
		t.Errorf("only %d wheels are judged as by auditwheel", same)
	}
}

func TestPeersStable(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, r := range records(t) {
		modules := map[string]Module{}
		if len(r.ABI3) > 0 {
			for _, m := range r.lint(t).Modules {
				modules[path.Base(m.File)] = m
			}
		}
		for name, peer := range r.ABI3 {
			m, ok := modules[name]
			if !ok {
				continue // a library that is named as a module, and asks nothing of Python
			}
			compared++
			// abi3audit never tells an older Python than the tag's.
			computed := python3(max(minorOf(m.Lowest), minorOf(m.Claims)))
			if m.Claims != peer.Baseline || (len(m.Beyond) == 0) != peer.Stable || peer.Stable && computed != peer.Computed {
				t.Errorf("%s: %s: %+v, abi3audit says %+v", r.Wheel, name, m, peer)
			}
		}
	}
	if compared < 15 {
		t.Errorf("only %d modules were compared", compared)
	}
}

// otherLayouts are the kinds of wheels of which check-wheel-contents says something else, by
// its codes, with the reason why that is right here.
var otherLayouts = []struct {
	why string
	// codes are what it alone says, ours what is said here alone.
	codes, ours string
	is          func(r record, x *exam) bool
}{
	{"libraries that auditwheel carries into a wheel are no modules, and belong at its top", "W004 W009 W010", "", func(_ record, x *exam) bool {
		for file := range x.library {
			dir, _, ok := strings.Cut(file, "/")
			if ok && bringsLibraries(dir) {
				return true
			}
		}
		return false
	}},
	{"libraries beside modules are no modules, whatever their names end with", "W004", "", func(r record, x *exam) bool {
		return slices.ContainsFunc(r.Natives, func(n recordedELF) bool { return !x.extensions[n.Path] })
	}},
	{"what is in .dist-info repeats what is elsewhere on purpose", "W002", "", func(_ record, x *exam) bool {
		return slices.ContainsFunc(x.files, func(e tree.Entry) bool {
			return path.Dir(e.Path) == x.info || strings.HasPrefix(e.Path, x.info+"/licenses/")
		})
	}},
	{"a stub belongs beside the module that it is of", "W003 W009", "", func(_ record, x *exam) bool {
		for file := range x.library {
			if path.Dir(file) == "." && path.Ext(file) == ".pyi" {
				return true
			}
		}
		return false
	}},
	{"files at the top that are no modules have a note of their own", "W009", "", func(_ record, x *exam) bool {
		for file := range x.library {
			if path.Dir(file) == "." && !moduleFile.MatchString(file) {
				return true
			}
		}
		return false
	}},
	{"a stub without its module is no module", "", "W003", func(_ record, x *exam) bool {
		for file := range x.library {
			if path.Dir(file) == "." && path.Ext(file) == ".pyi" {
				return true
			}
		}
		return false
	}},
	{"a module of a common name takes the place of others as a package does", "", "W005", func(_ record, x *exam) bool {
		for file := range x.library {
			if name, ok := x.module(file); ok && common[name] {
				return true
			}
		}
		return false
	}},
	{"a wheel may be there for what it requires alone; one that is empty has no library either", "W007 W008", "", func(_ record, x *exam) bool { return len(x.library) == 0 }},
}

func TestPeersLayout(t *testing.T) {
	t.Parallel()
	compared, same := 0, 0
	for _, r := range records(t) {
		if r.Partial {
			continue
		}
		compared++
		report := r.lint(t)
		x, err := open(Wheel{Name: r.Wheel, Files: r.wheelFiles()})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range r.Natives {
			x.add(n.Path, n.File)
		}
		agrees := true
		for _, rule := range Rules() {
			if !strings.HasPrefix(rule.Peer, "W0") {
				continue
			}
			peer, ours := slices.Contains(r.Contents, rule.Peer), slices.ContainsFunc(report.Notes, func(n Note) bool { return n.Rule == rule.Name })
			if peer == ours {
				continue
			}
			agrees = false
			known := false
			for _, other := range otherLayouts {
				codes := other.codes
				if ours {
					codes = other.ours
				}
				known = known || strings.Contains(codes, rule.Peer) && other.is(r, x)
			}
			if !known {
				t.Errorf("%s: %s is %t here and %t to check-wheel-contents", r.Wheel, rule.Peer, ours, peer)
			}
		}
		if agrees {
			same++
		}
	}
	t.Logf("%d wheels compared, %d with the same answers", compared, same)
	if compared < 100 {
		t.Errorf("only %d wheels were compared", compared)
	}
}
