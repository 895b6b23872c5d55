package install

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/tree"
)

// tampered is an installed release that a test changes.
type tampered struct {
	*scene
	release string
	record  record
}

func newTampered(t *testing.T) *tampered {
	t.Helper()
	s := newScene(t)
	done := mustInstall(t, s.source, s.root)
	x := &tampered{scene: s, release: done.Release}
	raw, err := os.ReadFile(done.Release + ".json")
	s.must(err)
	x.record, err = parseRecord(raw, filepath.Base(done.Release))
	s.must(err)
	return x
}

// write edits a file of the release.
func (x *tampered) write(name, content string) {
	x.must(os.WriteFile(filepath.Join(x.release, name), []byte(content), 0o600))
}

// save writes the record as it is now.
func (x *tampered) save() { x.file(x.release+".json", x.written()) }

// written is the record as its version writes it.
func (x *tampered) written() string {
	if x.record.Version < listedVersion {
		return string(encode(x.t, x.record))
	}
	raw, err := x.record.encode()
	x.must(err)
	return string(raw)
}

// thaw gives the files the modes that they have in the artifact, as earlier versions left them.
func (x *tampered) thaw() {
	for _, e := range x.source.whole.Entries() {
		if e.Kind == tree.File {
			x.chmod(filepath.Join(x.release, e.Path), e.Mode)
		}
	}
}

// adapt makes the record tell of the tree as it is on disk.
func (x *tampered) adapt() {
	found, err := tree.FromDir(x.release)
	x.must(err)
	x.record.Tree, x.record.Files = found.Hash(), string(found.Listing())
	x.save()
}

// forge makes an artifact of the tree as it is on disk, and gives the record its
// documents as far as that is told.
func (x *tampered) forge(config, manifest, index bool) *source {
	found, err := tree.FromDir(x.release)
	x.must(err)
	forged := newSource(x.t, "1", found)
	image := forged.description.Images[0]
	if config {
		x.record.Config = image.RawConfig
	}
	if manifest {
		x.record.Manifest = image.Manifest
	}
	if index {
		x.record.Index = forged.description.Raw
	}
	x.adapt()
	return forged
}

