package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
)

// signature is evidence that is only told apart by its text.
func signature(text string) registry.Evidence {
	return registry.Evidence{
		Kind: registry.SignatureTag, MediaType: "application/x-signature", Data: []byte(text), Annotations: map[string]string{"of": text},
	}
}

// Whoever signs at the same time loses nothing.
func TestEvidenceIsAdded(t *testing.T) {
	t.Parallel()
	eachRegistry(t, func(t *testing.T, r *registry.Registry) {
		a, _ := sample(t, key("1"), "x")
		a.Evidence = func(_ context.Context, repository, digest string) ([]registry.Evidence, error) {
			if !strings.HasSuffix(repository, "web") || !artifact.IsDigest(digest) {
				t.Errorf("%s@%s is signed", repository, digest)
			}
			return []registry.Evidence{signature("first")}, nil
		}
		published, err := r.Publish(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		attestation, bundle := signature("statement"), signature("bundle")
		attestation.Kind, bundle.Kind, bundle.MediaType = registry.AttestationTag, registry.Bundle, artifact.BundleType
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				if err := r.AddEvidence(t.Context(), published.Ref, signature(fmt.Sprint(i)), attestation); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if err := r.AddEvidence(t.Context(), published.Ref, bundle); err != nil {
			t.Fatal(err)
		}
		found, err := r.Evidence(t.Context(), published.Ref)
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]registry.EvidenceKind{}
		for _, e := range found {
			if e.Err != nil || e.Where == "" || e.Annotations["of"] != string(e.Data) {
				t.Errorf("%+v", e)
			}
			texts[string(e.Data)] = e.Kind
		}
		if len(found) != 7 || texts["first"] != registry.SignatureTag || texts["statement"] != registry.AttestationTag || texts["bundle"] != registry.Bundle {
			t.Errorf("%v", texts)
		}
		if err := r.AddEvidence(t.Context(), "web:key-"+strings.Repeat("0", 63)+"1", signature("x")); faults.Of(err) != faults.Usage {
			t.Errorf("of a tag: %v", err)
		}
		if _, err := r.Evidence(t.Context(), "web:latest"); faults.Of(err) != faults.Usage {
			t.Errorf("of a tag: %v", err)
		}
	})
}

// A publication whose signature fails is not found.
func TestNothingUnsignedIsFound(t *testing.T) {
	t.Parallel()
	eachRegistry(t, func(t *testing.T, r *registry.Registry) {
		a, _ := sample(t, key("1"), "x")
		broken := faults.New(faults.Machine, "", "the signer is away")
		a.Evidence = func(context.Context, string, string) ([]registry.Evidence, error) { return nil, broken }
		if _, err := r.Publish(t.Context(), a); !errors.Is(err, broken) || faults.Of(err) != faults.Machine {
			t.Errorf("%v", err)
		}
		if _, found, err := r.FindKey(t.Context(), "web", a.Key, artifact.Beside{}); found || err != nil {
			t.Errorf("it is found: %v", err)
		}
	})
}

func TestTooManySignatures(t *testing.T) {
	t.Parallel()
	r := remote(t)
	a, _ := sample(t, key("1"), "x")
	published, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	many := make([]registry.Evidence, 64)
	for i := range many {
		many[i] = signature(fmt.Sprint(i))
	}
	if err := r.AddEvidence(t.Context(), published.Ref, many...); err != nil {
		t.Fatal(err)
	}
	if err := r.AddEvidence(t.Context(), published.Ref, signature("one more")); faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), "more than 64") {
		t.Errorf("%v", err)
	}
}
