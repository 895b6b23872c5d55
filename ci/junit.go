package ci

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ampoule/faults"
)

// maxReport bounds a report of tests, in bytes.
const maxReport = 64 << 20

// Report is a JUnit file that a test runner wrote, with the number of its tests.
type Report struct {
	// File is relative to the workspace.
	File     string `json:"file"`
	SHA256   string `json:"sha256"`
	Tests    int    `json:"tests"`
	Failures int    `json:"failures"`
	Errors   int    `json:"errors"`
	Skipped  int    `json:"skipped"`
}

// ReadReports reads JUnit files below a workspace, which were written since a time. One that
// is missing, older, or no JUnit file is an error of the kind Input.
func ReadReports(workspace string, files []string, since time.Time) ([]Report, error) {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, fmt.Errorf("opening the workspace: %w", err)
	}
	// Closing what was only read loses nothing.
	defer func() { _ = root.Close() }()
	var all []Report
	var wrong []error
	for _, file := range files {
		report, err := readReport(root, filepath.Clean(file), since)
		if err != nil {
			wrong = append(wrong, faults.New(faults.Input, "its path is relative to the workspace, as in: pytest --junitxml="+file,
				"reading report %s: %w", file, err))
			continue
		}
		all = append(all, report)
	}
	return all, errors.Join(wrong...)
}

// readReport never leaves the workspace: what tests wrote there may be a link.
func readReport(root *os.Root, file string, since time.Time) (Report, error) {
	f, err := root.Open(file)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return Report{}, err
	case !info.Mode().IsRegular():
		return Report{}, errors.New("it is no file")
	case info.Size() > maxReport:
		return Report{}, fmt.Errorf("it has %d bytes", info.Size())
	// Some file systems keep times to the second.
	case info.ModTime().Before(since.Truncate(time.Second)):
		return Report{}, errors.New("it is older than this run")
	}
	report := Report{File: file}
	sum := sha256.New()
	if err := report.count(io.TeeReader(io.LimitReader(f, maxReport), sum)); err != nil {
		return Report{}, err
	}
	report.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return report, nil
}

// count counts the tests of a JUnit file.
func (r *Report) count(file io.Reader) error {
	dec := xml.NewDecoder(file)
	var inside []string
	for first := true; ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if first && !strings.HasPrefix(t.Name.Local, "testsuite") {
				return fmt.Errorf("its root is %q, not testsuites or testsuite", t.Name.Local)
			}
			first = false
			r.see(t.Name.Local, inside)
			inside = append(inside, t.Name.Local)
		case xml.EndElement:
			inside = inside[:len(inside)-1]
		}
	}
	// What stands behind the last element is part of the file.
	_, err := io.Copy(io.Discard, file)
	if err == nil && len(inside) == 0 && r.Tests == 0 && dec.InputOffset() == 0 {
		return errors.New("it is empty")
	}
	return err
}

// see counts an element that begins inside others.
func (r *Report) see(name string, inside []string) {
	if name == "testcase" {
		r.Tests++
		return
	}
	if len(inside) == 0 || inside[len(inside)-1] != "testcase" {
		return
	}
	switch name {
	case "failure":
		r.Failures++
	case "error":
		r.Errors++
	case "skipped":
		r.Skipped++
	}
}
