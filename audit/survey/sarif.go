package survey

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/url"
	"path/filepath"

	"ampoule/audit"
)

// sourceRoot is the name that code hosts know of the directory that URIs are relative to
// (SARIF 2.1.0, section 3.14.14).
const sourceRoot = "%SRCROOT%"

// What the report has of a SARIF log (SARIF 2.1.0, section 3).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool                `json:"tool"`
		Invocations []sarifInvocation        `json:"invocations"`
		Bases       map[string]sarifArtifact `json:"originalUriBaseIds,omitempty"`
		Results     []sarifResult            `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID    string    `json:"id"`
		Short sarifText `json:"shortDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
	sarifResult struct {
		RuleID string `json:"ruleId"`
		// Kind is empty for what it is if it is not told, "fail".
		Kind         string            `json:"kind,omitempty"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI  string `json:"uri"`
		Base string `json:"uriBaseId,omitempty"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
)

// WriteSARIF writes the report as SARIF 2.1.0 (OASIS, "Static Analysis Results
// Interchange Format"), which code hosts show: a result for each finding. The version is
// that of the program.
func (r *Report) WriteSARIF(w io.Writer, version string) error {
	one := sarifRun{Tool: sarifTool{sarifDriver{Name: "ampoule", Version: version}}, Results: []sarifResult{}}
	for _, c := range audit.Checks() {
		one.Tool.Driver.Rules = append(one.Tool.Driver.Rules, sarifRule{c.Name, sarifText{c.Reason}})
	}
	one.Tool.Driver.Rules = append(one.Tool.Driver.Rules, r.lintRules()...)
	call := sarifInvocation{Successful: len(r.Unread) == 0}
	for _, u := range r.Unread {
		call.Notifications = append(call.Notifications, sarifNotification{"error", sarifText{audit.Printable(u.Path + ": " + u.Why)}})
	}
	for _, u := range r.Unlooked {
		call.Notifications = append(call.Notifications, sarifNotification{"note", sarifText{"not looked at: " + u.text()}})
	}
	one.Invocations = []sarifInvocation{call}
	if r.Base != "" {
		root := url.URL{Scheme: "file", Path: filepath.ToSlash(r.Base)}
		one.Bases = map[string]sarifArtifact{sourceRoot: {URI: root.JoinPath("/").String()}}
	}
	seen := map[string]int{}
	for i := range r.Units {
		u := &r.Units[i]
		for _, f := range u.Findings {
			one.Results = append(one.Results, r.sarifResult(u, f, seen))
		}
		one.Results = append(one.Results, r.lintResults(u, seen)...)
	}
	return writeJSON(w, sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{one}})
}

// sarifResult is a finding's. The files have no lines, and code hosts want one.
func (r *Report) sarifResult(u *Unit, f audit.Finding, seen map[string]int) sarifResult {
	kind, level := "", ""
	switch f.Severity {
	case audit.Refuse:
		level = "error"
	case audit.Warn:
		level = "warning"
	case audit.Undecided:
		// Too little is known to decide (section 3.27.9); only failures have a level (3.27.10).
		kind, level = "open", "none"
	}
	at, member := sarifLocation{Physical: sarifPhysical{r.artifact(u, f), sarifRegion{StartLine: 1}}}, ""
	if u.Kind == KindWheel && f.File != "" {
		member = f.File
		at.Logical = []sarifLogical{{member}}
	}
	return sarifResult{
		RuleID: f.Check, Kind: kind, Level: level, Message: sarifText{message(u, f)}, Locations: []sarifLocation{at},
		Fingerprints: map[string]string{fingerprintName: fingerprint(at.Physical.Artifact.URI, member, f, seen)},
	}
}

// fingerprintName is the one of a result's fingerprints by which GitHub knows a result
// again ("SARIF support for code scanning").
const fingerprintName = "primaryLocationLineHash"

// fingerprint is the same for the same finding in every report; equal ones are counted. It
// has the path as the report has it: a relative one is the same in every checkout.
func fingerprint(uri, member string, f audit.Finding, seen map[string]int) string {
	h := sha256.New()
	for _, part := range []string{f.Check, uri, member, f.Field, f.Value} {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	sum := fmt.Sprintf("%x", h.Sum(nil)[:16])
	seen[sum]++
	return fmt.Sprintf("%s:%d", sum, seen[sum])
}

// artifact is where a finding is on disk: the wheel's file, or the installed one. A tree
// has no place of its own.
func (r *Report) artifact(u *Unit, f audit.Finding) sarifArtifact {
	p := u.Path
	if u.Kind != KindWheel && f.File != "" {
		p = f.File
	}
	if u.Kind == KindTree {
		return sarifArtifact{URI: (&url.URL{Path: p}).String()}
	}
	if rel, err := filepath.Rel(r.Base, p); r.Base != "" && err == nil && filepath.IsLocal(rel) {
		return sarifArtifact{URI: (&url.URL{Path: filepath.ToSlash(rel)}).String(), Base: sourceRoot}
	}
	return sarifArtifact{URI: (&url.URL{Scheme: "file", Path: p}).String()}
}
