package builder

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/overlay"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
	"ampoule/tree"
)

// packDist packs a pure wheel of version 1.0, of files by their names in it.
func packDist(name string, files map[string]string) []byte {
	info := name + "-1.0.dist-info/"
	all := maps.Clone(files)
	all[info+"METADATA"] = "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n"
	all[info+"WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
	var entries []tree.Entry
	var record strings.Builder
	for _, file := range slices.Sorted(maps.Keys(all)) {
		e := tree.FileEntry(file, 0o644, []byte(all[file]))
		sum, _ := hex.DecodeString(e.SHA256)
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", file, base64.RawURLEncoding.EncodeToString(sum), e.Size)
		entries = append(entries, e)
	}
	record.WriteString(info + "RECORD,,\n")
	return pack(append(entries, tree.FileEntry(info+"RECORD", 0o644, []byte(record.String()))))
}

// groupText is what the recipe says of its group.
const groupText = "dependency-groups: {test: [extra==1.0], lint: []}\n"

// withGroup gives the recipe a group that lays the distribution extra over it, and the lock
// its section. More is written into the recipe.
func (w *world) withGroup(files map[string]string, more string) {
	w.t.Helper()
	var err error
	if w.recipe, err = recipes.ParseRecipe("ampoule.yaml", []byte(recipeText+groupText+more)); err != nil {
		w.t.Fatal(err)
	}
	if w.reqs, err = recipes.ReadRequirements(w.recipe); err != nil {
		w.t.Fatal(err)
	}
	lock := *w.lock
	lock.Groups = map[string]recipes.LockedGroup{"lint": {}, "test": {
		Answers: recipes.MakeGroupAnswers(w.reqs.Groups["test"]), Requirements: []string{"extra==1.0"},
		Dists: []recipes.Dist{{Name: "extra", Version: "1.0", File: "extra-1.0-py3-none-any.whl", SHA256: w.put(string(packDist("extra", files)))}},
	}}
	w.lock = &lock
}

// buildGroups builds the recipe with its group.
func (w *world) buildGroups() (Result, error) {
	req := w.request()
	req.Groups = []string{"test"}
	return w.builder().Build(w.t.Context(), req)
}

// told are the findings of a group's verdict.
func told(res Result) string {
	var text strings.Builder
	for _, g := range res.Groups {
		if g.Verdict != nil {
			fmt.Fprintf(&text, "%+v", g.Verdict.Findings)
		}
	}
	return text.String()
}

func TestBuildGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alone, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	tests := 0
	w.test = func(context.Context, sandbox.Step) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		tests++
		return nil
	}
	w.withGroup(map[string]string{"extra/__init__.py": "def main(): pass\n", "extra-1.0.dist-info/entry_points.txt": "[console_scripts]\nextra = extra:main\n"}, "")
	got, err := w.buildGroups()
	if err != nil {
		t.Fatal(err, told(got))
	}
	if !got.Reused || got.Digest != alone.Digest || got.Key != alone.Key || tests != 0 {
		t.Errorf("the artifact with a group beside it is %+v, without one %+v; %d tests ran with the group", got, alone, tests)
	}
	if len(got.Groups) != 1 || len(w.groups) != 1 || len(w.artifacts) != 1 {
		t.Fatalf("groups %+v, %d published beside %d artifacts", got.Groups, len(w.groups), len(w.artifacts))
	}
	made := got.Groups[0]
	if made.Name != "test" || made.Reused || made.Verdict == nil || !made.Verdict.Passed || made.Verdict.Group != "test" || made.Key != GroupKey(w.recipe, w.lock, "test", alone.Digest) {
		t.Errorf("the group is %+v", made)
	}
	if o, err := buildlog.ReadOutcome(made.Logs); err != nil || o.Recipe != "web" || o.Group != "test" || o.Digest != made.Digest {
		t.Errorf("among the group's logs: %+v, %v", o, err)
	}
	var text strings.Builder
	if err := made.Verdict.WriteText(&text); err != nil || !strings.Contains(text.String(), "\npassed with group test: "+made.Verdict.Tree) {
		t.Errorf("%v: the verdict says\n%s", err, text.String())
	}
	w.checkGroup(w.groups[0], alone.Digest)
	w.checkGroupEvidence(w.groups[0], alone.Digest)
	started := len(w.runner.Sandboxes())
	again, err := w.buildGroups()
	if err != nil || !again.Groups[0].Reused || again.Groups[0].Digest != made.Digest || len(w.runner.Sandboxes()) != started {
		t.Errorf("again: %+v, %v", again, err)
	}
	w.withGroup(map[string]string{"extra/__init__.py": "other = 1\n"}, "")
	if other, err := w.buildGroups(); err != nil || !other.Reused || other.Groups[0].Reused || other.Groups[0].Key == made.Key {
		t.Errorf("another section: %+v, %v", other, err)
	}
	w.checkClosed()
}

