package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"ampoule/artifact"
	"ampoule/audit/survey"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/service/access"
	"ampoule/service/problem"
)

func (s *Server) addAudit() {
	add(s, anyToken, huma.Operation{
		OperationID: "audit-wheel", Method: http.MethodPost, Path: "/v1/audits", Summary: "Looks for what does not fit in a wheel", Tags: []string{"audit"},
		Description: "The body is the wheel. The answer is the report of ampoule audit (docs/audit.schema.json). Nothing of the wheel runs, and nothing is kept.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{artifact.WheelType: {Schema: &huma.Schema{Type: "string", Format: "binary"}}}},
		Errors:      []int{http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity},
	}, s.auditWheel)
}

type auditInput struct {
	File string `query:"file" required:"true" maxLength:"255" doc:"The wheel's file name"`
	Lint bool   `query:"lint" doc:"Tell what the wheel could do better, too"`
}

// wheelTypes are those that a wheel may have.
var wheelTypes = []string{artifact.WheelType, "application/octet-stream", "application/x-wheel+zip"}

func (s *Server) auditWheel(ctx context.Context, _ access.Caller, in *auditInput) (_ *fileOutput, err error) {
	r := exchangeOf(ctx).request
	if !slices.Contains(wheelTypes, r.Header.Get("Content-Type")) {
		return nil, problem.New(http.StatusUnsupportedMediaType, faults.Usage, "send it with Content-Type: "+artifact.WheelType, "the body is of type %q", short(r.Header.Get("Content-Type")))
	}
	if _, err := packaging.ParseWheelName(in.File); err != nil || filepath.Base(in.File) != in.File {
		return nil, wrongParameter("file", in.File, "the file names of wheels")
	}
	if r.ContentLength > s.MaxArchive {
		return nil, tooLarge(s.MaxArchive)
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	dir, err := os.MkdirTemp(s.Temp, "audit-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for a wheel: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := keepFile(filepath.Join(dir, in.File), http.MaxBytesReader(exchangeOf(ctx).answer, r.Body, s.MaxArchive)); err != nil {
		return nil, err
	}
	report, err := survey.Look(ctx, survey.Target{Files: survey.Machine(dir), Path: "/" + in.File, Name: in.File, Lint: survey.Lint{On: in.Lint}})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := report.WriteJSON(&out); err != nil {
		return nil, err
	}
	return &fileOutput{jsonType, out.Bytes()}, nil
}

func keepFile(name string, from io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("keeping a wheel: %w", err)
	}
	_, err = io.Copy(f, from)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reading the body: %w", err)
	}
	return nil
}