// tamperings are changes of a root that must be found, each by what finds it.
var tamperings = map[string]struct {
	change func(x *tampered)
	why    string
	files  []string
}{
	"a file is edited":   {func(x *tampered) { x.write("lib/flask.py", "evil") }, "its tree is", []string{"lib/flask.py"}},
	"a file is added":    {func(x *tampered) { x.write("lib/sitecustomize.py", "evil") }, "its tree is", []string{"lib/sitecustomize.py"}},
	"a file is removed":  {func(x *tampered) { x.must(os.Remove(filepath.Join(x.release, "lib/flask.py"))) }, "its tree is", []string{"lib/flask.py"}},
	"a mode is changed":  {func(x *tampered) { x.chmod(filepath.Join(x.release, "lib/flask.py"), 0o755) }, "its tree is", []string{"lib/flask.py"}},
	"a file is setuid":   {func(x *tampered) { x.chmod(filepath.Join(x.release, "bin/python3"), 0o755|os.ModeSetuid) }, "its tree is", []string{"bin/python3"}},
	"a directory's mode": {func(x *tampered) { x.chmod(filepath.Join(x.release, "lib"), 0o777) }, "its tree is", []string{"lib"}},
	"a link is changed": {func(x *tampered) {
		x.must(os.Remove(filepath.Join(x.release, "bin/python")))
		x.link("/bin/sh", filepath.Join(x.release, "bin/python"))
	}, "its tree is", []string{"bin/python"}},
	"a file is a link": {func(x *tampered) {
		x.must(os.Remove(filepath.Join(x.release, "lib/flask.py")))
		x.link("jinja2.py", filepath.Join(x.release, "lib/flask.py"))
	}, "its tree is", []string{"lib/flask.py"}},
	"the tree is a link": {func(x *tampered) {
		x.must(os.Rename(x.release, x.in("moved")))
		x.link("../moved", x.release)
	}, "is a symbolic link", nil},
	"a directory is a link": {func(x *tampered) {
		x.must(os.Rename(filepath.Join(x.release, "lib"), x.in("lib")))
		x.link("../../../lib", filepath.Join(x.release, "lib"))
	}, "its tree is", []string{"lib", "lib/click.py", "lib/flask.py", "lib/jinja2.py", "lib/locked", "lib/locked/a.py"}},
	"a FIFO": {func(x *tampered) { x.fifo(filepath.Join(x.release, "lib/x")) }, "is not a file, directory or symbolic link", nil},
	"a huge file": {func(x *tampered) {
		x.write("lib/huge", "")
		x.must(os.Truncate(filepath.Join(x.release, "lib/huge"), maxBytes+1))
	}, "it has more than", nil},
	"the tree is gone": {func(x *tampered) { x.must(removeTree(x.release)) }, "no such file", nil},
	"the record tells of the changed tree": {func(x *tampered) {
		x.write("lib/flask.py", "evil")
		x.adapt()
	}, "its tree is", nil},
	"and the configuration does": {func(x *tampered) {
		x.write("lib/flask.py", "evil")
		x.forge(true, false, false)
	}, "its configuration is", nil},
	"and the manifest does": {func(x *tampered) {
		x.write("lib/flask.py", "evil")
		x.forge(true, true, false)
	}, "its manifest is", nil},
	"and the index does": {func(x *tampered) {
		x.write("lib/flask.py", "evil")
		x.forge(true, true, true)
	}, "its index is", nil},
	"the manifest instead of the index": {func(x *tampered) {
		x.record.Index = nil
		x.save()
	}, "its manifest is", nil},
	"no documents": {func(x *tampered) {
		x.record.chain = chain{}
		x.save()
	}, "its manifest is", nil},
	"the record of another release": {func(x *tampered) {
		mustInstall(x.t, newSource(x.t, "2", sample(x.t, "two")), x.root)
		x.must(os.Rename(x.release, x.in("moved")))
		x.link("releases/"+filepath.Base(x.release), x.in("new"))
		x.must(os.Rename(x.in("new"), x.in("current")))
		other, err := os.ReadFile(newSource(x.t, "2", sample(x.t, "two")).release(x.root) + ".json")
		x.must(err)
		x.file(x.release+".json", string(other))
	}, "it is about", nil},
	"the list of files is another": {func(x *tampered) {
		x.record.Files = `file 0644 "lib/flask.py" x` + "\n"
		x.save()
		x.write("lib/jinja2.py", "evil")
	}, "its tree is", nil},
	"no record":             {func(x *tampered) { x.must(os.Remove(x.release + ".json")) }, "nothing says what it must be", nil},
	"a record of rubbish":   {func(x *tampered) { x.file(x.release+".json", "rubbish") }, "is not a record", nil},
	"a record with more":    {func(x *tampered) { x.file(x.release+".json", strings.Replace(x.written(), "\n", "{}\n", 1)) }, "is not a record", nil},
	"a record of tomorrow":  {func(x *tampered) { x.file(x.release+".json", `{"version":5}`) }, "newer version", nil},
	"a record without list": {func(x *tampered) { x.file(x.release+".json", strings.Split(x.written(), "\n")[0]) }, "is not a record", nil},
	"a record without end":  {func(x *tampered) { x.must(os.Truncate(x.release+".json", maxRecord+1)) }, "is not a record", nil},
	"a record that is cut":  {func(x *tampered) { x.must(os.Truncate(x.release+".json", 100)) }, "is not a record", nil},
	"a record that is FIFO": {func(x *tampered) { x.must(os.Remove(x.release + ".json")); x.fifo(x.release + ".json") }, "is not a record", nil},
	"current leads out": {func(x *tampered) {
		x.must(os.Remove(x.in("current")))
		x.link(x.outside, x.in("current"))
	}, "it leads to", nil},
	"current is a directory": {func(x *tampered) {
		x.must(os.Remove(x.in("current")))
		x.dir(x.in("current"))
	}, "it is no symbolic link", nil},
	"current leads to nothing": {func(x *tampered) {
		x.must(os.Remove(x.in("current")))
		x.link("releases/sha256-"+strings.Repeat("a", 64), x.in("current"))
	}, "nothing says what it must be", nil},
}

func TestTamperingIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range tamperings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTampered(t)
			c.change(x)
			v, err := verify(t, x.root, "")
			var refused *VerificationError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.why) || refused.Hint() == "" {
				t.Fatalf("error is %v, want a VerificationError that says %q and what to do", err, c.why)
			}
			if diff := cmp.Diff(c.files, refused.Files); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			for i, check := range v.Checks {
				if last := i == len(v.Checks)-1; !check.Holds && !last || check.Holds != (check.Found == check.Want) {
					t.Errorf("checks %+v", v.Checks)
				}
			}
		})
	}
}

// A whole other artifact in the place of the first is proven to be what it says it
// is. That it is another one is found by whoever knows the digest.
func TestVerifyAgainstReference(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	x.write("lib/flask.py", "evil")
	forged := x.forge(true, true, true)
	mine := x.source.description
	x.record.Ref, x.record.Digest = forged.description.Ref, forged.description.Digest
	x.must(os.Rename(x.release, forged.release(x.root)))
	x.must(os.Remove(x.release + ".json"))
	x.release = forged.release(x.root)
	x.save()
	x.must(os.Remove(x.in("current")))
	x.link("releases/"+filepath.Base(x.release), x.in("current"))

	for _, ref := range []string{"", forged.description.Digest, forged.description.Ref, "registry.example:5000/team/" + forged.description.Ref} {
		v, err := verify(t, x.root, ref)
		if err != nil || v.Digest != forged.description.Digest {
			t.Errorf("REF %q: %+v (%v)", ref, v, err)
		}
		var what []string
		for _, c := range v.Checks {
			what = append(what, c.What)
		}
		want := []string{"index", "manifest", "configuration", "platform", "tree", "owner"}
		if ref != "" {
			want = append([]string{"digest"}, want...)
		}
		if diff := cmp.Diff(want, what); diff != "" {
			t.Errorf("REF %q: checks (-want +got):\n%s", ref, diff)
		}
	}
	for _, ref := range []string{mine.Digest, mine.Ref, "registry.example/" + mine.Ref} {
		var refused *VerificationError
		if v, err := verify(t, x.root, ref); !errors.As(err, &refused) || len(v.Checks) != 1 || v.Checks[0].Holds {
			t.Errorf("REF %q: %+v (%v)", ref, v, err)
		}
	}
	for _, ref := range []string{"web", "web:latest", "web@sha256:1", "@" + mine.Digest, "web@" + mine.Digest + "x", "../x@" + mine.Digest, "-:x/y@" + mine.Digest, "sha256:" + strings.Repeat("A", 64)} {
		if _, err := verify(t, x.root, ref); faults.Of(err) != faults.Usage {
			t.Errorf("REF %q: %v", ref, err)
		}
	}
}

// The image of another platform is not the one of this platform.
func TestVerifyAnotherPlatform(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	_, err := Verify(t.Context(), x.root, VerifyOptions{Platform: "linux/arm64"})
	if err == nil || !strings.Contains(err.Error(), "its manifest is") {
		t.Errorf("a platform that the index lists: %v", err)
	}
	_, err = Verify(t.Context(), x.root, VerifyOptions{Platform: "linux/s390x"})
	if err == nil || !strings.Contains(err.Error(), "lists nothing for linux/s390x") {
		t.Errorf("a platform that it does not list: %v", err)
	}
}

