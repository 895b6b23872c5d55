package artifact

import (
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// whole are labels of which no two have one value.
func whole() Labels {
	return Labels{
		Recipe: "web", Key: "sha256:" + sum, Python: "3.13.5", Fingerprint: "sha256:" + strings.Repeat("f", 64),
		Tree: "sha256:" + strings.Repeat("7", 64), Prefix: "/opt/ampoule", Repeatable: new(false),
	}
}

func TestLabelsGoAndComeBack(t *testing.T) {
	t.Parallel()
	for _, repeatable := range []bool{false, true} {
		want := whole()
		want.Repeatable = &repeatable
		values, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseLabels(values)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

// The names are in artifacts that are published: they stay.
func TestLabelsAreThese(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"dev.ampoule.recipe": "web", "dev.ampoule.key": "sha256:" + sum, "dev.ampoule.python": "3.13.5",
		"dev.ampoule.fingerprint": "sha256:" + strings.Repeat("f", 64), "dev.ampoule.tree": "sha256:" + strings.Repeat("7", 64),
		"dev.ampoule.prefix": "/opt/ampoule", "dev.ampoule.repeatable": "false",
	}
	got, err := whole().Encode()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	names := slices.Sorted(slices.Values(LabelNames()))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// Each field is one label: one that is added without is written nowhere.
func TestEachFieldIsALabel(t *testing.T) {
	t.Parallel()
	fields := reflect.TypeFor[Labels]().NumField()
	if fields != len(LabelNames()) {
		t.Errorf("%d fields, %d labels", fields, len(LabelNames()))
	}
	for i := range fields {
		without := whole()
		reflect.ValueOf(&without).Elem().Field(i).SetZero()
		name := reflect.TypeFor[Labels]().Field(i).Name
		if _, err := without.Encode(); err == nil || !strings.Contains(err.Error(), Namespace+strings.ToLower(name)) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestParseLabels(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]map[string]string{
		"none": nil, "of others": {"org.opencontainers.image.title": "x"}, "of a later version": {"dev.ampoule.later": "x"},
	} {
		if got, err := ParseLabels(values); err != nil || got != (Labels{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	wrong := map[string][]string{
		LabelRecipe:      {"", "Web", "a b", "web\n"},
		LabelKey:         {"", sum, "sha256:" + strings.ToUpper(sum), "sha256:" + sum[1:], "sha512:" + sum},
		LabelPython:      {"", "3.13", "3.13.5+", "python"},
		LabelFingerprint: {"", "x"},
		LabelTree:        {"", "whatever", "sha256:" + sum + "\n"},
		LabelPrefix:      {"", "opt/ampoule", "/opt/ampoule/", "/opt/../etc", "/"},
		LabelRepeatable:  {"", "True", "1", "no"},
	}
	for _, name := range LabelNames() {
		if len(wrong[name]) == 0 {
			t.Errorf("%s: nothing is tried", name)
		}
		for _, value := range wrong[name] {
			got, err := ParseLabels(map[string]string{name: value})
			if err == nil || !strings.Contains(err.Error(), name) || got != (Labels{}) {
				t.Errorf("%s=%q: %+v, %v", name, value, got, err)
			}
		}
	}
}

// Names and tags of channels are nobody else's.
func TestChannelTags(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"prod": true, "eu-prod-2": true, "7": true, strings.Repeat("a", 32): true, strings.Repeat("a", 33): false,
		"": false, "Prod": false, "-prod": false, "prod-": false, "a.b": false, "a/b": false, "key-1": false, "hold-1": false, "channel-prod": false, "sha256-0": false, "keys": true,
	} {
		if IsChannel(name) != want {
			t.Errorf("%q is a channel: %t", name, !want)
		}
	}
	digest := "sha256:" + strings.Repeat("ab", 32)
	if tag := ChannelTag("prod"); tag != "channel-prod" || !IsChannelTag(tag) || IsKeyTag(tag) || IsHoldTag(tag) {
		t.Errorf("the log's tag is %s", tag)
	}
	hold := ChannelHoldTag("prod", digest)
	if channel, ok := ChannelOfHold(hold); !ok || channel != "prod" || !IsHoldTag(hold) || len(ChannelHoldTag(strings.Repeat("a", 32), digest)) > 128 {
		t.Errorf("%s is the hold of %q", hold, channel)
	}
	for _, tag := range []string{"prod", HoldTag(digest), HoldTag(digest) + ".", HoldTag(digest) + ".key-1", "hold-abc.prod"} {
		if channel, ok := ChannelOfHold(tag); ok {
			t.Errorf("%s is the hold of %q", tag, channel)
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	tag, err := KeyTag("sha256:" + sum)
	if err != nil || tag != "key-"+sum || !IsKeyTag(tag) || IsHoldTag(tag) {
		t.Errorf("the tag of a key is %q, %v", tag, err)
	}
	if key, ok := KeyOfTag(tag); !ok || key != "sha256:"+sum {
		t.Errorf("%s is of key %q, %t", tag, key, ok)
	}
	if tag := HoldTag("sha256:" + sum); tag != "hold-"+sum || !IsHoldTag(tag) || IsKeyTag(tag) {
		t.Errorf("the tag that holds is %q", tag)
	}
	for _, key := range []string{"", sum, "sha256:x", "sha256:" + strings.ToUpper(sum)} {
		if tag, err := KeyTag(key); err == nil {
			t.Errorf("key %q has tag %q", key, tag)
		}
	}
	for _, tag := range []string{"", sum, "key-", "key-x", "hold-" + sum, "v1"} {
		if key, ok := KeyOfTag(tag); ok || key != "" {
			t.Errorf("tag %q is of key %q", tag, key)
		}
	}
}

func TestIsRepository(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"web": true, "team/web": true, "a.b_c__d--e": true, "": false, "Web": false, "/web": false, "web/": false, "a..b": false, "a:b": false,
	} {
		if got := IsRepository(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestBytesFile(t *testing.T) {
	t.Parallel()
	f := BytesFile("x", VerdictType, []byte("abc"))
	// FIPS 180-4, the example of "abc".
	if want := "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; f.Digest != want || f.Size != 3 {
		t.Errorf("%s of %d bytes", f.Digest, f.Size)
	}
	for range 2 {
		r, err := f.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(r); err != nil || string(data) != "abc" {
			t.Errorf("it holds %q, %v", data, err)
		}
	}
}
