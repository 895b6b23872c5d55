package evidence

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"ampoule/registry"
	"ampoule/registry/trust/keys"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func generate(t testing.TB) *keys.Private {
	t.Helper()
	k, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The text is the one of DSSE's protocol.md, "Test Vectors".
func TestPAE(t *testing.T) {
	t.Parallel()
	got := string(PAE("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("%q", got)
	}
}

// What is signed in each form is read again, and is about its artifact alone.
func TestSignAndParse(t *testing.T) {
	t.Parallel()
	k, other := generate(t), generate(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, form := range []Form{Legacy, Bundles} {
		verdict := Claim{VerdictType, []byte(`{"passed":true,"time":"2026-01-02T03:04:05Z"}`)}
		made, err := Sign(t.Context(), k, form, "web", digest, at, verdict)
		if err != nil || len(made) != 2 {
			t.Fatalf("%s: %d, %v", form, len(made), err)
		}
		for i, want := range []string{SignatureType, VerdictType} {
			item, err := Parse(made[i])
			if err != nil {
				t.Fatalf("%s: %v", form, err)
			}
			if item.PredicateType != want || !item.Subject(digest) || item.Subject(strings.Replace(digest, "0", "1", 1)) || !item.Signed(k.Public()) || item.Signed(other.Public()) {
				t.Errorf("%s: %+v", form, item)
			}
			if dated := form == Legacy || i == 1; dated != item.Time.Equal(at) {
				t.Errorf("%s: %s was made %s", form, want, item.Time)
			}
		}
	}
}

func TestNothingBadIsSigned(t *testing.T) {
	t.Parallel()
	k := generate(t)
	for name, c := range map[string]Claim{
		"a verdict that refuses":      {VerdictType, []byte(`{"passed":false}`)},
		"a verdict that says nothing": {VerdictType, []byte(`{}`)},
		"a failure":                   {TestType, []byte(`{"result":"FAILED"}`)},
		"a failed test":               {TestType, []byte(`{"result":"PASSED","failedTests":["x"]}`)},
		"no JSON":                     {VerdictType, []byte(`{`)},
	} {
		for _, form := range []Form{Legacy, Bundles} {
			if _, err := Attest(t.Context(), k, form, "web", digest, c); err == nil {
				t.Errorf("%s is signed as %s", name, form)
			}
		}
	}
	if _, err := Attest(t.Context(), k, Legacy, "web", "sha256:x", Claim{SBOMType, []byte(`{}`)}); err == nil {
		t.Error("what has no digest is signed")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mediaType, data, want string
	}{
		"bundle of another version":  {BundleType, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.9+json"}`, "its type is"},
		"bundle with a signature":    {BundleType, `{"mediaType":"` + BundleType + `","messageSignature":{}}`, "no DSSE envelope"},
		"bundle with a bad envelope": {BundleType, `{"mediaType":"` + BundleType + `","dsseEnvelope":{"payloadType":"` + PayloadType + `"}}`, "no payload"},
		"bundle with two envelopes":  {BundleType, `{"dsseEnvelope":{},"dsseEnvelope":{}}`, "twice"},
		"empty":                      {EnvelopeMediaType, "", "truncated"},
		"an array":                   {EnvelopeMediaType, "[]", "cannot unmarshal"},
		"signature's payload":        {SimpleMediaType, `{}`, "its type is"},
		"unknown":                    {"text/plain", "", "is not known"},
	} {
		_, err := Parse(registry.Evidence{Where: "here", MediaType: test.mediaType, Data: []byte(test.data)})
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "here: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	e, err := SignEnvelope(f.Context(), generate(f), PayloadType, []byte(`{"_type":"`+statementType+`","subject":[{"digest":{"sha256":"00"}}],"predicateType":"x","predicate":{}}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.Encode())
	f.Add([]byte(`{"payloadType":"x","payload":"","signatures":[]}`))
	stranger := generate(f).Public()
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEnvelope(data)
		if err != nil {
			return
		}
		if e.SignedBy(stranger) {
			t.Error("a key has signed that was never used")
		}
		if s, err := ParseStatement(e.Payload); err == nil && (len(s.Subject) == 0 || s.PredicateType == "") {
			t.Errorf("%+v", s)
		}
		again, err := ParseEnvelope(e.Encode())
		if err != nil || !bytes.Equal(again.Payload, e.Payload) {
			t.Errorf("it does not come back: %v", err)
		}
	})
}

func FuzzBundle(f *testing.F) {
	k := generate(f)
	e, err := SignEnvelope(f.Context(), k, PayloadType, []byte("{}"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(EncodeBundle(e, k.Public()))
	f.Add([]byte(`{"mediaType":"` + BundleType + `","dsseEnvelope":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := ParseBundle(data); err == nil && (e.PayloadType != PayloadType || len(e.Payload) == 0 || len(e.Payload) > MaxPayload) {
			t.Errorf("%+v", e)
		}
		_, _ = ParseSimple(data)
	})
}
