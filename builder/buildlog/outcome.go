package buildlog

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ampoule/faults"
)

// OutcomeFile is the file of a log directory that says how the run ended.
const OutcomeFile = "outcome.json"

// Outcome says how a run ended. A run that was killed leaves none.
type Outcome struct {
	Recipe string `json:"recipe"`
	// Group is the dependency group that was built; empty for others.
	Group string    `json:"group,omitempty"`
	Begun time.Time `json:"begun"`
	Ended time.Time `json:"ended"`
	// Digest is what a run has published; empty for one that publishes nothing, and after a failure.
	Digest string `json:"digest,omitempty"`
	// Did is what a run has done that publishes nothing, as "prepared"; empty for a lock.
	Did string `json:"did,omitempty"`
	// Failure is the kind of the fault that ended it, as [faults.Kind] writes it; empty
	// after a success.
	Failure string `json:"failure,omitempty"`
}

// WriteOutcome writes an outcome into a log directory. Err is what ended the run, nil
// after a success.
func WriteOutcome(dir string, o Outcome, err error) error {
	if err != nil {
		o.Digest, o.Did, o.Failure = "", "", faults.Of(err).String()
	}
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("writing outcome: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, OutcomeFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing outcome: %w", err)
	}
	return nil
}

// ReadOutcome reads the outcome of a log directory. The error wraps [fs.ErrNotExist] where
// there is none.
func ReadOutcome(dir string) (Outcome, error) {
	data, err := os.ReadFile(filepath.Join(dir, OutcomeFile))
	if err != nil {
		return Outcome{}, fmt.Errorf("reading outcome: %w", err)
	}
	var o Outcome
	if err := json.Unmarshal(data, &o); err != nil {
		return Outcome{}, fmt.Errorf("reading outcome: %w", err)
	}
	return o, nil
}
