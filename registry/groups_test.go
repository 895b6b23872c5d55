package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/tree"
)

// group packs a group of one file that is laid over an artifact of a digest.
func group(t *testing.T, name, digest, key, content string) registry.PackedGroup {
	t.Helper()
	const file = "lib/extra.py"
	laid, err := tree.New([]tree.Entry{tree.FileEntry(file, 0o644, []byte(content))})
	if err != nil {
		t.Fatal(err)
	}
	l := packed(t, "group-"+name, laid, artifact.Prefix)
	e, _ := laid.Lookup(file)
	packedGroup, err := registry.PackGroup(t.Context(), layer.Packer{Dir: t.TempDir()}, artifact.Group{
		Repository: "web", Digest: digest, Verdict: []byte(`{"passed":true}`),
		Record: artifact.GroupRecord{
			Schema: artifact.GroupSchema, Name: name, Artifact: digest, Key: key, Platform: platform, Prefix: "/opt/ampoule",
			Layers:        []artifact.GroupLayer{{File: "group-" + name + ".tar.gz", DiffID: l.DiffID}},
			Distributions: []artifact.GroupDistribution{{Name: "extra", Version: "1.0", Wheel: "extra-1.0-py3-none-any.whl"}},
			Files:         map[string]string{file: "sha256:" + e.SHA256},
		},
		Layers: []artifact.Layer{{Name: l.Name, DiffID: l.DiffID, Open: l.OpenTar}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return packedGroup
}

// A group is a referrer with a digest of its own, found by its key; the artifact stays.
func TestPublishGroup(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *registry.Registry{
		"store": func(t *testing.T) *registry.Registry { return store(t, t.TempDir()) }, "remote": remote,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := open(t)
			a, _ := sample(t, key("a"), "python")
			published, err := r.Publish(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if _, found, err := r.FindGroup(t.Context(), "web", published.Digest, key("b")); found || err != nil {
				t.Errorf("before: %t, %v", found, err)
			}
			first := group(t, "test", published.Digest, key("b"), "x = 1\n")
			digest, err := r.PublishGroup(t.Context(), first)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := r.PublishGroup(t.Context(), first); err != nil || again != digest {
				t.Errorf("published twice: %s and %s, %v", digest, again, err)
			}
			if found, ok, err := r.FindGroup(t.Context(), "web", published.Digest, key("b")); err != nil || !ok || found != digest {
				t.Errorf("by its key: %s, %t, %v", found, ok, err)
			}
			if same, err := r.Publish(t.Context(), a); err != nil || same != published {
				t.Errorf("the artifact is %+v now, %v", same, err)
			}
			groups, err := r.Groups(t.Context(), published.Ref)
			if err != nil || len(groups) != 1 || groups[0].Digest != digest || groups[0].Record.Name != "test" || len(groups[0].Layers) != 1 {
				t.Fatalf("listed %+v, %v", groups, err)
			}
			content, err := r.OpenLayer(t.Context(), groups[0].Layers[0])
			if err != nil {
				t.Fatal(err)
			}
			defer content.Close()
			laid, err := io.ReadAll(content)
			if err != nil || !strings.Contains(string(laid), "opt/ampoule/lib/extra.py") {
				t.Errorf("the layer: %v", err)
			}
			verdicts, err := r.Referrers(t.Context(), strings.Split(published.Ref, "@")[0]+"@"+digest, artifact.VerdictType)
			if err != nil || len(verdicts) != 1 || verdicts[0].Annotations[artifact.AnnotationGroup] != "test" {
				t.Errorf("its verdict: %+v, %v", verdicts, err)
			}
		})
	}
}

// What refers to a group is there before the group can be found, and is copied with it, before it.
func TestEvidenceOfGroups(t *testing.T) {
	t.Parallel()
	r, target := remote(t), newServer(t)
	a, _ := sample(t, key("a"), "python")
	published, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	g := group(t, "test", published.Digest, key("b"), "x = 1\n")
	g.SBOM = func(digest string) ([]byte, error) { return []byte(`{"of":"` + digest + `"}`), nil }
	g.Evidence = func(ctx context.Context, repository, digest string) ([]registry.Evidence, error) {
		if _, found, err := r.FindGroup(ctx, "web", published.Digest, key("b")); found || err != nil {
			t.Errorf("it is found before it is signed: %t, %v", found, err)
		}
		if !strings.HasSuffix(published.Ref, repository+"@"+published.Digest) {
			t.Errorf("it is signed in repository %s", repository)
		}
		data := []byte("about " + digest)
		return []registry.Evidence{
			{Kind: registry.SignatureTag, MediaType: "text/plain", Data: data}, {Kind: registry.AttestationTag, MediaType: "text/plain", Data: data},
			{Kind: registry.Bundle, MediaType: artifact.BundleType, Data: data},
		}, nil
	}
	if _, err := r.PublishGroup(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	var after []string // the types of manifests, in the order of their arrival
	target.fault = func(_ http.ResponseWriter, req *http.Request) bool {
		_, at, is := strings.Cut(req.URL.Path, "/manifests/")
		if req.Method == http.MethodPut && is {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Error(err)
			}
			var m struct{ ArtifactType string }
			_ = json.Unmarshal(body, &m)
			after = append(after, strings.Trim(m.ArtifactType+" "+at[max(0, len(at)-4):], " "))
			req.Body = io.NopCloser(bytes.NewReader(body))
		}
		return false
	}
	to := target.open(t)
	copied, err := registry.Copy(t.Context(), r, published.Ref, to, "other")
	if err != nil {
		t.Fatal(err)
	}
	groups, err := to.Groups(t.Context(), copied.Ref)
	if err != nil || len(groups) != 1 {
		t.Fatal(groups, err)
	}
	found, err := to.Evidence(t.Context(), groups[0].Ref)
	if err != nil || len(found) != 3 {
		t.Errorf("%d pieces of evidence beside the copy, %v", len(found), err)
	}
	for _, e := range found {
		if string(e.Data) != "about "+groups[0].Digest {
			t.Errorf("%+v", e)
		}
	}
	bills, err := to.Referrers(t.Context(), groups[0].Ref, artifact.SBOMType)
	if err != nil || len(bills) != 1 {
		t.Errorf("%d bills of materials, %v", len(bills), err)
	}
	place := slices.IndexFunc(after, func(s string) bool { return strings.HasPrefix(s, artifact.GroupType) })
	for _, want := range []string{artifact.SBOMType, artifact.BundleType, artifact.VerdictType, ".sig", ".att"} {
		if i := slices.IndexFunc(after, func(s string) bool { return strings.HasPrefix(s, want) }); i < 0 || i > place {
			t.Errorf("%s is put at %d of %q, the group at %d", want, i, after, place)
		}
	}
}

// A group that cannot be signed is not there.
func TestUnsignedGroup(t *testing.T) {
	t.Parallel()
	r := remote(t)
	a, _ := sample(t, key("a"), "python")
	published, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	g := group(t, "test", published.Digest, key("b"), "x = 1\n")
	g.Evidence = func(context.Context, string, string) ([]registry.Evidence, error) {
		return nil, faults.New(faults.Machine, "", "the key is away")
	}
	if _, err := r.PublishGroup(t.Context(), g); faults.Of(err) != faults.Machine || !strings.Contains(err.Error(), "the key is away") {
		t.Errorf("got %v", err)
	}
	if groups, err := r.Groups(t.Context(), published.Ref); err != nil || len(groups) > 0 {
		t.Errorf("%+v, %v", groups, err)
	}
}

// A group whose layer is gone is told, and is there again once it is published anew.
func TestDamagedGroup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := store(t, dir)
	a, _ := sample(t, key("a"), "python")
	published, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	g := group(t, "test", published.Digest, key("b"), "x = 1\n")
	if _, err := r.PublishGroup(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	sum := strings.TrimPrefix(g.Referrer.Files[1].Digest, "sha256:")
	if err := os.Remove(filepath.Join(dir, "repositories", "web", "blobs", "sha256", sum)); err != nil {
		t.Fatal(err)
	}
	var damaged *registry.DamagedError
	if _, found, err := r.FindGroup(t.Context(), "web", published.Digest, key("b")); found || !errors.As(err, &damaged) {
		t.Errorf("without its layer: %t, %v", found, err)
	}
	if _, err := r.PublishGroup(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if _, found, err := r.FindGroup(t.Context(), "web", published.Digest, key("b")); !found || err != nil {
		t.Errorf("published again: %t, %v", found, err)
	}
}

func TestChooseGroups(t *testing.T) {
	t.Parallel()
	made := func(name, digest, version, content string) registry.Group {
		return registry.Group{Digest: key(digest), Record: artifact.GroupRecord{
			Name: name, Distributions: []artifact.GroupDistribution{{Name: "pytest", Version: version}}, Files: map[string]string{"lib/pytest.py": content},
		}}
	}
	published := []registry.Group{made("test", "1", "8", "a"), made("lint", "2", "8", "a"), made("docs", "3", "7", "b"), made("old", "4", "8", "a"), made("old", "5", "8", "a"), made("other", "6", "8", "c")}
	refused := func(name, digest string) registry.Group {
		g := made(name, digest, "8", "a")
		g.Refused = faults.New(faults.Refused, "sign it", "the policy says no")
		return g
	}
	published = append(published, refused("bad", "7"), refused("mixed", "8"), made("mixed", "9", "8", "a"))
	for name, c := range map[string]struct {
		wanted []string
		want   []string
		kind   faults.Kind
		says   string
	}{
		"one":                {[]string{"test"}, []string{key("1")}, 0, ""},
		"two that share":     {[]string{"test", "lint"}, []string{key("1"), key("2")}, 0, ""},
		"by digest":          {[]string{"old@" + key("5")}, []string{key("5")}, 0, ""},
		"several of a name":  {[]string{"old"}, nil, faults.Usage, "several dependency groups old"},
		"none":               {[]string{"tset"}, nil, faults.NotFound, "no dependency group tset"},
		"another digest":     {[]string{"test@" + key("2")}, nil, faults.NotFound, "no dependency group test@"},
		"two versions":       {[]string{"test", "docs"}, nil, faults.Refused, "test has pytest 8, docs has 7"},
		"refused":            {[]string{"bad"}, nil, faults.Refused, "the policy says no"},
		"refused, by digest": {[]string{"mixed@" + key("8")}, nil, faults.Refused, "the policy says no"},
		"one is refused":     {[]string{"mixed"}, []string{key("9")}, 0, ""},
		"two files":          {[]string{"test", "other"}, nil, faults.Refused, "test and other both install lib/pytest.py"},
	} {
		chosen, err := registry.ChooseGroups(published, c.wanted)
		var got []string
		for _, g := range chosen {
			got = append(got, g.Digest)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if (err == nil) != (c.says == "") || err != nil && (faults.Of(err) != c.kind || !strings.Contains(err.Error(), c.says) || len(faults.Hints(err)) == 0) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