// checkGroup wants a group's layer to have what its record says, and nothing of the artifact.
func (w *world) checkGroup(g artifact.Group, digest string) {
	t := w.t
	t.Helper()
	site := library + "site-packages/"
	var files []string
	for file := range g.Record.Files {
		if !strings.HasSuffix(file, ".pyc") {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	info := site + "extra-1.0.dist-info/"
	want := []string{"bin/extra", info + "METADATA", info + "RECORD", info + "REQUESTED", info + "WHEEL", info + "entry_points.txt", site + "extra/__init__.py"}
	if diff := cmp.Diff(want, slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "INSTALLER") })); diff != "" {
		t.Errorf("its files (-want +got):\n%s", diff)
	}
	if g.Repository != "web" || g.Digest != digest || g.Record.Artifact != digest || g.Record.Platform != "linux/amd64" || g.Record.Prefix != "/opt/ampoule" ||
		!slices.Equal(g.Record.Distributions, []artifact.GroupDistribution{{Name: "extra", Version: "1.0", Wheel: "extra-1.0-py3-none-any.whl"}}) {
		t.Errorf("it is %+v", g)
	}
	var verdict audit.Verdict
	if err := json.Unmarshal(g.Verdict, &verdict); err != nil || verdict.Group != "test" {
		t.Errorf("its verdict is of group %q, %v", verdict.Group, err)
	}
	if len(g.Layers) != 1 || g.Layers[0].DiffID != g.Record.Layers[0].DiffID {
		t.Fatalf("layers %+v", g.Layers)
	}
	laid, closer, err := layers.Read(w.st, strings.TrimPrefix(g.Layers[0].DiffID, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	found := map[string]string{}
	for _, e := range laid.Sub(Prefix).Entries() {
		if e.Kind == tree.File {
			found[e.Path] = "sha256:" + e.SHA256
		}
	}
	if diff := cmp.Diff(g.Record.Files, found); diff != "" {
		t.Errorf("the layer's files (-recorded +found):\n%s", diff)
	}
}

// checkGroupEvidence wants a group to say how it was built, over what, and what is in it.
func (w *world) checkGroupEvidence(g artifact.Group, digest string) {
	t := w.t
	t.Helper()
	def := g.Provenance.BuildDefinition
	said := def.ExternalParameters
	if said.Group != "test" || said.Artifact == nil || "sha256:"+said.Artifact.Digest["sha256"] != digest || def.InternalParameters.Key != g.Record.Key || !def.InternalParameters.Network.Denied {
		t.Errorf("the group's provenance says %+v", def)
	}
	want := map[string]bool{"extra-1.0-py3-none-any.whl": true, "demo-1.0.tar.gz": true, "web": true}
	for _, r := range def.ResolvedDependencies {
		delete(want, r.Name)
	}
	if details := g.Provenance.RunDetails; len(want) > 0 || len(details.Byproducts) == 0 || !strings.HasPrefix(details.Metadata.StartedOn, w.needs.Now().UTC().Format("2006-01-02")) {
		t.Errorf("its dependencies lack %v, and the run is %+v", want, details)
	}
	if lock := w.artifacts[0].Provenance.BuildDefinition.ExternalParameters; said.Lock.Digest["sha256"] == lock.Lock.Digest["sha256"] || lock.Group != "" || lock.Artifact != nil {
		t.Errorf("the artifact's provenance says %+v", lock)
	}
	bill := w.groupBills[0]
	if strings.Contains(string(bill), "pkg:pypi/demo") || strings.Contains(string(bill), "setuptools") {
		t.Errorf("the bill of materials has what is the artifact's:\n%s", bill)
	}
	for _, want := range []string{w.published[g.Record.Key], digest, "pkg:pypi/extra@1.0", `"value":"test"`} {
		if !strings.Contains(string(bill), want) {
			t.Errorf("the bill of materials lacks %s:\n%s", want, bill)
		}
	}
}

// What a group is built with is what its own distributions are built with.
func TestOwnLock(t *testing.T) {
	t.Parallel()
	dist := func(name string, needs ...string) recipes.Dist {
		return recipes.Dist{Name: name, Version: "1", File: name, Build: &recipes.BuildSet{Dists: needs}}
	}
	whole := &recipes.Lock{
		Toolchain: []string{"gcc"}, Requirements: []string{"demo==1"},
		Dists:  []recipes.Dist{dist("demo", "flit==1"), {Name: "flit", Version: "1"}, {Name: "setuptools", Version: "1"}},
		Groups: map[string]recipes.LockedGroup{"test": {Requirements: []string{"extra==1"}, Dists: []recipes.Dist{dist("extra", "backend==1"), dist("backend", "setuptools==1")}}, "pure": {Requirements: []string{"wheel==1"}, Dists: []recipes.Dist{{Name: "wheel", Version: "1"}}}},
	}
	for group, want := range map[string][]string{"test": {"extra", "backend", "setuptools", "gcc"}, "pure": {"wheel"}} {
		g := &groupBuild{build: &build{req: Request{Lock: whole.With(group)}}, alone: whole.Alone()}
		own := g.ownLock()
		var got []string
		for _, d := range own.Dists {
			got = append(got, d.Name)
		}
		if diff := cmp.Diff(want, append(got, own.Toolchain...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", group, diff)
		}
	}
}

// A group that changes or shadows something of the artifact is refused by the names of both
// distributions, one with startup code by the gate; the artifact is published all the same.
func TestRefusedGroups(t *testing.T) {
	t.Parallel()
	site := library + "site-packages/"
	startup := map[string]string{"extra.pth": "import extra\n", "extra.py": ""}
	const info = "extra-1.0.dist-info/entry_points.txt"
	broken := map[string]string{"extra.py": "", info: "[console_scripts]\nextra = extra:main\n"}
	except := func(group string) string {
		return "gate: {groups: [{group: " + group + ", check: metadata, files: [" + site + info + "], why: a test, until: 2999-01-01}]}\n"
	}
	const gate = "the gate refused the tree with dependency group test"
	for name, c := range map[string]struct {
		files map[string]string
		more  string
		want  []string
	}{
		"a file":            {map[string]string{"demo/__init__.py": "answer = 43\n"}, "", []string{"dependency group test", "extra would change " + site + "demo/__init__.py of demo"}},
		"a package":         {map[string]string{"demo.py": ""}, "", []string{"extra would shadow " + site + "demo of demo"}},
		"a part":            {map[string]string{"demo/more.py": ""}, "", []string{"extra would add to " + site + "demo of demo"}},
		"startup code":      {startup, "", []string{gate}},
		"a broken program":  {broken, "", []string{gate}},
		"it, excepted":      {broken, except("test"), nil},
		"for another group": {broken, except("lint"), []string{gate}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			key := MakePlan(w.recipe, w.lock, "linux/amd64", "").Key
			w.withGroup(c.files, c.more)
			got, err := w.buildGroups()
			if got.Digest == "" || got.Key != key || len(w.artifacts) != 1 {
				t.Errorf("the artifact is %+v", got)
			}
			if len(c.want) == 0 {
				if err != nil || len(w.groups) != 1 {
					t.Errorf("got %v, %d groups, %s", err, len(w.groups), told(got))
				}
				return
			}
			if err == nil || len(w.groups) != 0 {
				t.Fatalf("got %v, %d groups", err, len(w.groups))
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it does not say %q: %v", want, err)
				}
			}
			var changed *overlay.RefusedError
			var refused *RefusedError
			if errors.As(err, &changed) == errors.As(err, &refused) {
				t.Errorf("got %T", err)
			}
			if refused != nil && (refused.Verdict.Group != "test" || got.Groups[0].Verdict == nil) {
				t.Errorf("the verdict is %+v", refused.Verdict)
			}
		})
	}
}

func TestUnknownGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withGroup(map[string]string{"extra.py": ""}, "")
	req := w.request()
	req.Groups = []string{"tset"}
	_, err := w.builder().Build(t.Context(), req)
	var faults recipes.Faults
	if !errors.As(err, &faults) || faults[0].Line != 12 || faults[0].Hint != "it has lint, test" || w.opened != 0 {
		t.Errorf("got %v", err)
	}
}

// Where another artifact is published than this store makes, nothing that is judged here says
// anything of it.
func TestGroupOverAnotherArtifact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withGroup(map[string]string{"extra.py": ""}, "")
	w.published[MakePlan(w.recipe, w.lock, "linux/amd64", "").Key] = digest
	if _, err := w.buildGroups(); err == nil || !strings.Contains(err.Error(), "its tree is another tree") || len(w.groups) != 0 {
		t.Errorf("got %v", err)
	}
}

// All that the groups take is kept with the other inputs.
func TestInputsOfGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withGroup(map[string]string{"extra.py": ""}, "")
	in, err := w.builder().FetchInputs(t.Context(), w.request())
	if err != nil || in.Key != MakePlan(w.recipe, w.lock, "linux/amd64", "").Key ||
		!slices.ContainsFunc(in.Files, func(i Input) bool { return i.Name == "extra" }) {
		t.Errorf("%v: %+v", err, in)
	}
}
