//go:build cosign

package trust_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ampoule/registry/trust/evidence"
)

// cosigns are programs of cosign, of version 2 and of version 3, by the columns of the table.
var (
	cosign2  = flag.String("cosign2", "", "the program cosign of version 2")
	cosign3  = flag.String("cosign3", "", "the program cosign of version 3")
	rewrite  = flag.Bool("update", false, "write the answers into docs/trust.md")
	columnOf = map[string]int{"cosign2": 3, "cosign3": 4}
)

// cosign says whether a program accepts the artifact of a scene: its signature, or a
// statement of a type.
func (s *scene) cosign(program, predicateType string) (bool, string) {
	s.t.Helper()
	public := filepath.Join(s.dir, "build-1.pub")
	key := "build-1"
	if predicateType == evidence.TestType {
		key = "test-1"
	}
	s.must(os.WriteFile(public, s.keys[key].Public().PEM(), 0o644))
	args := []string{"verify"}
	if predicateType != evidence.SignatureType {
		args = []string{"verify-attestation", "--type", predicateType}
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append(args, "--key", public, "--insecure-ignore-tlog=true", s.ref)...)
	cmd.Env = []string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	return err == nil, string(out)
}

// asked is the type of statement that a rule is about.
func asked(rule string) string {
	name, _, _ := strings.Cut(rule, ".")
	types := map[string]string{
		"provenance": evidence.ProvenanceType, "verdict": evidence.VerdictType, "tests": evidence.TestType, "sbom": evidence.SBOMType,
	}
	if found := types[name]; found != "" {
		return found
	}
	return evidence.SignatureType
}

func programs(t *testing.T) map[string]string {
	t.Helper()
	if *cosign2 == "" || *cosign3 == "" {
		t.Fatal("name the programs: -cosign2 and -cosign3")
	}
	return map[string]string{"cosign2": *cosign2, "cosign3": *cosign3}
}

// What Ampoule signs, cosign verifies by key: all of it as tags in both versions, and as bundles
// in version 3.
func TestCosignAccepts(t *testing.T) {
	t.Parallel()
	all := []string{evidence.SignatureType, evidence.ProvenanceType, evidence.VerdictType, evidence.TestType, evidence.SBOMType}
	for name, program := range programs(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.must(s.reg.AddEvidence(t.Context(), s.ref, s.items...))
			for _, predicateType := range all {
				if ok, out := s.cosign(program, predicateType); !ok {
					t.Errorf("%s: %s", predicateType, out)
				}
			}
		})
	}
	t.Run("bundles", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		var claims []evidence.Claim
		for _, c := range []struct {
			predicateType string
			predicate     any
		}{{evidence.ProvenanceType, s.provenance()}, {evidence.VerdictType, s.verdict()}, {evidence.SBOMType, s.sbom()}} {
			data, err := json.Marshal(c.predicate)
			s.must(err)
			claims = append(claims, evidence.Claim{Type: c.predicateType, Predicate: data})
		}
		made, err := evidence.Sign(t.Context(), s.keys["build-1"], evidence.Bundles, "web", s.digest, s.now, claims...)
		s.must(err)
		s.must(s.reg.AddEvidence(t.Context(), s.ref, made...))
		for _, predicateType := range []string{evidence.SignatureType, evidence.ProvenanceType, evidence.VerdictType, evidence.SBOMType} {
			if ok, out := s.cosign(programs(t)["cosign3"], predicateType); !ok {
				t.Errorf("%s: %s", predicateType, out)
			}
		}
	})
}

// TestCosignAttacks compares the table in docs/trust.md with what cosign answers.
func TestCosignAttacks(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "trust.md")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attacks() {
		if a.rule == "" || a.rule == "rules" {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			s := newScene(t)
			a.do(s)
			if len(s.items) > 0 {
				s.must(s.reg.AddEvidence(t.Context(), s.ref, s.items...))
			}
			s.looking.Store(true)
			for name, program := range programs(t) {
				answer := "refused"
				if ok, _ := s.cosign(program, asked(a.rule)); ok {
					answer = "**accepted**"
				}
				row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(a.name) + ` \|.*\|$`)
				found := row.Find(page)
				cells := strings.Split(string(found), "|")
				if len(cells) != 6 {
					t.Fatalf("docs/trust.md has no row %q", a.name)
				}
				if *rewrite {
					cells[columnOf[name]] = " " + answer + " "
					page = bytes.Replace(page, found, []byte(strings.Join(cells, "|")), 1)
				} else if got := strings.TrimSpace(cells[columnOf[name]]); got != answer {
					t.Errorf("%s: %s, and docs/trust.md says %s", name, answer, got)
				}
			}
		})
	}
	if *rewrite {
		if err := os.WriteFile(file, page, 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Println("docs/trust.md is written")
	}
}
