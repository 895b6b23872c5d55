package evidence

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"ampoule/artifact"
	"ampoule/registry/trust/keys"
)

// Media types.
const (
	// BundleType is a sigstore bundle.
	BundleType = artifact.BundleType
	// SimpleMediaType is a payload that cosign signs, EnvelopeMediaType a DSSE envelope, as
	// cosign has them in the manifests of its tags.
	SimpleMediaType   = "application/vnd.dev.cosign.simplesigning.v1+json"
	EnvelopeMediaType = "application/vnd.dsse.envelope.v1+json"
)

// Annotations that cosign reads.
const (
	// AnnotationSignature has the signature of a payload, as base64.
	AnnotationSignature = "dev.cosignproject.cosign/signature"
	// AnnotationPredicate has the type of an attestation's predicate.
	AnnotationPredicate = "predicateType"
	// AnnotationBundleContent and AnnotationBundlePredicate stand at a bundle's manifest.
	AnnotationBundleContent   = "dev.sigstore.bundle.content"
	AnnotationBundlePredicate = "dev.sigstore.bundle.predicateType"
	// BundleContent is the value for bundles with an envelope.
	BundleContent = "dsse-envelope"
)

// bundle is what Ampoule writes and reads of a bundle: an envelope by a key.
type bundle struct {
	MediaType string   `json:"mediaType"`
	Material  material `json:"verificationMaterial"`
	Envelope  Envelope `json:"dsseEnvelope"`
}

type material struct {
	PublicKey *hint `json:"publicKey,omitempty"`
}

type hint struct {
	Hint string `json:"hint"`
}

// EncodeBundle makes a bundle of an envelope that a key has signed.
func EncodeBundle(e Envelope, key keys.Public) []byte {
	sum := sha256.Sum256(key.PEM())
	return encode(bundle{BundleType, material{&hint{base64.StdEncoding.EncodeToString(sum[:])}}, e})
}

// ParseBundle reads the envelope of a bundle. What the bundle says of keys, certificates and
// logs is not read: who is trusted, the trust root says.
func ParseBundle(data []byte) (Envelope, error) {
	var b struct {
		MediaType string          `json:"mediaType"`
		Envelope  json.RawMessage `json:"dsseEnvelope"`
	}
	if err := decode(data, &b); err != nil {
		return Envelope{}, fmt.Errorf("reading bundle: %w", err)
	}
	switch {
	case b.MediaType != BundleType:
		return Envelope{}, fmt.Errorf("reading bundle: its type is %.80q, not %s", b.MediaType, BundleType)
	case len(b.Envelope) == 0:
		return Envelope{}, errors.New("reading bundle: it has no DSSE envelope")
	}
	e, err := ParseEnvelope(b.Envelope)
	if err != nil {
		return Envelope{}, fmt.Errorf("reading bundle: %w", err)
	}
	return e, nil
}
