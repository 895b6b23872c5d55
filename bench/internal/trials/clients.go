package trials

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
)

// Clients are programs of others that read, copy and verify what Ampoule publishes.
type Clients struct {
	Crane, Oras, Skopeo, Cosign2, Cosign3 drive.Program
	// Python runs the library that checks bills of materials.
	Python drive.Program
}

// The registries that clients are tried with.
const (
	// ourRegistry has the referrers API, foreignRegistry (2.8.2) has not. Everybody may read both, and
	// write the second one.
	ourRegistry     = "registry serve"
	foreignRegistry = "docker-registry"
	// guardedRegistry is of another store, and wants a token of whoever reads or writes.
	guardedRegistry = "registry serve with a token"
)

// clientHome is where clients keep their tokens, each in a directory of its own. In anonymousHome
// there are none.
const clientHome, anonymousHome = "home", "anonymous"

// cosignKey names the files of the key that cosign signs with, without their ends.
const cosignKey = "cosign"

// clientPassphrase is that of all keys.
const clientPassphrase = "clients"

// clientGroup is the dependency group that is published beside the artifact, and what it has.
const clientGroup, clientGroupHas = "test", "iniconfig"

// Clients has programs of others read, copy and verify an artifact of the quickstart recipe with a
// dependency group, all of it signed, in the store's registry and in another one. What a
// program fails at is recorded; an error is that it could not be tried.
func (t *Trials) Clients(ctx context.Context) error {
	book, err := recorded.Open[recorded.Client](filepath.Join(t.Results, recorded.ClientsFile))
	if err != nil {
		return err
	}
	attempts := attempts()
	var names []string
	open := t.Again
	for _, a := range attempts {
		names = append(names, a.name())
		_, done := book.Get(a.name())
		open = open || !done
	}
	if !open {
		return each(t, book, names, nil)
	}
	return inTemp(func(work string) (err error) {
		s := &exhibit{t: t, work: work, home: clientHome}
		defer func() { err = errors.Join(err, s.close(context.WithoutCancel(ctx))) }()
		if err := s.open(ctx); err != nil {
			return fmt.Errorf("publishing what clients are tried with: %w", err)
		}
		return each(t, book, names, func(name string) (recorded.Client, error) {
			return s.try(ctx, attempts[slices.Index(names, name)])
		})
	})
}

// attempt is one thing that a client does with one registry.
type attempt struct {
	client, does, registry string
	do                     func(context.Context, *exhibit, shelf) (found string, err error)
}

func (a attempt) name() string { return a.client + ": " + a.does + ", " + a.registry }

// shelf is a registry with the artifact in it.
type shelf struct {
	// repository is HOST/NAME; artifact and group are references by digest.
	repository, artifact, group string
}

// exhibit is an artifact in registries.
type exhibit struct {
	t    *Trials
	work string
	// recipe is its directory, name its repository in the store's registry.
	recipe, name  string
	digest, group string
	places        map[string]shelf
	// foreign is the other registry, ours the store's own, guarded another store's.
	foreign, ours, guarded *server
	// token is for the guarded one, home where clients have it.
	token, home string
	python      drive.Program
}

// mismatchError says that a client got something else than what was published.
type mismatchError struct{ what, got, want string }

func (e *mismatchError) Error() string { return fmt.Sprintf("%s is %s, not %s", e.what, e.got, e.want) }

// try has a client do one thing.
func (s *exhibit) try(ctx context.Context, a attempt) (recorded.Client, error) {
	r := recorded.Client{Name: a.name(), Outcome: s.t.today(), Client: a.client, Does: a.does, Registry: a.registry}
	var err error
	if r.Version, err = s.version(ctx, a.client); err != nil {
		return r, err
	}
	if a.registry == guardedRegistry {
		if err := s.login(ctx, a.client); err != nil {
			return r, err
		}
	}
	r.Found, err = a.do(ctx, s, s.places[a.registry])
	r.Passed = err == nil
	var wrong *mismatchError
	if errors.As(err, &wrong) {
		r.Stage, r.Error = "look", wrong.Error()
		return r, nil
	}
	return r, s.t.failed(&r.Outcome, err, "run")
}

// open publishes the artifact and its group, signed, and has both registries serve them.
func (s *exhibit) open(ctx context.Context) error {
	if err := s.publish(ctx); err != nil {
		return err
	}
	var err error
	if s.ours, err = newServer(ctx, s.t.in(s.t.Store), "registry", "serve", "--listen"); err != nil {
		return err
	}
	if s.foreign, err = s.t.newRegistry(ctx, s.work); err != nil {
		return err
	}
	if err := errors.Join(s.ours.start(ctx), s.foreign.start(ctx), s.openGuarded(ctx)); err != nil {
		return err
	}
	if err := s.installValidator(ctx); err != nil {
		return err
	}
	s.places = map[string]shelf{
		ourRegistry: s.at(s.ours.address + "/" + s.name), foreignRegistry: s.at(s.foreign.address + "/team/" + s.name),
		guardedRegistry: s.at(s.guarded.address + "/team/" + s.name),
	}
	_, err = s.ampoule(ctx, "copy", s.name+"@"+s.digest, s.places[foreignRegistry].repository)
	return err
}

