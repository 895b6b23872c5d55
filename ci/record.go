package ci

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"ampoule/builder"
	"ampoule/faults"
)

// RecordSchema names the form of a [Record].
const RecordSchema = "ampoule.ci-run/v1"

// maxRecord bounds a record, in bytes.
const maxRecord = 16 << 20

// Record says what was run inside an artifact, and how it ended. It has no secret.
type Record struct {
	Schema string `json:"schema"`
	// Ref is how the artifact was found; Name and Digest name it.
	Ref    string `json:"ref"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
	// Builder is the version of Ampoule as keys have it, System the name of the CI system.
	Builder string `json:"builder"`
	System  string `json:"system"`
	// Source is of the checkout, where the recipe has first-party code.
	Source *builder.Source `json:"source,omitempty"`
	// Passed says that all ended with 0, and that something was run.
	Passed  bool     `json:"passed"`
	Runs    []Ran    `json:"runs"`
	Reports []Report `json:"reports,omitempty"`
}

// Failed is the first exit code that is not 0; 0 without one.
func (r Record) Failed() int {
	for _, ran := range r.Runs {
		if ran.Code != 0 {
			return ran.Code
		}
	}
	return 0
}

// Encode writes a record as a file.
func (r Record) Encode() []byte {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic("ci: encoding a record: " + err.Error())
	}
	return append(data, '\n')
}

// ReadRecord reads a file that [Record.Encode] wrote. One that is something else is an error
// of the kind Input.
func ReadRecord(file string) (Record, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, faults.New(faults.Input, "run `ampoule ci run --record "+file+"` before", "reading record: there is no %s", file)
	}
	if err != nil {
		return Record{}, fmt.Errorf("reading record: %w", err)
	}
	if info.Size() > maxRecord {
		return Record{}, faults.New(faults.Input, "", "reading record %s: it has %d bytes", file, info.Size())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return Record{}, fmt.Errorf("reading record: %w", err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, faults.New(faults.Input, "it is what `ampoule ci run --record` writes", "reading record %s: %w", file, err)
	}
	if r.Schema != RecordSchema {
		return Record{}, faults.New(faults.Input, "it is what `ampoule ci run --record` writes", "reading record %s: its schema is %q, not %s", file, r.Schema, RecordSchema)
	}
	return r, nil
}

// Tested is the digest that was tested: the one that is given, with or without a name, or the
// one of a record in a file. Both may be empty. A record of tests that failed is an
// error of the kind Refused.
func Tested(digest, file string) (string, error) {
	if file == "" {
		if _, after, named := strings.Cut(digest, "@"); named {
			digest = after
		}
		if digest != "" && !digestForm.MatchString(digest) {
			return "", faults.New(faults.Usage, "", "%q is no digest: want sha256: and 64 digits", digest)
		}
		return digest, nil
	}
	r, err := ReadRecord(file)
	switch {
	case err != nil:
		return "", err
	case !r.Passed || r.Failed() != 0 || len(r.Runs) == 0:
		return "", faults.New(faults.Refused, "", "the record %s is of tests that did not pass", file)
	case !digestForm.MatchString(r.Digest):
		return "", faults.New(faults.Input, "", "the record %s has no digest", file)
	}
	return r.Digest, nil
}

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// BuildMarkdown says what was found or built.
func BuildMarkdown(ref string, reused bool) string {
	how := "built"
	if reused {
		how = "found"
	}
	return "### Ampoule: " + how + "\n\n" + cell(ref) + "\n\n"
}

// Markdown is the record as people read it.
func (r Record) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s: %s\n\n%s\n\n| | command | seconds |\n|---|---|--:|\n", outcome(r.Passed), cell(r.Name), cell(r.Digest))
	for _, ran := range r.Runs {
		how := outcome(ran.Code == 0)
		if ran.Code != 0 {
			how = fmt.Sprintf("%s: %d", how, ran.Code)
		}
		fmt.Fprintf(&b, "| %s | %s | %.1f |\n", how, cell(strings.Join(ran.Command, " ")), ran.Seconds)
	}
	for _, report := range r.Reports {
		fmt.Fprintf(&b, "\n%s: %d tests, %d failures, %d errors, %d skipped\n", cell(report.File), report.Tests, report.Failures, report.Errors, report.Skipped)
	}
	return b.String() + "\n"
}

func outcome(passed bool) string {
	if passed {
		return "passed"
	}
	return "failed"
}

// cell is foreign text in a table: nothing in it is Markdown or HTML.
func cell(text string) string {
	escaped := strings.NewReplacer("|", "&#124;", "`", "&#96;", "*", "&#42;", "_", "&#95;", "[", "&#91;", `\`, "&#92;", "~", "&#126;", ":", "&#58;", "@", "&#64;").
		Replace(html.EscapeString(oneLine(text)))
	return "<code>" + escaped + "</code>"
}
