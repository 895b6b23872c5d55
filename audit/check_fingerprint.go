package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/packaging"
	"ampoule/tree"
)

func init() {
	register(check{
		name:   "fingerprint",
		reason: "interpreter and wheels are those that were made for each other",
		needs:  anInterpreter,
		run:    checkFingerprint,
	})
}

// ArtifactRecord is what an [artifact.RecordFile] holds.
type ArtifactRecord struct {
	Name   string       `json:"name"`
	Python PythonRecord `json:"python"`
	Wheels []WheelMade  `json:"wheels"`
	// LeftOut are files of the wheels that the tree does not have.
	LeftOut []LeftOut `json:"leftOut,omitempty"`
}

// LeftOut are files of wheels that a tree does not have: those that the recipe excludes, or
// those of a directory that several wheels bring different files of.
type LeftOut struct {
	// Place is a pattern of the recipe's, or a file or directory of site-packages.
	Place string `json:"place"`
	// Dists are the distributions whose files were left out, sorted.
	Dists []string `json:"dists"`
	// Clashes are the paths below site-packages that the wheels had different files for,
	// sorted; none where the recipe excludes the files.
	Clashes []string `json:"clashes,omitempty"`
	// Kept are the distributions that kept theirs: an artifact's, under a dependency group's.
	Kept []string `json:"kept,omitempty"`
}

// PythonRecord is an interpreter as an [ArtifactRecord] tells it.
type PythonRecord struct {
	Fingerprint       Fingerprint `json:"fingerprint"`
	FingerprintDigest string      `json:"fingerprintDigest"`
	// Key is the hash of everything that went into it, Toolchain the layers that it was
	// compiled in, as digests.
	Key       string   `json:"key"`
	Toolchain []string `json:"toolchain"`
	Version   string   `json:"version"`
}

// WheelMade is a wheel as an [ArtifactRecord] tells it.
type WheelMade struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	File    string `json:"file"`
	SHA256  string `json:"sha256"`
	// Sdist is the sha256 of what it was built from, Key the hash of everything that went
	// into it: interpreter, toolchain, sdist, build requirements, settings. Both are empty
	// for a wheel that was taken as it is.
	Sdist string `json:"sdist,omitempty"`
	Key   string `json:"key,omitempty"`
}

// WheelRecord is what an [artifact.WheelRecordFile] holds.
type WheelRecord struct {
	WheelMade
	Python PythonRecord `json:"python"`
}

// checkFingerprint measures the interpreter and compares it with what the tree and its
// wheels say that they were made with, and the wheels with what the tree says of them.
func checkFingerprint(_ context.Context, x *exam) (outcome, error) {
	c := comparison{exam: x, measured: x.facts.measured}
	record, file, err := x.artifactRecord()
	switch {
	case err != nil:
		record = nil
		c.add(Finding{
			Severity: Refuse, File: file, Field: "JSON", Value: printable(err.Error()), absolute: true,
			Cause: "What the tree is made of cannot be read.", Remedy: "Install the artifact again.",
		})
	case record != nil:
		c.interpreter(file, record.Python)
		x.compareWheels(&c.outcome, file, record)
	}
	for _, d := range x.dists() {
		c.wheel(d, record)
	}
	return c.outcome, nil
}

// comparison is the check's work on one subject.
type comparison struct {
	outcome
	*exam
	// measured is the fingerprint of the interpreter that is there.
	measured func() (Fingerprint, error)
}

// interpreter compares the interpreter that is there with the one that a file tells of, and
// reports whether they are the same.
func (c *comparison) interpreter(file string, p PythonRecord) bool {
	measured, fault := c.measured()
	c.examined++
	f := Finding{
		Severity: Refuse, File: file, Field: "fingerprint", Value: printable(p.FingerprintDigest), absolute: true,
		Remedy: "Install the artifact again as a whole: interpreter and wheels belong together.",
	}
	switch {
	case p.FingerprintDigest != p.Fingerprint.Digest():
		f.Cause = "The file contradicts itself: it was changed after it was written."
	case fault != nil:
		f.Severity = c.travels()
		f.Value = printable(fault.Error())
		f.Cause = "The interpreter cannot be measured, so that nobody knows whether it is the one that this was made for."
	case p.FingerprintDigest != measured.Digest():
		f.Field, f.Value = differences(p.Fingerprint, measured)
		f.Cause = "The interpreter here is not the one that this was made with: modules may fail to load, or worse, load."
	default:
		return true
	}
	c.add(f)
	return false
}

// wheel compares what an installed wheel tells of itself with the interpreter and with the
// tree's record, which may be nil.
func (c *comparison) wheel(d dist, record *ArtifactRecord) {
	file := d.info + "/" + artifact.WheelRecordFile
	e, ok := c.Tree.Lookup(file)
	if !ok || e.Kind != tree.File {
		return
	}
	var told WheelRecord
	data, err := readText(e)
	if err == nil {
		err = json.Unmarshal(data, &told)
	}
	if err != nil {
		c.add(Finding{
			Severity: Refuse, File: file, Field: "JSON", Value: printable(err.Error()),
			Cause: "What the wheel was built with cannot be read.", Remedy: "Take the wheel from its wheelhouse again.",
		})
		return
	}
	native := c.hasModule(d)
	if native && !c.interpreter(file, told.Python) || record == nil {
		return // of another interpreter, all else differs too
	}
	c.examined++
	if names, values := told.otherParts(record, native); names != "" {
		c.add(Finding{
			Severity: Refuse, File: file, Field: names, Value: values,
			Cause:  "The wheel was made of other parts than the tree's: its tags and its interpreter's fingerprint do not show that.",
			Remedy: "Take the wheel from the wheelhouse of this artifact, or install the artifact as a whole.",
		})
	}
}

