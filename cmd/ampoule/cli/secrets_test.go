package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"ampoule/recipes"
)

// TestReportTellsNoSecret checks the last place that errors and messages pass.
func TestReportTellsNoSecret(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"https://user:hunter2@host.example/", "https://user:hun/hunter2@host.example/", "https://user:hun@hunter2@host.example/",
		"https://user:%hunter2@host.example/", "https://hunter2%40host.example/", "https://user:hun hunter2@host.example/",
	} {
		var out bytes.Buffer
		report(&out, errors.Join(errors.New("reading "+text+": no"), &hinted{"look at " + text, errors.New("x")}))
		report(&out, recipes.Faults{{File: "ampoule.yaml", Line: 1, What: "no requirement: " + text, Hint: "write no " + text}})
		s := &Session{Err: &out}
		s.tell("asking %s", text)
		if strings.Contains(out.String(), "hunter2") {
			t.Errorf("%s is told: %s", text, out.String())
		}
	}
}
