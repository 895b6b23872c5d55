package trials

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
)

// conformanceSettings are the program's, beside the address and the token. It is asked for all
// that it knows, also of the protocol's next version, but for manifests without their content,
// which no repository is to have, and for the hash sha512, which is refused.
var conformanceSettings = []string{
	"OCI_TLS=disabled", "OCI_VERSION=dev", "OCI_REPO1=conformance/one", "OCI_REPO2=conformance/two", "OCI_USERNAME=conformance",
	"OCI_DATA_SHA512=false", "OCI_DATA_SPARSE=false",
}

// Conformance runs the OCI conformance program against a served registry, with a token that may
// pull, push and delete. A test that fails is an error, and is recorded.
func (t *Trials) Conformance(ctx context.Context, program drive.Program, version string) error {
	book, err := recorded.Open[recorded.Conformance](filepath.Join(t.Results, recorded.ConformanceFile))
	if err != nil {
		return err
	}
	program.Path, err = filepath.Abs(program.Path)
	if err != nil {
		return err
	}
	return inTemp(func(work string) error {
		result, err := t.conformance(ctx, work, program)
		if err != nil {
			return err
		}
		result.Name, result.When = "distribution-spec/conformance "+version, t.Now().UTC().Format(time.DateOnly)
		if err := book.Put(result); err != nil {
			return err
		}
		t.Say("%d passed, %d failed, %d skipped", result.Passed, result.Failed, result.Skipped)
		if result.Failed > 0 {
			return fmt.Errorf("%d conformance tests fail", result.Failed)
		}
		return nil
	})
}

func (t *Trials) conformance(ctx context.Context, work string, program drive.Program) (result recorded.Conformance, err error) {
	store := filepath.Join(work, "store")
	run, err := t.in(store).Run(ctx, "registry", "token", "create", "conformance", "--scope", "push:conformance/*", "--scope", "delete:conformance/*")
	if err != nil {
		return result, err
	}
	err = t.serving(ctx, store, func(address string) error {
		program.Env = append(slices.Clone(conformanceSettings), "OCI_REGISTRY="+address, "OCI_PASSWORD="+run.Out, "OCI_RESULTS_DIR="+filepath.Join(work, "results"))
		var failure *drive.FailureError
		// It ends with a code where a test fails: its report says which.
		if _, err := program.In(work).Run(ctx); err != nil && !errors.As(err, &failure) {
			return err
		}
		return nil
	})
	if err != nil {
		return result, err
	}
	report, err := os.ReadFile(filepath.Join(work, "results", "junit.xml"))
	if err != nil {
		return result, err
	}
	return readConformance(report)
}

// readConformance reads the program's report.
func readConformance(report []byte) (result recorded.Conformance, err error) {
	var suites struct {
		Tests []struct {
			Name   string `xml:"name,attr"`
			Status string `xml:"status,attr"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(report, &suites); err != nil {
		return result, fmt.Errorf("reading the report: %w", err)
	}
	result.Left = []string{}
	for _, test := range suites.Tests {
		switch test.Status {
		case "passed":
			result.Passed++
		case "skipped":
			result.Skipped++
			result.Left = append(result.Left, test.Name)
		default:
			result.Failed++
			result.Left = append(result.Left, "failed: "+test.Name)
		}
	}
	if result.Passed == 0 {
		return result, errors.New("reading the report: no test has passed")
	}
	slices.Sort(result.Left)
	return result, nil
}
