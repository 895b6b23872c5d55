package trials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/recipes"
)

// rival is the same work by a Dockerfile that a person would write: packages, the
// interpreter in a layer of its own, then every requirement from its sdist by pip.
// It publishes nothing, checks nothing and tests nothing.
type rival struct {
	docker drive.Program
	// dir is the build's context, image the tag of what is built.
	dir, image, base string
}

var dockerfile = template.Must(template.New("Dockerfile").Parse(`FROM {{.Base}}
COPY machine/apt.conf /etc/apt/apt.conf.d/98machine
COPY machine /machine
ENV PIP_CONFIG_FILE=/machine/pip.conf PIP_CERT=/machine/ca.pem SSL_CERT_FILE=/machine/ca.pem
RUN apt-get -qq update && apt-get -qq install --yes --no-install-recommends {{.Packages}}
{{with .Source -}}
COPY {{.}} /src/
RUN mkdir /src/python && tar -C /src/python --strip-components 1 -xf /src/{{.}} && cd /src/python \
 && ./configure --prefix=/opt/python {{$.Configure}} && make -j{{$.Jobs}} && make install && rm -rf /src/python
COPY requirements.txt /src/
RUN /opt/python/bin/python3 -m pip install --no-cache-dir --no-binary :all: --requirement /src/requirements.txt
{{end -}}
`))

// newRival writes the Dockerfile of a recipe with its lock below work. Source is
// the path of CPython's source archive; without one the image ends with the toolchain.
func (t *Trials) newRival(ctx context.Context, work string, recipe *recipes.Recipe, lock *recipes.Lock, source string) (*rival, error) {
	return t.newRivalAs(ctx, work, "", recipe, lock, source)
}

// newRivalAs is newRival for images whose names begin in another way: with a registry.
func (t *Trials) newRivalAs(ctx context.Context, work, prefix string, recipe *recipes.Recipe, lock *recipes.Lock, source string) (*rival, error) {
	stamp := fmt.Sprint(t.Now().UnixNano())
	r := &rival{docker: t.Docker, dir: filepath.Join(work, "rival"), image: prefix + "ampoule-measure-rival:" + stamp, base: prefix + "ampoule-measure-base:" + stamp}
	if err := os.MkdirAll(filepath.Join(r.dir, "machine"), 0o755); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	file := ""
	if source != "" {
		file = lock.Python.File
	}
	err := dockerfile.Execute(&text, map[string]any{
		"Base": r.base, "Packages": strings.Join(toolchainOf(lock), " "), "Source": file,
		"Configure": strings.Join(recipe.Python.Configure, " "), "Jobs": t.jobs(),
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(r.dir, "Dockerfile"), text.Bytes(), 0o644); err != nil {
		return nil, err
	}
	if source != "" {
		if err := copyFile(filepath.Join(r.dir, file), source); err != nil {
			return nil, err
		}
	}
	if err := t.writeMachine(ctx, filepath.Join(r.dir, "machine")); err != nil {
		return nil, fmt.Errorf("writing down how this machine reaches its mirrors: %w", err)
	}
	if err := t.makeBase(ctx, work, recipe.Base.Debian, r); err != nil {
		return nil, fmt.Errorf("making the base image: %w", err)
	}
	return r, nil
}

// jobs is how many processors both sides may use.
func (t *Trials) jobs() int {
	if t.Jobs > 0 {
		return t.Jobs
	}
	return runtime.NumCPU()
}

// toolchainOf names all Debian packages that building takes.
func toolchainOf(lock *recipes.Lock) []string {
	names := slices.Clone(lock.Toolchain)
	for _, d := range lock.Dists {
		if d.Build != nil {
			names = append(names, d.Build.Packages...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// makeBase imports a plain Debian with apt into Docker.
func (t *Trials) makeBase(ctx context.Context, work, suite string, r *rival) error {
	tar := filepath.Join(work, "base.tar")
	if _, err := t.Bootstrap.Run(ctx, "--variant=apt", "--include=ca-certificates",
		"--aptopt="+filepath.Join(r.dir, "machine", "apt.conf"), suite, tar); err != nil {
		return err
	}
	_, err := t.Docker.Run(ctx, "import", tar, r.base)
	return err
}

// require writes what pip installs: the versions that a lock installs.
func (r *rival) require(lock *recipes.Lock) error {
	return os.WriteFile(filepath.Join(r.dir, "requirements.txt"), []byte(strings.Join(lock.Requirements, "\n")+"\n"), 0o644)
}

// build runs docker build; without Docker's cache if fresh is set.
func (r *rival) build(ctx context.Context, fresh bool) (time.Duration, error) {
	args := []string{"build", "--network", "host", "--force-rm", "--tag", r.image}
	if fresh {
		args = append(args, "--no-cache")
	}
	run, err := r.engine().Run(ctx, append(args, r.dir)...)
	return run.Wall, err
}

// remove takes the images away; what was never made is no error.
func (r *rival) remove(ctx context.Context) error {
	var failure *drive.FailureError
	for _, image := range []string{r.image, r.base} {
		_, err := r.docker.Run(context.WithoutCancel(ctx), "image", "rm", "--force", image)
		if err != nil && !(errors.As(err, &failure) && strings.Contains(failure.Message, "No such image")) {
			return err
		}
	}
	return nil
}

// certificates are where this machine may have its CA bundle, after what
// SSL_CERT_FILE says.
var certificates = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"}

// The settings that say how pip and apt reach their mirrors.
var (
	pipSetting = regexp.MustCompile(`^(?:global|install|:env:)\.(index-url|extra-index-url|trusted-host|default-timeout|timeout|proxy)='(.*)'$`)
	aptSetting = regexp.MustCompile(`^Acquire::(?:Check-[A-Za-z-]+|(?:http|https)::[A-Za-z:-]*Proxy[^ ]*|Retries) ".*";$`)
)

// writeMachine writes down how this machine's pip and apt reach their mirrors, for
// a build that does not see this machine. Nothing of it is recorded.
func (t *Trials) writeMachine(ctx context.Context, dir string) error {
	pip, err := t.Pip.Run(ctx, "config", "list")
	if err != nil {
		return err
	}
	apt, err := t.AptConfig.Run(ctx, "dump")
	if err != nil {
		return err
	}
	pipConf := "[global]\n"
	for line := range strings.Lines(pip.Out) {
		if m := pipSetting.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			pipConf += m[1] + " = " + strings.ReplaceAll(m[2], `\n`, "\n\t") + "\n"
		}
	}
	aptConf := ""
	for line := range strings.Lines(apt.Out) {
		if aptSetting.MatchString(strings.TrimSpace(line)) {
			aptConf += line
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "pip.conf"), []byte(pipConf), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "apt.conf"), []byte(aptConf+"\n"), 0o644); err != nil {
		return err
	}
	for _, bundle := range append([]string{os.Getenv("SSL_CERT_FILE")}, certificates...) {
		if _, err := os.Stat(bundle); err == nil {
			return copyFile(filepath.Join(dir, "ca.pem"), bundle)
		}
	}
	return errors.New("this machine has no CA bundle")
}

// copyFile copies a file.
func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
