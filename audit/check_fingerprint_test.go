package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"ampoule/artifact"
	"ampoule/tree"
)

// recordedTree is a sound tree that tells what it is made of; change may spoil the record.
func recordedTree(t *testing.T, change func(*ArtifactRecord), more ...tree.Entry) Subject {
	t.Helper()
	built := recordOf(t)
	record := built
	record.Wheels = slices.Clone(built.Wheels)
	if change != nil {
		change(&record)
	}
	entries := append(prefix(in(t, "bin", interpreter(t))), jsonEntry(t, artifact.RecordFile, record))
	if !slices.ContainsFunc(more, func(e tree.Entry) bool { return strings.HasPrefix(e.Path, site+"victim") }) {
		entries = append(entries, installed("victim", in(t, site, extension(t, "victim")))...)
	}
	s := subjectWith(t, append(entries, more...)...)
	s.Built = &built
	return s
}

// recordOf is what a tree with the static interpreter and a wheel tells.
func recordOf(t *testing.T) ArtifactRecord {
	t.Helper()
	f, err := Measure(newTree(t, prefix(in(t, "bin", interpreter(t)))...))
	if err != nil {
		t.Fatal(err)
	}
	return ArtifactRecord{
		Name: "web", Python: PythonRecord{
			Version: "3.13.5", Key: digest("interpreter"), Toolchain: []string{"sha256:" + digest("base"), "sha256:" + digest("gcc")},
			Fingerprint: f, FingerprintDigest: f.Digest(),
		},
		Wheels: []WheelMade{{
			Name: "victim", Version: "1.0", File: "victim-1.0-cp313-cp313-linux_x86_64.whl",
			SHA256: digest("wheel"), Sdist: digest("sdist"), Key: digest("key"),
		}},
	}
}

// digest stands for a hash that begins with a word.
func digest(word string) string { return word + strings.Repeat("0", 64-len(word)) }

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
	const refused = "refuse fingerprint " + artifact.RecordFile + ": "
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
		"another key of a wheel": {func(r *ArtifactRecord) { r.Wheels[0].Key = "x" }, nil, []string{refused + "build "}},
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
		s := subject(t, tree.FileEntry(artifact.RecordFile, 0o644, []byte("{")))
		expect(t, judge(t, s), refused+"JSON *")
	})
}

