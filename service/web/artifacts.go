package web

import (
	"net/http"
	"strings"

	"ampoule/artifact"
	"ampoule/contents"
	"ampoule/faults"
)

// ArtifactsPage is what the list of artifacts shows.
type ArtifactsPage struct {
	Name      string
	Artifacts []ArtifactSummary
}

func (p *Pages) artifactsPage(e *exchange) error {
	body := ArtifactsPage{Name: e.URL.Query().Get("name")}
	all, err := p.Artifacts.Artifacts(e.Context(), body.Name)
	if err != nil {
		return err
	}
	for _, a := range all {
		if e.who.May(Read, a.Name, "") {
			body.Artifacts = append(body.Artifacts, a)
		}
	}
	return e.render(http.StatusOK, "artifacts", "artifacts", body)
}

// isName reports whether a text names a repository of this service. One that begins with a host, as
// references do, would be asked for there.
func isName(text string) bool {
	first, _, below := strings.Cut(text, "/")
	return artifact.IsRepository(text) && !(below && (strings.Contains(first, ".") || first == "localhost"))
}

// ref reads a reference NAME@sha256:… that the visitor may read.
func (e *exchange) ref(text string) (string, error) {
	name, digest, ok := strings.Cut(text, "@")
	if !ok || !isName(name) || !artifact.IsDigest(digest) {
		return "", missing("an artifact " + text)
	}
	return text, e.may(Read, name, "")
}

// OneArtifact is what the page of an artifact shows.
type OneArtifact struct {
	Artifact
	Lines []CommandLine
	// Others are artifacts of the same name, to compare with.
	Others []ArtifactSummary
}

// CommandLine is something to copy.
type CommandLine struct{ Title, Text string }

func (p *Pages) artifactPage(e *exchange) error {
	ref, err := e.ref(e.PathValue("ref"))
	if err != nil {
		return err
	}
	a, err := p.Artifacts.Artifact(e.Context(), ref)
	if err != nil {
		return err
	}
	body := OneArtifact{Artifact: a, Lines: p.commands(e.Host, a)}
	others, err := p.Artifacts.Artifacts(e.Context(), a.Name)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.Digest != a.Digest {
			body.Others = append(body.Others, o)
		}
	}
	return e.render(http.StatusOK, "artifact", "artifacts", body)
}

// referenceAt is the reference by which other programs find an artifact. Host is the server's, as the
// visitor calls it.
func (p *Pages) referenceAt(host string, a Artifact) string {
	switch {
	case p.Registry != "":
		return p.Registry + a.Name + "@" + a.Digest
	case p.OwnRegistry:
		return host + "/" + a.Ref
	}
	return a.Ref
}

// commands are lines by which an artifact is used.
func (p *Pages) commands(host string, a Artifact) []CommandLine {
	ref := p.referenceAt(host, a)
	root := "/opt/" + a.Name[strings.LastIndexByte(a.Name, '/')+1:]
	python := root + "/current/bin/python3"
	return []CommandLine{
		{"Docker", "docker run --rm " + ref},
		{"A host", "ampoule install " + ref + " --root " + root},
		{"The wheels, for pip", "ampoule save " + ref + " wheelhouse --to wheels\n" +
			python + " -m venv .venv\n.venv/bin/python -m pip install --no-index --no-deps wheels/*.whl"},
		{"The wheels, for uv", "ampoule save " + ref + " wheelhouse --to wheels\n" +
			"uv venv --python " + python + "\nuv pip install --no-index --no-deps wheels/*.whl"},
		{"A Dockerfile", "FROM " + ref},
		{"Its evidence", "ampoule verify " + ref},
	}
}

// bill gives an artifact's bill of materials as it was published.
func (p *Pages) bill(e *exchange) error {
	ref, err := e.ref(e.PathValue("ref"))
	if err != nil {
		return err
	}
	data, err := p.Artifacts.Bill(e.Context(), ref)
	if err != nil {
		return err
	}
	e.w.Header().Set("Content-Type", "application/vnd.cyclonedx+json; version=1.6")
	e.w.Header().Set("Content-Disposition", `attachment; filename="`+artifact.SBOMFile+`"`)
	_, _ = e.w.Write(data) // a visitor who is gone cannot be told so
	return nil
}

// DiffPage is what the page of a difference shows.
type DiffPage struct {
	A, B string
	// Diff is nil where two artifacts are still to be chosen among Known.
	Diff  *contents.Diff
	Known []ArtifactSummary
}

func (p *Pages) diffPage(e *exchange) error {
	body := DiffPage{A: e.URL.Query().Get("a"), B: e.URL.Query().Get("b")}
	known, err := p.Artifacts.Artifacts(e.Context(), "")
	if err != nil {
		return err
	}
	for _, a := range known {
		if e.who.May(Read, a.Name, "") {
			body.Known = append(body.Known, a)
		}
	}
	if body.A == "" && body.B == "" {
		return e.render(http.StatusOK, "diff", "artifacts", body)
	}
	if body.A == "" || body.B == "" {
		return faults.New(faults.Usage, "choose two artifacts", "there is one artifact, and nothing to compare it with")
	}
	for _, ref := range []string{body.A, body.B} {
		if _, err := e.ref(ref); err != nil {
			return err
		}
	}
	if body.Diff, err = p.Artifacts.Diff(e.Context(), body.A, body.B); err != nil {
		return err
	}
	return e.render(http.StatusOK, "diff", "artifacts", body)
}

// Section is one kind of changes.
type Section struct {
	Title   string
	Changes []contents.Change
}

// Sections are the kinds of changes that there are.
func (d DiffPage) Sections() []Section {
	var all []Section
	for _, s := range []Section{
		{"What went in", d.Diff.Inputs},
		{"Interpreter", d.Diff.Interpreter},
		{"Distributions", d.Diff.Distributions},
		{"Carried libraries", d.Diff.Libraries},
		{"sysconfig", d.Diff.Sysconfig},
	} {
		if len(s.Changes) > 0 {
			all = append(all, s)
		}
	}
	return all
}
