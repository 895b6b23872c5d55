package evidence

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"ampoule/registry"
	"ampoule/registry/trust/keys"
)

// Form is how evidence is attached to an artifact.
type Form string

// The forms.
const (
	// Legacy are the tags sha256-HEX.sig and sha256-HEX.att, which cosign 2 and 3 read.
	Legacy Form = "legacy"
	// Bundles are OCI referrers, which cosign 3 prefers.
	Bundles Form = "bundle"
)

// Item is one signature or statement that was found, not yet verified by any key.
type Item struct {
	// Where names it for people.
	Where string
	// PredicateType is what it says of the artifact; [SignatureType] for a signature.
	PredicateType string
	// Statement is set for all but a signature in cosign's payload.
	Statement Statement
	// Signed reports whether a key has signed it.
	Signed func(keys.Public) bool
	// Subject reports whether it is about a digest.
	Subject func(digest string) bool
	// Time is when it says that it was made; zero where it does not say.
	Time time.Time
}

// Parse reads what a registry has beside an artifact. What cannot be read is an error, which
// says why: it is evidence of nothing.
func Parse(raw registry.Evidence) (Item, error) {
	switch raw.MediaType {
	case SimpleMediaType:
		return parseSignature(raw)
	case EnvelopeMediaType:
		e, err := ParseEnvelope(raw.Data)
		return statementItem(raw.Where, e, err)
	case BundleType:
		e, err := ParseBundle(raw.Data)
		return statementItem(raw.Where, e, err)
	default:
		return Item{}, fmt.Errorf("%s: its type %.80q is not known", raw.Where, raw.MediaType)
	}
}

func parseSignature(raw registry.Evidence) (Item, error) {
	payload, err := ParseSimple(raw.Data)
	if err != nil {
		return Item{}, fmt.Errorf("%s: %w", raw.Where, err)
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(raw.Annotations[AnnotationSignature])
	if err != nil || len(signature) == 0 {
		return Item{}, fmt.Errorf("%s: it has no signature", raw.Where)
	}
	item := Item{
		Where: raw.Where, PredicateType: SignatureType,
		Signed:  func(k keys.Public) bool { return k.Verify(raw.Data, signature) },
		Subject: func(digest string) bool { return payload.Critical.Image.Digest == digest },
	}
	if seconds, ok := payload.Optional["timestamp"].(float64); ok {
		item.Time = time.Unix(int64(seconds), 0).UTC()
	}
	return item, nil
}

func statementItem(where string, e Envelope, err error) (Item, error) {
	if err != nil {
		return Item{}, fmt.Errorf("%s: %w", where, err)
	}
	s, err := ParseStatement(e.Payload)
	if err != nil {
		return Item{}, fmt.Errorf("%s: %w", where, err)
	}
	return Item{Where: where, PredicateType: s.PredicateType, Statement: s, Signed: e.SignedBy, Subject: s.Names, Time: timeOf(s)}, nil
}

// timeOf is when a statement says that it was made.
func timeOf(s Statement) time.Time {
	var times struct {
		Time       string `json:"time"`
		OfTests    string `json:"ampoule_time"`
		RunDetails struct {
			Metadata struct {
				FinishedOn string `json:"finishedOn"`
			} `json:"metadata"`
		} `json:"runDetails"`
		Metadata struct {
			Timestamp string `json:"timestamp"`
		} `json:"metadata"`
	}
	if s.Read(&times) != nil {
		return time.Time{}
	}
	text := map[string]string{
		VerdictType: times.Time, TestType: times.OfTests, ProvenanceType: times.RunDetails.Metadata.FinishedOn, SBOMType: times.Metadata.Timestamp,
	}[s.PredicateType]
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// Claim is a predicate that is to be signed.
type Claim struct {
	// Type is the predicate's, Predicate its JSON.
	Type      string
	Predicate []byte
}

// Sign signs an artifact of a repository, and what is claimed of it, in a form.
func Sign(ctx context.Context, by keys.Signer, form Form, repository, digest string, now time.Time, claims ...Claim) ([]registry.Evidence, error) {
	var made []registry.Evidence
	add := func(e registry.Evidence, err error) error {
		made = append(made, e)
		return err
	}
	if err := add(signature(ctx, by, form, repository, digest, now)); err != nil {
		return nil, err
	}
	for _, c := range claims {
		if err := add(Attest(ctx, by, form, repository, digest, c)); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func signature(ctx context.Context, by keys.Signer, form Form, repository, digest string, now time.Time) (registry.Evidence, error) {
	if form == Bundles {
		return Attest(ctx, by, form, repository, digest, Claim{SignatureType, []byte("{}")})
	}
	payload := NewSimple(repository, digest, now).Encode()
	sig, err := by.Sign(ctx, payload)
	if err != nil {
		return registry.Evidence{}, err
	}
	return registry.Evidence{
		Kind: registry.SignatureTag, MediaType: SimpleMediaType, Data: payload,
		Annotations: map[string]string{AnnotationSignature: base64.StdEncoding.EncodeToString(sig)},
	}, nil
}

// Attest signs what is claimed of an artifact. A claim that says something bad of it is an
// error: cosign takes every statement of a trusted key in a bundle for a signature.
func Attest(ctx context.Context, by keys.Signer, form Form, repository, digest string, c Claim) (registry.Evidence, error) {
	if err := checkPositive(c); err != nil {
		return registry.Evidence{}, err
	}
	s, err := About(repository, digest, c.Type, rawJSON(c.Predicate))
	if err != nil {
		return registry.Evidence{}, err
	}
	e, err := s.Sign(ctx, by)
	if err != nil {
		return registry.Evidence{}, err
	}
	if form == Bundles {
		return registry.Evidence{
			Kind: registry.Bundle, MediaType: BundleType, Data: EncodeBundle(e, by.Public()),
			Annotations: map[string]string{AnnotationBundleContent: BundleContent, AnnotationBundlePredicate: c.Type},
		}, nil
	}
	return registry.Evidence{
		Kind: registry.AttestationTag, MediaType: EnvelopeMediaType, Data: e.Encode(),
		Annotations: map[string]string{AnnotationSignature: "", AnnotationPredicate: c.Type},
	}, nil
}

// checkPositive refuses claims that would be signed for an artifact that nobody should run.
func checkPositive(c Claim) error {
	s := Statement{PredicateType: c.Type, Predicate: c.Predicate}
	switch c.Type {
	case VerdictType:
		var v struct{ Passed bool }
		if err := s.Read(&v); err != nil {
			return err
		}
		if !v.Passed {
			return errors.New("signing verdict: the gate refused, and nothing bad is signed")
		}
	case TestType:
		var r TestResult
		if err := s.Read(&r); err != nil {
			return err
		}
		if r.Result != Passed || len(r.FailedTests) > 0 {
			return errors.New("signing test result: tests failed, and nothing bad is signed")
		}
	}
	return nil
}

// rawJSON is JSON that is encoded as it is.
type rawJSON []byte

// MarshalJSON implements [json.Marshaler].
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }
