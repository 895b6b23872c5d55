package trials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/bench/internal/drive"
)

// validator checks CycloneDX documents against the schema of the specification. It is a
// distribution of Python's.
const validator = "cyclonedx-python-lib"

// validate is what it is asked.
const validate = `
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
for name in sys.argv[1:]:
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(name).read())
    if wrong:
        sys.exit("error: " + str(wrong))
`

// statements are the types of what a build says of what it has signed, as cosign names them.
var statements = []string{"slsaprovenance1", "https://ampoule.dev/verdict/v1", "cyclonedx"}

// attempts are all that clients do, in their order.
func attempts() []attempt {
	var all []attempt
	add := func(client, does string, do func(context.Context, *exhibit, shelf) (string, error), registries ...string) {
		for _, registry := range registries {
			all = append(all, attempt{client, does, registry, do})
		}
	}
	add("docker", "pull and run", dockerRuns, ourRegistry, foreignRegistry)
	add("docker", "push, pull and run", dockerPushes, foreignRegistry, guardedRegistry)
	add("crane", "validate", craneValidates, ourRegistry, foreignRegistry)
	add("crane", "copy from registry serve", craneCopies, foreignRegistry, guardedRegistry)
	add("crane", "pull into a layout, push", cranePushes, foreignRegistry, guardedRegistry)
	add("skopeo", "inspect", skopeoInspects, ourRegistry, foreignRegistry)
	add("skopeo", "copy into a layout", skopeoPulls, ourRegistry, foreignRegistry)
	add("skopeo", "copy from registry serve", skopeoCopies, foreignRegistry, guardedRegistry)
	add("oras", "discover", orasDiscovers, ourRegistry, foreignRegistry)
	add("oras", "pull the verdict", orasPulls, ourRegistry, foreignRegistry)
	add("oras", "copy with referrers from registry serve", orasCopies, foreignRegistry, guardedRegistry)
	add("oras", "push a file, attach another one", orasPushes, foreignRegistry, guardedRegistry)
	for _, cosign := range []string{"cosign 2", "cosign 3"} {
		add(cosign, "verify", cosignVerifies(cosign), ourRegistry, foreignRegistry)
		add(cosign, "verify-attestation", cosignVerifiesStatements(cosign), ourRegistry, foreignRegistry)
		add(cosign, "sign and verify", cosignSigns(cosign), guardedRegistry)
		add(cosign, "attest and verify", cosignAttests(cosign), guardedRegistry)
		add(cosign, "sign without a token", refused(cosignSigns(cosign)), guardedRegistry)
	}
	add(validator, "validate the bills of materials", billsAreValid, ourRegistry)
	add("ampoule", "verify by policy", policyAllows, ourRegistry, foreignRegistry)
	add("ampoule", "copy", ampouleCopies, guardedRegistry)
	add("ampoule", "copy, cut off by a restart", copyIsCut, foreignRegistry)
	add("ampoule", "copy into a layout and into another store", copiesBack, foreignRegistry)
	add("ampoule", "export, install the file", exportInstalls, ourRegistry, foreignRegistry)
	for _, push := range []struct {
		client string
		do     func(context.Context, *exhibit, shelf) (string, error)
	}{{"docker", dockerPushes}, {"crane", craneCopies}, {"skopeo", skopeoCopies}, {"oras", orasCopies}, {"ampoule", ampouleCopies}} {
		add(push.client, "push without a token", refused(push.do), guardedRegistry)
	}
	return all
}

// denied matches what clients say when a registry wants a token.
var denied = regexp.MustCompile(`(?i)unauthorized|authentication required|no basic auth credentials|registry credential|\b401\b`)

// refused has a client push without its token, and wants the registry to refuse that.
func refused(push func(context.Context, *exhibit, shelf) (string, error)) func(context.Context, *exhibit, shelf) (string, error) {
	return func(ctx context.Context, s *exhibit, at shelf) (string, error) {
		bare := *s
		bare.home = anonymousHome
		at.repository += "/anonymous"
		_, err := push(ctx, &bare, at)
		var failure *drive.FailureError
		switch {
		case err == nil:
			return "", &mismatchError{"a push without a token", "taken", "refused"}
		case !errors.As(err, &failure) || !denied.MatchString(failure.Message):
			return "", err
		}
		return "refused", nil
	}
}

// askPython is a program that the artifact can run.
const askPython = "import flask, psycopg2, markupsafe._speedups; print(psycopg2.__libpq_version__ > 0)"

// runs has docker run an image, which is removed then.
func (s *exhibit) runs(ctx context.Context, image string) (err error) {
	defer func() {
		_, removed := s.run(context.WithoutCancel(ctx), "docker", "image", "rm", "--force", image)
		err = errors.Join(err, removed)
	}()
	run, err := s.run(ctx, "docker", "run", "--rm", "--network", "none", image, "python3", "-c", askPython)
	if err != nil {
		return err
	}
	return is("what it prints", run.Out, "True")
}

func dockerRuns(ctx context.Context, s *exhibit, at shelf) (string, error) {
	if _, err := s.run(ctx, "docker", "pull", "--quiet", at.artifact); err != nil {
		return "", err
	}
	return "it imports what it has", s.runs(ctx, at.artifact)
}

// dockerPushes pushes what was pulled from the store's registry. The engine may compress layers
// anew: then the digest is another one.
func dockerPushes(ctx context.Context, s *exhibit, at shelf) (_ string, err error) {
	pulled, pushed := s.places[ourRegistry].artifact, at.repository+"/docker:v1"
	defer func() {
		if err != nil {
			_, removed := s.run(context.WithoutCancel(ctx), "docker", "image", "rm", "--force", pulled, pushed)
			err = errors.Join(err, removed)
		}
	}()
	for _, args := range [][]string{{"pull", "--quiet", pulled}, {"tag", pulled, pushed}, {"push", "--quiet", pushed}, {"image", "rm", "--force", pulled, pushed}, {"pull", "--quiet", pushed}} {
		if _, err := s.run(ctx, "docker", args...); err != nil {
			return "", err
		}
	}
	found, err := s.same(ctx, pushed)
	var wrong *mismatchError
	if errors.As(err, &wrong) {
		found, err = "it imports what it has; the engine writes a manifest of its own, so the digest is another one", nil
	}
	return found, errors.Join(err, s.runs(ctx, pushed))
}

// orasPushes pushes a file, attaches another one to it, and looks for that.
func orasPushes(ctx context.Context, s *exhibit, at shelf) (string, error) {
	dir, err := os.MkdirTemp(s.work, "oras-")
	if err != nil {
		return "", err
	}
	const note, comment = "note.txt", "comment.txt"
	if err := errors.Join(os.WriteFile(filepath.Join(dir, note), []byte("note\n"), 0o644), os.WriteFile(filepath.Join(dir, comment), []byte("comment\n"), 0o644)); err != nil {
		return "", err
	}
	ref := at.repository + "/file:v1"
	for _, args := range [][]string{
		{"push", "--plain-http", "--artifact-type", "application/vnd.example.note", ref, note},
		{"attach", "--plain-http", "--artifact-type", orasComment, ref, comment},
	} {
		if _, err := s.runIn(ctx, dir, "oras", args...); err != nil {
			return "", err
		}
	}
	found, err := s.discovered(ctx, ref)
	if err == nil && found[orasComment] == "" {
		err = &mismatchError{"what refers to " + ref, fmt.Sprintf("%d types", len(found)), "also " + orasComment}
	}
	return "what was attached refers to it", err
}

// orasComment is the type of what oras attaches.
const orasComment = "application/vnd.example.comment"

func craneValidates(ctx context.Context, s *exhibit, at shelf) (string, error) {
	if _, err := s.run(ctx, "crane", "validate", "--remote", at.artifact); err != nil {
		return "", err
	}
	run, err := s.run(ctx, "crane", "digest", at.artifact)
	if err != nil {
		return "", err
	}
	return "all blobs are what their digests say", is("the digest", run.Out, s.digest)
}

func craneCopies(ctx context.Context, s *exhibit, at shelf) (string, error) {
	to := at.repository + "/crane:v1"
	if _, err := s.run(ctx, "crane", "copy", s.places[ourRegistry].artifact, to); err != nil {
		return "", err
	}
	return s.same(ctx, to)
}

func cranePushes(ctx context.Context, s *exhibit, at shelf) (string, error) {
	layout, err := os.MkdirTemp(s.work, "crane-")
	if err != nil {
		return "", err
	}
	to := at.repository + "/crane:v2"
	if _, err := s.run(ctx, "crane", "pull", "--format", "oci", s.places[ourRegistry].artifact, layout); err != nil {
		return "", err
	}
	if _, err := s.run(ctx, "crane", "push", layout, to); err != nil {
		return "", err
	}
	return s.same(ctx, to)
}

func skopeoInspects(ctx context.Context, s *exhibit, at shelf) (string, error) {
	run, err := s.run(ctx, "skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", "docker://"+at.artifact)
	if err != nil {
		return "", err
	}
	return "the same digest", is("the digest", run.Out, s.digest)
}

func skopeoPulls(ctx context.Context, s *exhibit, at shelf) (string, error) {
	layout, err := os.MkdirTemp(s.work, "skopeo-")
	if err != nil {
		return "", err
	}
	if _, err := s.run(ctx, "skopeo", "copy", "--all", "--src-tls-verify=false", "docker://"+at.artifact, "oci:"+layout+":v1"); err != nil {
		return "", err
	}
	return s.same(ctx, layout+"@"+s.digest)
}

func skopeoCopies(ctx context.Context, s *exhibit, at shelf) (string, error) {
	to := at.repository + "/skopeo:v1"
	if _, err := s.run(ctx, "skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+s.places[ourRegistry].artifact, "docker://"+to); err != nil {
		return "", err
	}
	return s.same(ctx, to)
}

// discovered counts what oras finds that refers to a digest.
func (s *exhibit) discovered(ctx context.Context, ref string) (map[string]string, error) {
	run, err := s.run(ctx, "oras", "discover", "--plain-http", "--format", "json", ref)
	if err != nil {
		return nil, err
	}
	var told struct {
		Referrers []struct {
			Digest       string `json:"digest"`
			ArtifactType string `json:"artifactType"`
		} `json:"referrers"`
	}
	if err := json.Unmarshal([]byte(run.Out), &told); err != nil {
		return nil, fmt.Errorf("reading what oras discover printed: %w", err)
	}
	found := map[string]string{}
	for _, r := range told.Referrers {
		found[r.ArtifactType] = r.Digest
	}
	return found, nil
}

// referring are the types of what refers to the artifact, and to its group.
var (
	referring      = []string{artifact.VerdictType, artifact.WheelhouseType, artifact.DebugType, artifact.SBOMType, artifact.GroupType}
	referringGroup = []string{artifact.VerdictType, artifact.SBOMType}
)

// listed wants oras to find all that refers to the artifact and to the group.
func (s *exhibit) listed(ctx context.Context, at shelf) (string, error) {
	for ref, types := range map[string][]string{at.artifact: referring, at.group: referringGroup} {
		found, err := s.discovered(ctx, ref)
		if err != nil {
			return "", err
		}
		for _, t := range types {
			if found[t] == "" {
				return "", &mismatchError{"what refers to " + ref, fmt.Sprintf("%d types", len(found)), "also " + t}
			}
		}
	}
	return fmt.Sprintf("%d kinds of referrers, and %d of the group's", len(referring), len(referringGroup)), nil
}

func orasDiscovers(ctx context.Context, s *exhibit, at shelf) (string, error) {
	return s.listed(ctx, at)
}

func orasPulls(ctx context.Context, s *exhibit, at shelf) (string, error) {
	found, err := s.discovered(ctx, at.artifact)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(s.work, "oras-")
	if err != nil {
		return "", err
	}
	if _, err := s.run(ctx, "oras", "pull", "--plain-http", "--output", dir, at.repository+"@"+found[artifact.VerdictType]); err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(dir, "verdict.json"))
	if err != nil {
		return "", err
	}
	var verdict struct{ Passed bool }
	if err := json.Unmarshal(data, &verdict); err != nil {
		return "", err
	}
	return "verdict.json", is("the verdict", fmt.Sprint(verdict.Passed), "true")
}

func orasCopies(ctx context.Context, s *exhibit, at shelf) (string, error) {
	to := at.repository + "/oras"
	if _, err := s.run(ctx, "oras", "copy", "--recursive", "--from-plain-http", "--to-plain-http", s.places[ourRegistry].artifact, to+":v1"); err != nil {
		return "", err
	}
	if _, err := s.same(ctx, to+":v1"); err != nil {
		return "", err
	}
	return s.listed(ctx, s.at(to))
}

// cosignVerifies has cosign verify the artifact and its group by key.
func cosignVerifies(cosign string) func(context.Context, *exhibit, shelf) (string, error) {
	return func(ctx context.Context, s *exhibit, at shelf) (string, error) {
		for _, ref := range []string{at.artifact, at.group} {
			if _, err := s.run(ctx, cosign, "verify", "--key", s.path("build.pub"), "--insecure-ignore-tlog=true", "--allow-http-registry", ref); err != nil {
				return "", err
			}
		}
		return "the artifact and its group", nil
	}
}

func cosignVerifiesStatements(cosign string) func(context.Context, *exhibit, shelf) (string, error) {
	return func(ctx context.Context, s *exhibit, at shelf) (string, error) {
		for _, ref := range []string{at.artifact, at.group} {
			for _, t := range statements {
				if _, err := s.run(ctx, cosign, "verify-attestation", "--type", t, "--key", s.path("build.pub"), "--insecure-ignore-tlog=true", "--allow-http-registry", ref); err != nil {
					return "", fmt.Errorf("%s: %w", t, err)
				}
			}
		}
		return "provenance, verdict and bill of materials of both", nil
	}
}

// ampouleCopies has Ampoule copy the artifact with its evidence.
func ampouleCopies(ctx context.Context, s *exhibit, at shelf) (string, error) {
	to := at.repository + "/copy"
	if _, err := s.ampoule(ctx, "copy", s.name+"@"+s.digest, to); err != nil {
		return "", err
	}
	return "the policy allows artifact and group", s.allowed(ctx, to+"@"+s.digest)
}

// quiet are the flags of cosign's verbs that write: nothing goes to a transparency log.
func quiet(cosign string) []string {
	flags := []string{"--key", cosignKey + ".key", "--tlog-upload=false", "--allow-http-registry", "--yes"}
	if cosign == "cosign 3" {
		flags = append(flags, "--use-signing-config=false")
	}
	return flags
}

// forCosign copies the artifact to where one version of cosign signs it: each finds its own form alone.
func (s *exhibit) forCosign(ctx context.Context, at shelf, cosign string) (string, error) {
	to := at.repository + "/" + strings.ReplaceAll(cosign, " ", "-")
	granted := *s
	granted.home = clientHome
	_, err := granted.run(ctx, "crane", "copy", s.places[ourRegistry].artifact, to+":v1")
	return to + "@" + s.digest, err
}

// cosignSigns has cosign sign the artifact with a key of its own, and verify that. So does our
// policy, which gives the key a role.
func cosignSigns(cosign string) func(context.Context, *exhibit, shelf) (string, error) {
	return func(ctx context.Context, s *exhibit, at shelf) (string, error) {
		ref, err := s.forCosign(ctx, at, cosign)
		if err != nil {
			return "", err
		}
		if _, err := s.runIn(ctx, s.work, cosign, slices.Concat([]string{"sign"}, quiet(cosign), []string{ref})...); err != nil {
			return "", err
		}
		if _, err := s.runIn(ctx, s.work, cosign, "verify", "--key", cosignKey+".pub", "--insecure-ignore-tlog=true", "--allow-http-registry", ref); err != nil {
			return "", err
		}
		_, err = s.ampoule(ctx, "verify", ref, "--policy", s.path("policy.yaml"))
		return "the policy allows it, too", err
	}
}

// cosignAttests has cosign sign a statement about the artifact, and verify that.
func cosignAttests(cosign string) func(context.Context, *exhibit, shelf) (string, error) {
	return func(ctx context.Context, s *exhibit, at shelf) (string, error) {
		ref, err := s.forCosign(ctx, at, cosign)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(s.path("predicate.json"), []byte(`{"reviewed": true}`), 0o644); err != nil {
			return "", err
		}
		attest := slices.Concat([]string{"attest", "--type", "custom", "--predicate", "predicate.json"}, quiet(cosign), []string{ref})
		if _, err := s.runIn(ctx, s.work, cosign, attest...); err != nil {
			return "", err
		}
		_, err = s.runIn(ctx, s.work, cosign, "verify-attestation", "--type", "custom", "--key", cosignKey+".pub", "--insecure-ignore-tlog=true", "--allow-http-registry", ref)
		return "a statement of its own", err
	}
}

// billsAreValid asks another library about the bills of materials of the artifact and the group.
func billsAreValid(ctx context.Context, s *exhibit, at shelf) (string, error) {
	bills := []string{s.path("artifact.cdx.json"), s.path("group.cdx.json")}
	for i, more := range [][]string{nil, {"--group", clientGroup}} {
		if _, err := s.ampoule(ctx, append([]string{"sbom", at.artifact, "--to", bills[i]}, more...)...); err != nil {
			return "", err
		}
	}
	_, err := s.python.Run(ctx, append([]string{"-c", validate}, bills...)...)
	return "the artifact's and the group's, strictly", err
}

// allowed asks the policy about the artifact and its group.
func (s *exhibit) allowed(ctx context.Context, ref string) error {
	_, err := s.ampoule(ctx, "verify", ref, "--policy", s.path("policy.yaml"), "--group", clientGroup)
	return err
}

func policyAllows(ctx context.Context, s *exhibit, at shelf) (string, error) {
	return "the artifact and its group", s.allowed(ctx, at.artifact)
}

// cuts is how often a copy is begun that is to be cut off: it may be faster than the cut.
const cuts = 5

// copyIsCut stops the registry while a copy goes to it. The copy must not be found then, and is
// continued.
func copyIsCut(ctx context.Context, s *exhibit, at shelf) (string, error) {
	for i := range cuts {
		to := fmt.Sprintf("%s/cut-%d", at.repository, i)
		cut, err := s.cut(ctx, to)
		if err != nil {
			return "", err
		}
		if !cut {
			continue
		}
		var missing *drive.FailureError
		if _, err := s.same(ctx, to+"@"+s.digest); !errors.As(err, &missing) || missing.Code != codeNotFound {
			return "", errors.Join(&mismatchError{"what was cut off", "found", "missing"}, err)
		}
		if _, err := s.ampoule(ctx, "copy", s.name+"@"+s.digest, to); err != nil {
			return "", err
		}
		return "it could not be found, and was continued", s.allowed(ctx, to+"@"+s.digest)
	}
	return "", fmt.Errorf("the registry was never stopped in the middle of %d copies", cuts)
}

// cut stops the registry once the first bytes of a copy are there, starts it again when the copy
// has ended, and reports whether that failed.
func (s *exhibit) cut(ctx context.Context, to string) (bool, error) {
	ended := make(chan error, 1)
	go func() {
		_, err := s.ampoule(ctx, "copy", s.name+"@"+s.digest, to)
		ended <- err
	}()
	_, name, _ := strings.Cut(to, "/")
	uploads := filepath.Join(s.work, "registry", "docker", "registry", "v2", "repositories", filepath.FromSlash(name))
	begun := func() bool {
		_, err := os.Stat(uploads)
		return err == nil
	}
	for !begun() && len(ended) == 0 {
		time.Sleep(time.Millisecond)
	}
	stopped := s.foreign.stop()
	err := <-ended
	var failure *drive.FailureError
	if err != nil && !errors.As(err, &failure) {
		return false, errors.Join(err, stopped)
	}
	return err != nil, errors.Join(stopped, s.foreign.start(ctx))
}

// copiesBack copies from the registry into a layout, and from there into a store that has
// nothing, each with all its evidence.
func copiesBack(ctx context.Context, s *exhibit, at shelf) (string, error) {
	layout := s.path("layout")
	if _, err := s.ampoule(ctx, "copy", at.artifact, layout); err != nil {
		return "", err
	}
	if err := s.allowed(ctx, layout); err != nil {
		return "", err
	}
	other := s.t.in(s.path("other-store"))
	if _, err := other.Run(ctx, "copy", layout, s.name); err != nil {
		return "", err
	}
	_, err := other.Run(ctx, "verify", s.name+"@"+s.digest, "--policy", s.path("policy.yaml"), "--group", clientGroup)
	return "the policy allows artifact and group in both", err
}

// exportInstalls takes the artifact to a directory by a file, under the policy.
func exportInstalls(ctx context.Context, s *exhibit, at shelf) (string, error) {
	dir, err := os.MkdirTemp(s.work, "export-")
	if err != nil {
		return "", err
	}
	file, root := filepath.Join(dir, "artifact.tar"), filepath.Join(dir, "root")
	if _, err := s.ampoule(ctx, "export", at.artifact, "--to", file); err != nil {
		return "", err
	}
	p := s.t.in(s.path("other-store"))
	p.Env = append(p.Env[:len(p.Env):len(p.Env)], "AMPOULE_POLICY="+s.path("policy.yaml"))
	if _, err := p.Run(ctx, "install", file+"@"+s.digest, "--root", root); err != nil {
		return "", err
	}
	run, err := (drive.Program{Path: filepath.Join(root, "current", "bin", "python3")}).Run(ctx, "-c", askPython)
	if err != nil {
		return "", err
	}
	return "the installed release runs", is("what it prints", run.Out, "True")
}