// A wheel of a wheelhouse tells what it was made of. Its tags and its interpreter's
// fingerprint may be right where that is not.
func TestPartsOfWheels(t *testing.T) {
	t.Parallel()
	const file = site + "victim-1.0.dist-info/" + artifact.WheelRecordFile
	refused := func(evidence string) []string { return []string{"refuse fingerprint " + file + ": " + evidence} }
	module, text := in(t, site, extension(t, "victim")), tree.FileEntry(site+"victim.py", 0o644, nil)
	// told changes what the wheel tells, made what the tree does; the tree was built so.
	type change struct {
		told func(*WheelRecord)
		made func(*ArtifactRecord)
	}
	for name, c := range map[string]struct {
		payload tree.Entry
		change
		want []string
	}{
		"a wheel of the tree's wheelhouse": {module, change{}, nil},
		"another toolchain": {
			module, change{told: func(w *WheelRecord) { w.Python.Toolchain[1] = "sha256:" + digest("clang") }},
			refused("python.toolchain base00000000 clang0000000 here, the tree's is base00000000 gcc000000000"),
		},
		"another build of the interpreter": {
			module, change{told: func(w *WheelRecord) { w.Python.Key = digest("else") }},
			refused("python.key else00000000 here, the tree's is interpreter0"),
		},
		"another release of the interpreter": {
			module, change{told: func(w *WheelRecord) { w.Python.Version = "3.13.4" }},
			refused("python.version 3.13.4 here, the tree's is 3.13.5"),
		},
		"another sdist": {
			module, change{told: func(w *WheelRecord) { w.Sdist, w.Key = digest("fork"), digest("other") }},
			refused("sdist, key fork00000000 here, the tree's is sdist0000000; other0000000 here, the tree's is key000000000"),
		},
		"other build requirements": {
			module, change{told: func(w *WheelRecord) { w.Key = digest("other") }},
			refused("key other0000000 here, the tree's is key000000000"),
		},
		"other bits of the same parts": {
			module, change{told: func(w *WheelRecord) { w.SHA256 = digest("bits") }},
			refused("sha256 bits00000000 here, the tree's is wheel0000000"),
		},
		"another sdist, no native code":     {text, change{told: func(w *WheelRecord) { w.Sdist = digest("fork") }}, refused("sdist fork00000000 here, the tree's is sdist0000000")},
		"another toolchain, no native code": {text, change{told: func(w *WheelRecord) { w.Python.Toolchain, w.Key, w.SHA256 = nil, "x", "x" }}, nil},
		"a record without a toolchain":      {module, change{told: func(w *WheelRecord) { w.Python.Toolchain = nil }}, nil},
		"a tree that took the wheel as it was": {
			module, change{
				told: func(w *WheelRecord) { w.Sdist, w.Key, w.SHA256 = digest("fork"), digest("other"), digest("bits") },
				made: func(r *ArtifactRecord) { r.Wheels[0].Sdist, r.Wheels[0].Key = "", "" },
			}, nil,
		},
		"a name in another form": {module, change{made: func(r *ArtifactRecord) { r.Wheels[0].Name, r.Wheels[0].Version = "Victim", "1" }}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := recordOf(t)
			told := WheelRecord{WheelMade: record.Wheels[0], Python: record.Python}
			told.Python.Toolchain = slices.Clone(told.Python.Toolchain)
			if c.told != nil {
				c.told(&told)
			}
			s := recordedTree(t, c.made, installed("victim", c.payload, jsonEntry(t, file, told))...)
			if c.made != nil {
				s.Built = nil // what it was built of is another specimen
			}
			expect(t, judge(t, s), c.want...)
		})
	}
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
	const file = "lib/python3.13/site-packages/victim-1.0.dist-info/" + artifact.WheelRecordFile
	wheelOf := func(f Fingerprint, payload tree.Entry) []tree.Entry {
		return installed("victim", payload, jsonEntry(t, file, WheelRecord{Python: PythonRecord{Fingerprint: f, FingerprintDigest: f.Digest()}}))
	}
	module, text := in(t, site, extension(t, "victim")), tree.FileEntry(site+"victim.py", 0o644, nil)
	// beside has a wheel of an artifact's wheelhouse beside that artifact's interpreter.
	beside := func(change func(*WheelRecord)) []tree.Entry {
		record := recordOf(t)
		told := WheelRecord{WheelMade: record.Wheels[0], Python: record.Python}
		change(&told)
		return append(installed("victim", module, jsonEntry(t, file, told)), jsonEntry(t, artifact.RecordFile, record))
	}
	for name, c := range map[string]struct {
		entries []tree.Entry
		want    string
	}{
		"its own interpreter":            {wheelOf(own, module), ""},
		"another one":                    {wheelOf(shared, module), "refuse fingerprint /" + file + ": enable_shared, link false here, made with true; static here, made with shared"},
		"one with a libpython":           {wheelOf(embedded, module), "refuse fingerprint /" + file + ": libpython none here, made with " + soname313 + " 010101010101"},
		"another one, no native code":    {wheelOf(shared, text), ""},
		"its own artifact":               {beside(func(*WheelRecord) {}), ""},
		"another toolchain's":            {beside(func(w *WheelRecord) { w.Python.Toolchain = []string{"clang"} }), "refuse fingerprint /" + file + ": python.toolchain clang here, the tree's is base00000000 gcc000000000"},
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
			got := strings.Join(inspected(t, "fingerprint", rootfs(t, "mid"), Place{
				Tree: made, Interpreter: "bin/python3.13", Site: strings.TrimSuffix(site, "/"),
			}), "\n")
			if !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}
