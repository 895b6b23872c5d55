package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"ampoule/faults"
)

func TestEntriesHaveNoSecrets(t *testing.T) {
	t.Parallel()
	const canary = "CANARYCANARYCANARYCANARYCA"
	for _, form := range []string{"json", "text"} {
		var out bytes.Buffer
		l, err := New(&out, form)
		if err != nil {
			t.Fatal(err)
		}
		ctx := With(In(t.Context(), l), Fields{"caller": "ampoule_abcdefghij_" + canary, "build": "b1"})
		for _, secret := range []string{
			"ampoule_abcdefghij_" + canary, "Authorization: Bearer " + canary, "basic  " + canary,
			"https://me:" + canary + "@example.org/x", "eyJhbGci." + canary + "." + canary,
		} {
			Of(ctx).WithField("text", secret).WithField("list", []string{secret}).WithError(errors.New(secret)).Warn("with " + secret)
		}
		if strings.Contains(out.String(), canary) || strings.Count(out.String(), "b1") != 5 {
			t.Errorf("%s: %s", form, out.String())
		}
	}
}

func TestFieldsGoThroughTheContext(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l, err := New(&out, "json")
	if err != nil {
		t.Fatal(err)
	}
	ctx := With(With(In(t.Context(), l), Fields{"build": "b1"}), Fields{"stage": "wheel"})
	Of(ctx).Info("began")
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["build"] != "b1" || got["stage"] != "wheel" || got["msg"] != "began" {
		t.Errorf("%s: %v", out.String(), err)
	}
	Of(context.Background()).Error("nobody reads this")
	if _, err := New(&out, "xml"); faults.Of(err) != faults.Usage {
		t.Errorf("a form that does not exist: %v", err)
	}
}
