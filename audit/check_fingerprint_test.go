package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"ampoule/tree"
)

// recordedTree is a sound tree that tells what it is made of; change may spoil the record.
func recordedTree(t *testing.T, change func(*ArtifactRecord), more ...tree.Entry) Subject {
	t.Helper()
	entries := prefix(in(t, "bin", interpreter(t)))
	entries = append(entries, installed("victim", in(t, site, extension(t, "victim")))...)
	f, err := Measure(newTree(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	record := ArtifactRecord{
		Name: "web", Python: PythonRecord{Version: "3.13.5", Key: "k", Fingerprint: f, FingerprintDigest: f.Digest()},
		Wheels: []WheelMade{{Name: "victim", Version: "1.0", File: "victim-1.0-cp313-cp313-linux_x86_64.whl", Key: "w"}},
	}
	built := record
	if change != nil {
		change(&record)
	}
	s := subjectWith(t, slices.Concat(entries, []tree.Entry{jsonEntry(t, ArtifactFile, record)}, more)...)
	s.Built = &built
	return s
}

func jsonEntry(t *testing.T, file string, v any) tree.Entry {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return tree.FileEntry(file, 0o644, data)
}

func TestFingerprintCheck(t *testing.T) {
	t.Parallel()
	const refused = "refuse fingerprint " + ArtifactFile + ": "
	other := func(r *ArtifactRecord) {
		r.Python.Fingerprint.Link = LinkShared
		r.Python.FingerprintDigest = r.Python.Fingerprint.Digest()
	}
	for name, c := range map[string]struct {
		change func(*ArtifactRecord)
		more   []tree.Entry
		want   []string
	}{
		"as built":               {nil, nil, nil},
		"another interpreter":    {other, nil, []string{refused + "build ", refused + "link static here, made with shared"}},
		"a changed digest":       {func(r *ArtifactRecord) { r.Python.FingerprintDigest = "sha256:0" }, nil, []string{refused + "build ", refused + "fingerprint sha256:0"}},
		"another key of a wheel": {func(r *ArtifactRecord) { r.Wheels = []WheelMade{{Name: "victim", Version: "1.0", Key: "x"}} }, nil, []string{refused + "build "}},
		"one more distribution": {
			nil, installed("late", tree.FileEntry(site+"late.py", 0o644, nil)),
			[]string{"refuse fingerprint " + site + "late-1.0.dist-info: wheel late 1.0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, judge(t, recordedTree(t, c.change, c.more...)), c.want...)
		})
	}
	t.Run("no JSON", func(t *testing.T) {
		t.Parallel()
		s := subject(t, tree.FileEntry(ArtifactFile, 0o644, []byte("{")))
		expect(t, judge(t, s), refused+"JSON *")
	})
}

// A wheel of a wheelhouse tells which interpreter it was made with.
func TestFingerprintOfWheels(t *testing.T) {
	t.Parallel()
	entries := prefix(in(t, "bin", interpreter(t)))
	own, err := Measure(newTree(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	shared := own
	shared.Link, shared.EnableShared = LinkShared, true
	embedded := own
	embedded.Libpython = &Libpython{Soname: soname313, SHA256: strings.Repeat("01", 32)}
	const file = "lib/python3.13/site-packages/victim-1.0.dist-info/" + WheelRecordFile
	wheelOf := func(f Fingerprint, payload tree.Entry) []tree.Entry {
		return installed("victim", payload, jsonEntry(t, file, WheelRecord{Python: PythonRecord{Fingerprint: f, FingerprintDigest: f.Digest()}}))
	}
	module, text := in(t, site, extension(t, "victim")), tree.FileEntry(site+"victim.py", 0o644, nil)
	for name, c := range map[string]struct {
		entries []tree.Entry
		want    string
	}{
		"its own interpreter":            {wheelOf(own, module), ""},
		"another one":                    {wheelOf(shared, module), "refuse fingerprint /" + file + ": enable_shared, link false here, made with true; static here, made with shared"},
		"one with a libpython":           {wheelOf(embedded, module), "refuse fingerprint /" + file + ": libpython none here, made with " + soname313 + " 010101010101"},
		"another one, no native code":    {wheelOf(shared, text), ""},
		"a record that cannot be read":   {installed("victim", module, tree.FileEntry(file, 0o644, []byte("["))), "refuse fingerprint /" + file + ": JSON"},
		"an interpreter without headers": {slices.Concat(wheelOf(own, module), []tree.Entry{tree.FileEntry("include/python3.13/patchlevel.h", 0o644, nil)}), "warn fingerprint /" + file + ": fingerprint"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := slices.Concat(entries, c.entries)
			for i, e := range all {
				if !strings.HasPrefix(e.Path, site) {
					all[i].Owner = OwnerInterpreter
				}
			}
			// Where one path comes twice, the later one counts.
			made, err := newTree(t, all[:len(entries)]...).With(all[len(entries):]...)
			if err != nil {
				t.Fatal(err)
			}
			result, err := NewInspector(rootfs(t, "mid")).Inspect(t.Context(), Place{Tree: made, Interpreter: "bin/python3.13", Site: strings.TrimSuffix(site, "/")})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, f := range result.Findings {
				if f.Check == "fingerprint" {
					got = string(f.Severity) + " fingerprint /" + f.File + ": " + f.Field + " " + f.Value
				}
			}
			if !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}