// openGuarded has the registry of another store served to who has its token, and gives the token to
// docker, whose file crane and Ampoule read, too.
func (s *exhibit) openGuarded(ctx context.Context) error {
	guarded := s.t.in(s.path("guarded-store"))
	made, err := guarded.Run(ctx, "registry", "token", "create", "clients", "--scope", "push:*")
	if err != nil {
		return err
	}
	s.token = made.Out
	if s.guarded, err = newServer(ctx, guarded, "registry", "serve", "--listen"); err != nil {
		return err
	}
	if err := s.guarded.start(ctx); err != nil {
		return err
	}
	for _, home := range []string{clientHome, anonymousHome} {
		for _, client := range []string{"docker", "crane", "skopeo", "oras", "cosign 2", "cosign 3"} {
			dir := s.path(filepath.Join(home, client))
			// skopeo wants the file where it looks for tokens to be there.
			if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, skopeoTokens), []byte("{}"), 0o600)); err != nil {
				return err
			}
		}
	}
	return errors.Join(s.login(ctx, "docker"), s.login(ctx, "crane"))
}

// skopeoTokens is the file in which skopeo keeps tokens.
const skopeoTokens = "auth.json"

// login has a client keep the token of the guarded registry, as it does so itself. Ampoule reads docker's.
func (s *exhibit) login(ctx context.Context, client string) error {
	args := map[string][]string{
		"docker": {"login"}, "crane": {"auth", "login"}, "skopeo": {"login", "--tls-verify=false"}, "oras": {"login", "--plain-http"},
		"cosign 2": {"login"}, "cosign 3": {"login"},
	}[client]
	if args == nil {
		return nil
	}
	_, err := s.run(ctx, client, append(args, "--username", "clients", "--password", s.token, s.guarded.address)...)
	return err
}

// installValidator installs what checks bills of materials.
func (s *exhibit) installValidator(ctx context.Context) error {
	target := s.path("python")
	if _, err := s.t.Pip.Run(ctx, "install", "--quiet", "--disable-pip-version-check", "--target", target, validator+"[json-validation]"); err != nil {
		return err
	}
	s.python = s.t.Programs.Python
	s.python.Env = append(slices.Clone(s.python.Env), "PYTHONPATH="+target)
	return nil
}

func (s *exhibit) at(repository string) shelf {
	return shelf{repository, repository + "@" + s.digest, repository + "@" + s.group}
}

// publish makes keys, a trust root and a policy, and builds.
func (s *exhibit) publish(ctx context.Context) error {
	dir, err := s.t.fromCatalogue(ctx, s.work, "quickstart")
	if err != nil {
		return err
	}
	// A name of its own makes a key of its own: what is published already is not signed.
	s.recipe, s.name = dir, fmt.Sprintf("clients-%d", s.t.Now().UnixNano())
	file := filepath.Join(dir, recipeFile)
	if err := edit(file, "name: quickstart", "name: "+s.name); err != nil {
		return err
	}
	if err := edit(file, "", fmt.Sprintf("dependency-groups: {%s: [%s]}\n", clientGroup, clientGroupHas)); err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(s.path("passphrase"), []byte(clientPassphrase), 0o600), os.WriteFile(s.path("policy.yaml"), fmt.Appendf(nil, clientPolicy, s.name), 0o644)); err != nil {
		return err
	}
	if _, err := s.runIn(ctx, s.work, "cosign 2", "generate-key-pair", "--output-key-prefix", cosignKey); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"keys", "generate", s.path("root"), "--passphrase-file", s.path("passphrase")},
		{"keys", "generate", s.path("build"), "--passphrase-file", s.path("passphrase")},
		{"trust", "init", "--trust", s.path("trust.yaml"), "--name", s.name, "--root-key", "root=" + s.path("root.pub")},
		{"trust", "add-key", "--trust", s.path("trust.yaml"), "build=" + s.path("build.pub"), "--role", "build"},
		{"trust", "add-key", "--trust", s.path("trust.yaml"), "cosign=" + s.path(cosignKey+".pub"), "--role", "promote"},
		{"trust", "sign", "--trust", s.path("trust.yaml"), "--key", s.path("root.key"), "--passphrase-file", s.path("passphrase")},
	} {
		if _, err := s.ampoule(ctx, args...); err != nil {
			return err
		}
	}
	s.t.Say("ampoule lock and build, signed, with a dependency group")
	if _, err := s.t.lock(ctx, s.t.Store, dir); err != nil {
		return err
	}
	b, _, err := s.t.build(ctx, s.t.Store, dir, "--group", clientGroup, "--sign-key", s.path("build.key"), "--passphrase-file", s.path("passphrase"))
	if err != nil {
		return err
	}
	s.digest = b.Digest
	if s.group, err = b.group(); err != nil {
		return err
	}
	return nil
}

// clientPolicy asks for all that a build signs, and for cosign's signature where cosign signs. A
// store remembers trust roots by their names, so each has one of its own.
const clientPolicy = `apiVersion: ampoule/v1
trust: {file: trust.yaml, name: %s}
rules:
- match: ["*/*/cosign-*"]
  signatures: [promote]
- match: ["*", "*/*", "*/*/*"]
  provenance: {network: denied}
  verdict: {targets: [container]}
  sbom: {}
`

// close ends the registries, and takes the artifact out of the store.
func (s *exhibit) close(ctx context.Context) error {
	var errs []error
	for _, registry := range []*server{s.ours, s.foreign, s.guarded} {
		if registry != nil {
			errs = append(errs, registry.stop())
		}
	}
	if s.digest != "" {
		_, err := s.ampoule(ctx, "registry", "rm", s.name+"@"+s.digest)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// path is a file beside the recipe.
func (s *exhibit) path(name string) string { return filepath.Join(s.work, name) }

// ampoule runs the program with the store, and returns what it prints.
func (s *exhibit) ampoule(ctx context.Context, args ...string) (string, error) {
	p := s.t.in(s.t.Store)
	p.Env = append(slices.Clone(p.Env), "DOCKER_CONFIG="+s.path(filepath.Join(s.home, "docker", ".docker")))
	run, err := p.Run(ctx, args...)
	return run.Out, err
}

// same wants a reference of a registry to lead to the artifact's digest.
func (s *exhibit) same(ctx context.Context, ref string) (string, error) {
	out, err := s.ampoule(ctx, "inspect", ref, "--output", "json")
	if err != nil {
		return "", err
	}
	var told struct {
		Digest string `json:"digest"`
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		return "", fmt.Errorf("reading what ampoule inspect printed: %w", err)
	}
	return "the same digest", is("the digest", told.Digest, s.digest)
}

// is wants something to be what was published.
func is(what, got, want string) error {
	if got != want {
		return &mismatchError{what, got, want}
	}
	return nil
}

// program is a client by its name.
func (s *exhibit) program(client string) drive.Program {
	c := s.t.Programs
	return map[string]drive.Program{"crane": c.Crane, "oras": c.Oras, "skopeo": c.Skopeo, "cosign 2": c.Cosign2, "cosign 3": c.Cosign3, "docker": s.t.Docker}[client]
}

// run runs a client.
func (s *exhibit) run(ctx context.Context, client string, args ...string) (*drive.Run, error) {
	return s.runIn(ctx, "", client, args...)
}

// runIn runs a client in a directory.
func (s *exhibit) runIn(ctx context.Context, dir, client string, args ...string) (*drive.Run, error) {
	p := s.program(client).In(dir)
	// Its configuration, its tokens and its caches are nobody else's.
	home := s.path(filepath.Join(s.home, client))
	p.Env = append(slices.Clone(p.Env), "HOME="+home, "REGISTRY_AUTH_FILE="+filepath.Join(home, skopeoTokens), "COSIGN_PASSWORD="+clientPassphrase)
	return p.Run(ctx, args...)
}

// numbered matches a version in what a program says of itself.
var numbered = regexp.MustCompile(`[0-9]+\.[0-9]+(\.[0-9]+)?[0-9A-Za-z.+~-]*`)

// version is a client's: what the module says that it was built from, or what it says.
func (s *exhibit) version(ctx context.Context, client string) (string, error) {
	var run *drive.Run
	var err error
	switch client {
	case "ampoule":
		run, err = s.t.Ampoule.Run(ctx, "version")
	case validator:
		run, err = s.python.Run(ctx, "-c", "import importlib.metadata as m; print(m.version('"+validator+"'))")
	case "docker":
		run, err = s.t.Docker.Run(ctx, "version", "--format", "{{.Server.Version}}")
	case "skopeo":
		run, err = s.t.Programs.Skopeo.Run(ctx, "--version")
	default:
		return builtFrom(s.program(client).Path)
	}
	if err != nil {
		return "", err
	}
	return numbered.FindString(run.Out), nil
}

// builtFrom is the version of the module that a program of Go was built from.
func builtFrom(path string) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", err
	}
	for _, m := range append(info.Deps, &info.Main) {
		if strings.HasPrefix(info.Path+"/", m.Path+"/") {
			return strings.TrimPrefix(m.Version, "v"), nil
		}
	}
	return "", fmt.Errorf("%s does not say which version it is of", path)
}
