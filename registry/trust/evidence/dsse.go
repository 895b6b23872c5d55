// Package evidence has the forms in which signatures and attestations are published: DSSE
// envelopes (github.com/secure-systems-lab/dsse, protocol.md), in-toto statements v1
// (github.com/in-toto/attestation, spec/v1), the payload that cosign signs, and sigstore
// bundles.
//
// What comes from a registry is foreign: each reader has a limit, refuses what it does not
// know, and says nothing of whether anybody is trusted.
package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"ampoule/registry/trust/keys"
)

// Limits of what is read.
const (
	// MaxFile bounds one signature or attestation, in bytes.
	MaxFile = 16 << 20
	// MaxPayload bounds the payload of one, in bytes.
	MaxPayload = 8 << 20
	// maxSignatures bounds how many signatures an envelope has.
	maxSignatures = 16
)

// PayloadType is that of in-toto statements.
const PayloadType = "application/vnd.in-toto+json"

// Envelope is a DSSE envelope, version 1.
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     []byte      `json:"payload"`
	Signatures  []Signature `json:"signatures"`
}

// Signature is one signature of an envelope. The key's name is a hint that nothing vouches
// for: it is not read, and written empty, since cosign skips signatures whose hint is not
// of its own form.
type Signature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// PAE is what is signed for a payload of a type: the pre-authentication encoding of DSSE.
func PAE(payloadType string, payload []byte) []byte {
	var b bytes.Buffer
	b.WriteString("DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.Itoa(len(payload)) + " ")
	b.Write(payload)
	return b.Bytes()
}

// SignEnvelope signs a payload.
func SignEnvelope(ctx context.Context, s keys.Signer, payloadType string, payload []byte) (Envelope, error) {
	sig, err := s.Sign(ctx, PAE(payloadType, payload))
	if err != nil {
		return Envelope{}, err
	}
	return Envelope{payloadType, payload, []Signature{{Sig: sig}}}, nil
}

// Encode is the envelope as JSON.
func (e Envelope) Encode() []byte { return encode(e) }

// encode writes what has no value that JSON lacks.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("evidence: " + err.Error())
	}
	return data
}

// ParseEnvelope reads an envelope.
func ParseEnvelope(data []byte) (Envelope, error) {
	var e Envelope
	if err := decode(data, &e); err != nil {
		return Envelope{}, fmt.Errorf("reading envelope: %w", err)
	}
	if err := e.check(); err != nil {
		return Envelope{}, fmt.Errorf("reading envelope: %w", err)
	}
	return e, nil
}

func (e Envelope) check() error {
	switch {
	case e.PayloadType != PayloadType:
		return fmt.Errorf("its payload is of the type %.80q, not %s", e.PayloadType, PayloadType)
	case len(e.Payload) == 0:
		return errors.New("it has no payload")
	case len(e.Payload) > MaxPayload:
		return fmt.Errorf("its payload has more than %d bytes", MaxPayload)
	case len(e.Signatures) == 0:
		return errors.New("it has no signature")
	case len(e.Signatures) > maxSignatures:
		return fmt.Errorf("it has %d signatures, more than %d", len(e.Signatures), maxSignatures)
	}
	return nil
}

// SignedBy reports whether a key has signed the envelope.
func (e Envelope) SignedBy(key keys.Public) bool {
	message := PAE(e.PayloadType, e.Payload)
	for _, s := range e.Signatures {
		if key.Verify(message, s.Sig) {
			return true
		}
	}
	return false
}

// decode reads one JSON value that nothing follows and no object of which has a key twice:
// readers that take the first and readers that take the last would see two texts.
func decode(data []byte, into any) error {
	if len(data) > MaxFile {
		return fmt.Errorf("it has more than %d bytes", MaxFile)
	}
	if err := checkKeys(data); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// maxNesting bounds how deeply JSON is nested.
const maxNesting = 64

// checkKeys refuses JSON in which an object has a key twice.
func checkKeys(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := checkValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its JSON")
	}
	return nil
}

func checkValue(d *json.Decoder, depth int) error {
	if depth > maxNesting {
		return errors.New("its JSON is nested too deeply")
	}
	token, err := d.Token()
	if err != nil {
		return truncated(err)
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return truncated(err)
			}
			name, _ := key.(string)
			if seen[name] {
				return fmt.Errorf("its JSON has the key %.80q twice", name)
			}
			seen[name] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return truncated(err)
	}
	return nil
}

// truncated says of JSON that ends early that it does.
func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("its JSON is truncated")
	}
	return err
}
