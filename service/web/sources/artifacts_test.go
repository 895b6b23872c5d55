package sources_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/layer"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
	"ampoule/sbom"
	"ampoule/service/web"
	"ampoule/service/web/sources"
	"ampoule/tree"
)

const site = "lib/python3.13/site-packages/"

// layerOf makes a layer of files below the prefix.
func layerOf(t *testing.T, name string, entries ...tree.Entry) artifact.Layer {
	t.Helper()
	whole, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	var tar bytes.Buffer
	if err := whole.WriteTar(&tar, "opt/web", time.Unix(1577836800, 0)); err != nil {
		t.Fatal(err)
	}
	return artifact.Layer{
		Name: name, DiffID: fmt.Sprintf("sha256:%x", sha256.Sum256(tar.Bytes())),
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tar.Bytes())), nil },
	}
}

// publish publishes an artifact with flask of a version, and returns its reference.
func publish(t *testing.T, own *embedded.Registry, flask string) string {
	t.Helper()
	sum := strings.Repeat("a", 64)
	record := audit.ArtifactRecord{
		Name:   "web",
		Python: audit.PythonRecord{Version: "3.13.5", Key: sum, FingerprintDigest: "sha256:" + sum, Fingerprint: audit.Fingerprint{Version: "3.13.5", Machine: "x86-64"}, Toolchain: []string{"sha256:" + sum}},
		Wheels: []audit.WheelMade{{Name: "flask", Version: flask, File: "flask-" + flask + "-py3-none-any.whl", SHA256: sum}},
	}
	text, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	file := func(p, text string) tree.Entry { return tree.FileEntry(p, 0o644, []byte(text)) }
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	elf, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	native, python := file("lib/libz.so.1", "zlib"), tree.FileEntry("bin/python3.13", 0o755, elf)
	native.Owner = "native"
	sysconfig := file("lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py", "build_time_vars = {'VERSION': '3.13'}\n")
	info := site + "flask-" + flask + ".dist-info/"
	dist := []tree.Entry{file(site+"flask/__init__.py", strings.Repeat("x", 100)), file(info+"METADATA", "Name: flask\nVersion: "+flask+"\n\n"), file(info+"RECORD", "flask/__init__.py,,\n"+"flask-"+flask+".dist-info/METADATA,,\n"+"flask-"+flask+".dist-info/RECORD,,\n")}
	told := file(artifact.RecordFile, string(text))
	whole, err := tree.New(append([]tree.Entry{native, python, sysconfig, told}, dist...))
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(flask)))
	labels, err := artifact.Labels{Recipe: "web", Key: key, Python: "3.13.5", Fingerprint: "sha256:" + sum, Tree: whole.Hash(), Prefix: "/opt/web", Repeatable: new(true)}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := json.Marshal(audit.Verdict{Schema: audit.VerdictSchema, Passed: true, Checks: []audit.CheckResult{{Name: "load", Examined: 3}}})
	if err != nil {
		t.Fatal(err)
	}
	a := artifact.Artifact{
		Name: "web", Key: key, Platform: "linux/amd64", Created: time.Unix(1577836800, 0),
		Config: artifact.Config{Architecture: "amd64", Labels: labels}, Verdict: verdict,
		Layers: []artifact.Layer{layerOf(t, "native", native), layerOf(t, "interpreter", python, sysconfig), layerOf(t, "tail-03", dist...), layerOf(t, "metadata", told)},
		SBOM: func(digest string) ([]byte, error) {
			return sbom.Make(sbom.Input{
				Name: "web", Digest: digest, Key: key, Platform: "linux/amd64", Record: &record, Tree: whole, PythonFile: "Python.tar.xz", PythonSHA256: sum,
				Carried: map[string]sbom.Package{"lib/libz.so.1": {Name: "zlib1g", Version: "1:1.2.13-1", Arch: "amd64", Source: "zlib", SourceVersion: "1:1.2.13-1"}},
				Build:   []sbom.Ingredient{{Kind: sbom.KindDebian, Name: "gcc-12", Version: "12.2.0", SHA256: sum}},
			})
		},
	}
	reg, err := registry.Local(own)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := registry.Pack(t.Context(), layer.Packer{Dir: t.TempDir()}, a)
	if err != nil {
		t.Fatal(err)
	}
	done, err := reg.Publish(t.Context(), packed)
	if err != nil {
		t.Fatal(err)
	}
	return done.Ref
}

