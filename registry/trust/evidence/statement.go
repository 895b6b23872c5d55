package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/registry/trust/keys"
)

// statementType is that of in-toto statements, version 1.
const statementType = "https://in-toto.io/Statement/v1"

// Types of predicates.
const (
	// SignatureType is what cosign 3 calls a signature: a statement with a subject, and nothing
	// to say of it.
	SignatureType = "https://sigstore.dev/cosign/sign/v1"
	// ProvenanceType is SLSA's, version 1: [artifact.Provenance].
	ProvenanceType = "https://slsa.dev/provenance/v1"
	// VerdictType is the gate's verdict, as package audit has it.
	VerdictType = "https://ampoule.dev/verdict/v1"
	// TestType is in-toto's test result, version 0.1: [TestResult].
	TestType = "https://in-toto.io/attestation/test-result/v0.1"
	// SBOMType is CycloneDX: cosign's name for it.
	SBOMType = "https://cyclonedx.org/bom"
)

// maxSubjects bounds how many subjects a statement has.
const maxSubjects = 16

// Statement is an in-toto statement.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Subject is what a statement is about.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// About makes the statement that a predicate makes of the artifact of a name and digest.
func About(name, digest, predicateType string, predicate any) (Statement, error) {
	if !artifact.IsDigest(digest) {
		return Statement{}, fmt.Errorf("making statement: %q is not a digest", digest)
	}
	data, err := json.Marshal(predicate)
	if err != nil {
		return Statement{}, fmt.Errorf("making statement: %w", err)
	}
	if len(data) > MaxPayload-4096 {
		return Statement{}, fmt.Errorf("making statement: its predicate has more than %d bytes", MaxPayload-4096)
	}
	return Statement{
		Type: statementType, PredicateType: predicateType, Predicate: data,
		Subject: []Subject{{Name: name, Digest: map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}}},
	}, nil
}

// Sign signs the statement.
func (s Statement) Sign(ctx context.Context, by keys.Signer) (Envelope, error) {
	return SignEnvelope(ctx, by, PayloadType, encode(s))
}

// ParseOf reads an envelope of at most so many bytes whose statement has a predicate of one type. Who
// has signed it is for the caller to ask.
func ParseOf(predicateType string, data []byte, most int) (Envelope, Statement, error) {
	if len(data) > most {
		return Envelope{}, Statement{}, fmt.Errorf("it has more than %d bytes", most)
	}
	e, err := ParseEnvelope(data)
	if err != nil {
		return Envelope{}, Statement{}, err
	}
	s, err := ParseStatement(e.Payload)
	if err != nil {
		return Envelope{}, Statement{}, err
	}
	if s.PredicateType != predicateType {
		return Envelope{}, Statement{}, fmt.Errorf("its type is %.80q, not %s", s.PredicateType, predicateType)
	}
	return e, s, nil
}

// ParseStatement reads the payload of an envelope.
func ParseStatement(payload []byte) (Statement, error) {
	var s Statement
	if err := decode(payload, &s); err != nil {
		return Statement{}, fmt.Errorf("reading statement: %w", err)
	}
	switch {
	case s.Type != statementType:
		return Statement{}, fmt.Errorf("reading statement: its type is %.80q, not %s", s.Type, statementType)
	case len(s.Subject) == 0 || len(s.Subject) > maxSubjects:
		return Statement{}, fmt.Errorf("reading statement: it has %d subjects", len(s.Subject))
	case s.PredicateType == "":
		return Statement{}, errors.New("reading statement: it has no type of predicate")
	case s.PredicateType != SignatureType && (len(s.Predicate) == 0 || bytes.Equal(s.Predicate, []byte("null"))):
		return Statement{}, errors.New("reading statement: it has no predicate")
	}
	return s, nil
}

// Names reports whether a digest is among the subjects.
func (s Statement) Names(digest string) bool {
	sum := strings.TrimPrefix(digest, "sha256:")
	for _, subject := range s.Subject {
		if subject.Digest["sha256"] == sum {
			return true
		}
	}
	return false
}

// Read decodes the predicate.
func (s Statement) Read(into any) error {
	if err := json.Unmarshal(s.Predicate, into); err != nil {
		return fmt.Errorf("reading predicate %s: %w", s.PredicateType, err)
	}
	return nil
}

// TestResult is in-toto's test result (spec/predicates/test-result.md), of tests that ran
// inside the artifact.
type TestResult struct {
	// Result is PASSED, WARNED or FAILED.
	Result string `json:"result"`
	// Configuration names what was laid over the artifact, and the record of the run.
	Configuration []Resource `json:"configuration"`
	PassedTests   []string   `json:"passedTests,omitempty"`
	WarnedTests   []string   `json:"warnedTests,omitempty"`
	FailedTests   []string   `json:"failedTests,omitempty"`
	// Time is when the last test began, in RFC 3339. It is Ampoule's own field, which
	// in-toto's parsing rules have readers ignore.
	Time string `json:"ampoule_time"`
}

// Passed is the result of tests that all ended well.
const Passed = "PASSED"

// Resource is an in-toto resource descriptor.
type Resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// GroupURI begins the URI of a dependency group in a test result.
const GroupURI = "ampoule:group/"

// simpleType is what cosign signs (github.com/containers/image, docs/containers-signature.5.md).
const simpleType = "cosign container image signature"

// Simple is the payload of a signature in cosign's form.
type Simple struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// NewSimple makes the payload for an artifact of a repository, at a time.
func NewSimple(repository, digest string, now time.Time) Simple {
	var s Simple
	s.Critical.Identity.Reference, s.Critical.Image.Digest, s.Critical.Type = repository, digest, simpleType
	s.Optional = map[string]any{"creator": "ampoule", "timestamp": now.Unix()}
	return s
}

// Encode is the payload as JSON.
func (s Simple) Encode() []byte { return encode(s) }

// ParseSimple reads a payload in cosign's form.
func ParseSimple(payload []byte) (Simple, error) {
	var s Simple
	if err := decode(payload, &s); err != nil {
		return Simple{}, fmt.Errorf("reading signature's payload: %w", err)
	}
	if s.Critical.Type != simpleType {
		return Simple{}, fmt.Errorf("reading signature's payload: its type is %.80q, not %q", s.Critical.Type, simpleType)
	}
	return s, nil
}