// An artifact that is one image, without an index.
func TestVerifyImage(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.source.description.Raw = s.source.description.Images[0].Manifest
	s.source.name()
	mustInstall(t, s.source, s.root)
	v, err := verify(t, s.root, s.source.description.Digest)
	if err != nil || v.Checks[1].What != "manifest" {
		t.Errorf("verified: %+v (%v)", v, err)
	}
}

// A release without the documents is told to be unproven, and installing it again
// proves it without unpacking it.
func TestReleaseOfEarlierVersion(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	x.thaw()
	old := unprovenRecord{Ref: x.record.Ref, Digest: x.record.Digest, Platform: platform, Tree: x.record.Tree, Entries: map[string]string{"bin": "dir drwxr-xr-x"}}
	x.file(x.release+".json", string(encode(t, old)))
	v, err := verify(t, x.root, x.record.Digest)
	var refused *VerificationError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "nothing is proven") || v.TreeHash != x.record.Tree {
		t.Errorf("verified: %+v (%v)", v, err)
	}
	if want := "ampoule install " + x.record.Ref + " --root " + x.root; !strings.HasPrefix(refused.Hint(), want) {
		t.Errorf("hint %q, want %q", refused.Hint(), want)
	}
	x.source.tars = nil
	if again := mustInstall(t, x.source, x.root); !again.Present {
		t.Errorf("installed again: %+v", again)
	}
	if _, err := verify(t, x.root, x.record.Digest); err != nil {
		t.Error(err)
	}
	x.file(x.release+".json", string(encode(t, old)))
	x.write("lib/flask.py", "evil")
	if _, err := verify(t, x.root, ""); err == nil || !strings.Contains(err.Error(), "its tree is") {
		t.Errorf("a damaged one: %v", err)
	}
}

func TestVerifyEnds(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ended, x.root, VerifyOptions{Platform: platform}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// What may not be read is no damage: nothing is known of it.
func TestVerifyWithoutRights(t *testing.T) {
	t.Parallel()
	root := os.Getenv("VERIFY_ROOT")
	if root != "" {
		_, err := verify(t, root, "")
		if faults.Of(err) != faults.Machine || !strings.HasPrefix(strings.Join(faults.Hints(err), ""), "run as a user who may read") {
			t.Errorf("error is %v, want one of this machine", err)
		}
		return
	}
	for _, name := range []string{"", "releases", "release", "record", "file"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTampered(t)
			x.chmod(map[string]string{
				"": x.root, "releases": x.in("releases"), "release": x.release, "record": x.release + ".json", "file": filepath.Join(x.release, "bin/python3"),
			}[name], 0)
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestVerifyWithoutRights$", "-test.count=1")
			cmd.Env = append(os.Environ(), "VERIFY_ROOT="+x.root)
			if os.Geteuid() == 0 {
				openUp(t, filepath.Dir(x.root))
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// openUp lets every user enter a directory of a test.
func openUp(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// A root that others may change is verified all the same, and that is told.
func TestVerifyTellsOfUnsafeRoots(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	x.chmod(x.root, 0o777)
	if v, err := verify(t, x.root, ""); err != nil || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "may be changed by others") {
		t.Errorf("verified: %q (%v)", v.Warnings, err)
	}
	x.chmod(x.root, 0o755)
	x.chmod(x.in("releases"), 0o700)
	if v, err := verify(t, x.root, ""); err != nil || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "other users cannot run") {
		t.Errorf("verified: %q (%v)", v.Warnings, err)
	}
	link := filepath.Join(x.outside, "link")
	x.link(x.root, link)
	var unsafe *UnsafeError
	if _, err := verify(t, link, ""); !errors.As(err, &unsafe) {
		t.Errorf("a root that is a link: %v", err)
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	whole, err := sample(t, "one").With(tree.FileEntry("a \"b\"\n\xff c", 0o644, nil), tree.Entry{Path: "l", Kind: tree.Symlink, Link: `x" "y`})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, e := range whole.Entries() {
		want = append(want, e.Path)
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(lines(string(whole.Listing()))))); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}