func published(t *testing.T) (*embedded.Registry, *sources.Artifacts) {
	t.Helper()
	own := embedded.Open(t.TempDir())
	t.Cleanup(func() {
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	reg, err := registry.Local(own)
	if err != nil {
		t.Fatal(err)
	}
	return own, &sources.Artifacts{From: reg, List: own, Platform: "linux/amd64"}
}

func TestArtifact(t *testing.T) {
	t.Parallel()
	own, a := published(t)
	ref := publish(t, own, "3.1.2")
	signer, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Local(own)
	if err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(ref, "@")
	signed, err := evidence.Sign(t.Context(), signer, evidence.Legacy, "web", digest, time.Unix(1777900000, 0))
	if err == nil {
		err = reg.AddEvidence(t.Context(), ref, signed...)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.Keys = func(context.Context) map[string]keys.Public {
		return map[string]keys.Public{"ci-build": signer.Public()}
	}
	for range 2 { // the second time from what is remembered
		got, err := a.Artifact(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		want := []web.Part{{Kind: "interpreter", Name: "CPython", Version: "3.13.5", Files: 2}, {Kind: "metadata", Name: "what tells of the artifact", Files: 1}, {Kind: "distribution", Name: "flask", Version: "3.1.2", Files: 3}, {Kind: "carried", Name: "libraries and data", Bytes: 4, Files: 1}}
		for i := range want {
			for _, part := range got.Parts {
				if part.Kind == want[i].Kind && want[i].Bytes == 0 {
					want[i].Bytes = part.Bytes
				}
			}
		}
		sorted := true
		for i := range got.Parts[1:] {
			sorted = sorted && got.Parts[i].Bytes >= got.Parts[i+1].Bytes
		}
		if len(got.Parts) != len(want) || !sorted {
			t.Errorf("parts %+v", got.Parts)
		}
		for _, w := range want {
			if !contains(got.Parts, w) {
				t.Errorf("there is no part %+v: %+v", w, got.Parts)
			}
		}
		if got.Verdict == nil || !got.Verdict.Passed || got.Verdict.Checks[0].Name != "load" {
			t.Errorf("verdict %+v", got.Verdict)
		}
		if got.Bill == nil || len(got.Bill.Carried) != 1 || got.Bill.Carried[0].Package.Name != "zlib1g" || len(got.Bill.Inputs) == 0 {
			t.Errorf("bill %+v", got.Bill)
		}
		if diff := cmp.Diff([]web.Evidence{{Type: "signature", By: []string{"ci-build"}, Time: time.Unix(1777900000, 0).UTC()}}, got.Evidence); diff != "" {
			t.Errorf("evidence (-want +got):\n%s", diff)
		}
		if got.Python != "3.13.5" || got.Prefix != "/opt/web" || got.Repeatable != "true" || got.Published.IsZero() || got.Bytes == 0 || len(got.Images) != 1 || len(got.Unknown) > 0 {
			t.Errorf("%+v", got)
		}
	}
	if data, err := a.Bill(t.Context(), ref); err != nil || !bytes.Contains(data, []byte("zlib1g")) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := a.Artifact(t.Context(), "web@sha256:"+strings.Repeat("0", 64)); faults.Of(err) != faults.NotFound {
		t.Errorf("an artifact that is not there: %v", err)
	}
}

func contains(list []web.Part, want web.Part) bool {
	for _, one := range list {
		if one == want {
			return true
		}
	}
	return false
}

func TestListAndDiff(t *testing.T) {
	t.Parallel()
	own, a := published(t)
	first, second := publish(t, own, "3.1.2"), publish(t, own, "3.1.3")
	list, err := a.Artifacts(t.Context(), "")
	if err != nil || len(list) != 2 || list[0].Published.Before(list[1].Published) || list[0].Name != "web" || list[0].Python != "3.13.5" {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := a.Artifacts(t.Context(), "other"); err != nil || len(list) > 0 {
		t.Errorf("%+v, %v", list, err)
	}
	d, err := a.Diff(t.Context(), first, second)
	if err != nil || d.Same || len(d.Distributions) != 1 || !strings.HasPrefix(d.Distributions[0].To, "3.1.3 ") {
		t.Errorf("%+v, %v", d, err)
	}
}