// otherParts names what a wheel was made of and the tree tells otherwise, with both values.
// What either does not tell is not compared. A wheel without native code runs everywhere,
// whatever built it: of such a one, only the source counts.
func (w WheelRecord) otherParts(record *ArtifactRecord, native bool) (names, values string) {
	var list []part
	if native {
		list = append(list,
			part{"python.version", w.Python.Version, record.Python.Version},
			part{"python.key", w.Python.Key, record.Python.Key},
			part{"python.toolchain", strings.Join(w.Python.Toolchain, " "), strings.Join(record.Python.Toolchain, " ")})
	}
	// What the tree took as it was has its own record in it, and so another hash than that tells.
	if made, ok := record.wheel(w.Name, w.Version); ok && made.Key != "" {
		list = append(list, part{"sdist", w.Sdist, made.Sdist})
		if native {
			list = append(list, part{"key", w.Key, made.Key}, part{"sha256", w.SHA256, made.SHA256})
		}
	}
	var fields, texts []string
	for _, p := range list {
		if p.wheel != p.tree && p.wheel != "" && p.tree != "" {
			fields = append(fields, p.name)
			texts = append(texts, shortened(p.wheel)+" here, the tree's is "+shortened(p.tree))
		}
	}
	return strings.Join(fields, ", "), printable(strings.Join(texts, "; "))
}

// part is something that a wheel was made of: its name in a [WheelRecord], and what the
// wheel and the tree say that it is.
type part struct{ name, wheel, tree string }

// wheel finds the wheel of a distribution in the version that is asked for.
func (r *ArtifactRecord) wheel(name, version string) (WheelMade, bool) {
	i := slices.IndexFunc(r.Wheels, func(w WheelMade) bool {
		return packaging.NormalName(w.Name) == packaging.NormalName(name) && packaging.SameVersion(w.Version, version)
	})
	if i < 0 {
		return WheelMade{}, false
	}
	return r.Wheels[i], true
}

// shortHash is how much of a hash is told: enough to look for it.
const shortHash = 12

// shortened cuts the hashes that words are.
func shortened(words string) string {
	list := strings.Fields(words)
	for i, word := range list {
		word = strings.TrimPrefix(word, "sha256:")
		list[i] = word[:min(shortHash, len(word))]
	}
	return strings.Join(list, " ")
}

// artifactRecord reads what the tree says it is made of; nil where it says nothing.
func (x *exam) artifactRecord() (*ArtifactRecord, string, error) {
	file := path.Join(path.Dir(path.Dir(x.home.lib)), artifact.RecordFile)
	e, ok := x.Tree.Lookup(file)
	if !ok {
		return nil, file, nil
	}
	var r ArtifactRecord
	data, err := readText(e)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	return &r, file, err
}

// hasModule reports whether a distribution has native code in it.
func (x *exam) hasModule(d dist) bool {
	for _, row := range d.rows {
		if p, ok := recorded(x.home.site, row.Path); ok && x.objects[p] != nil {
			return true
		}
	}
	return false
}

// compareWheels compares what is installed with what the tree says is, and that with what
// was built, where this is known.
func (x *exam) compareWheels(out *outcome, file string, record *ArtifactRecord) {
	if x.Built != nil {
		out.examined++
		if !reflect.DeepEqual(record, x.Built) {
			out.add(Finding{
				Severity: Refuse, File: file, Field: "build", absolute: true,
				Cause:  "The tree says that it was made of other parts than it was.",
				Remedy: "This is a fault of whatever made the tree: build again.",
			})
		}
	}
	if x.alone || x.home.site != path.Join(path.Dir(path.Dir(x.home.lib)), "lib", path.Base(x.home.lib), "site-packages") {
		return // an environment beside the tree has distributions of its own
	}
	made := map[string]string{}
	for _, w := range record.Wheels {
		made[packaging.NormalName(w.Name)] = w.Version
	}
	for _, d := range x.dists() {
		e, _ := x.Tree.Lookup(d.record)
		if e.Owner == OwnerInterpreter || x.found && d.name == "pip" {
			continue // an interpreter brings its own pip
		}
		out.examined++
		_, version, _ := packaging.ParseInfoDir(path.Base(d.info))
		f := Finding{
			Severity: x.travels(), File: d.info, Field: "wheel", Value: printable(d.name + " " + version),
			Remedy: words(x.found, "Add it to the recipe and build; an installed artifact is not to be changed.", "Install the artifact again: what is put into it later belongs to no digest."),
		}
		switch recorded, ok := made[d.name]; {
		case !ok:
			f.Cause = "The distribution was installed after the tree was sealed."
		case strings.ReplaceAll(recorded, "-", "_") != version && !packaging.SameVersion(version, recorded):
			f.Cause = "The tree was sealed with version " + printable(recorded) + " of the distribution."
		default:
			continue
		}
		out.add(f)
	}
}

// differences names the fields in which two fingerprints differ, and how.
func differences(want, got Fingerprint) (fields, values string) {
	var names, texts []string
	a, b := reflect.ValueOf(want), reflect.ValueOf(got)
	for i := range a.NumField() {
		if reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			continue
		}
		name := a.Type().Field(i).Tag.Get("json")
		names = append(names, name)
		texts = append(texts, fmt.Sprintf("%s here, made with %s", told(b.Field(i)), told(a.Field(i))))
	}
	return strings.Join(names, ", "), printable(strings.Join(texts, "; "))
}

func told(v reflect.Value) string {
	if l, ok := v.Interface().(*Libpython); ok {
		if l == nil {
			return "none"
		}
		return l.Soname + " " + shortened(l.SHA256)
	}
	return fmt.Sprint(v.Interface())
}
