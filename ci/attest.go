package ci

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"ampoule/faults"
	"ampoule/registry/trust/evidence"
)

// recordName is how a record is called in what is signed of it.
const recordName = "record.json"

// TestResult is what a test key signs of a record: which commands have passed, with which
// groups, and in which record that stands. A record of tests that did not pass is an error of
// the kind Refused: nothing bad is signed.
func (r Record) TestResult() (evidence.TestResult, error) {
	if !r.Passed || r.Failed() != 0 || len(r.Runs) == 0 {
		return evidence.TestResult{}, faults.New(faults.Refused, "", "the record of %s is of tests that did not pass, and nothing bad is signed", r.Ref)
	}
	for _, report := range r.Reports {
		if report.Failures+report.Errors > 0 {
			return evidence.TestResult{}, faults.New(faults.Refused, "", "report %s has %d failures and %d errors, and nothing bad is signed", report.File, report.Failures, report.Errors)
		}
	}
	sum := sha256.Sum256(r.Encode())
	result := evidence.TestResult{
		Result: evidence.Passed, Time: r.Runs[len(r.Runs)-1].Started.UTC().Format(time.RFC3339),
		Configuration: []evidence.Resource{{Name: recordName, Digest: map[string]string{"sha256": hex.EncodeToString(sum[:])}}},
	}
	for _, ran := range r.Runs {
		result.PassedTests = append(result.PassedTests, strings.Join(ran.Command, " "))
		for _, g := range ran.Groups {
			resource := evidence.Resource{Name: g.Name, URI: evidence.GroupURI + g.Name, Digest: map[string]string{"sha256": strings.TrimPrefix(g.Digest, "sha256:")}}
			same := func(other evidence.Resource) bool {
				return other.URI == resource.URI && other.Digest["sha256"] == resource.Digest["sha256"]
			}
			if !slices.ContainsFunc(result.Configuration, same) {
				result.Configuration = append(result.Configuration, resource)
			}
		}
	}
	for _, report := range r.Reports {
		result.Configuration = append(result.Configuration, evidence.Resource{
			Name: fmt.Sprintf("%s: %d tests, %d skipped", report.File, report.Tests, report.Skipped), Digest: map[string]string{"sha256": report.SHA256},
		})
	}
	return result, nil
}

// OtherDigestError says that the reference of a record leads to something else than was tested.
type OtherDigestError struct{ Ref, Tested, Found string }

func (e *OtherDigestError) Error() string {
	return fmt.Sprintf("%s is %s, and the record is of %s", e.Ref, e.Found, e.Tested)
}

// Kind says whose fault it is.
func (*OtherDigestError) Kind() faults.Kind { return faults.Refused }
