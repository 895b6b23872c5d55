package apt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/address"
	"ampoule/builder/progress"
	"ampoule/builder/toolchain/debian"
)

// keyring holds the keys of Debian's archives; the package debian-archive-keyring has it.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// root is a directory that apt takes for the whole machine.
type root struct {
	dir string
	apt string
}

// newRoot makes the root, and forgets what an earlier one had installed.
func newRoot(dir string) (root, error) {
	tool, err := debian.Tool("apt-get", "apt")
	if err != nil {
		return root{}, err
	}
	if _, err := os.Stat(keyring); err != nil {
		return root{}, &debian.MissingToolError{Tool: keyring, Package: "debian-archive-keyring"}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return root{}, err
	}
	if strings.ContainsAny(dir, "\"\\\n;{}") {
		return root{}, fmt.Errorf("directory %q: apt's configuration cannot name it", dir)
	}
	r := root{dir: dir, apt: tool}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "state", "etc/empty.d"} {
		if err := os.MkdirAll(r.path(d), 0o755); err != nil {
			return root{}, err
		}
	}
	if err := os.WriteFile(r.path("apt.conf"), []byte(r.config()), 0o644); err != nil {
		return root{}, err
	}
	return r, r.setInstalled(nil)
}

func (r root) path(name string) string { return filepath.Join(r.dir, filepath.FromSlash(name)) }

// config is the whole configuration: apt.conf(5) reads the file that APT_CONFIG
// names before the directories of configuration, which it here sets to an empty one.
func (r root) config() string {
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "%s %q;\n", key, value) }
	set("Dir", r.dir)
	set("Dir::State", r.path("state"))
	set("Dir::State::lists", r.path("lists"))
	set("Dir::State::status", r.path("status"))
	set("Dir::Cache", r.path("cache"))
	set("Dir::Log", r.path("state"))
	set("Dir::Etc", r.path("etc"))
	set("Dir::Etc::sourcelist", r.path("etc/sources.list"))
	for _, file := range []string{"main", "netrc", "preferences", "trusted"} {
		set("Dir::Etc::"+file, r.path("etc/none"))
	}
	for _, parts := range []string{"parts", "sourceparts", "netrcparts", "preferencesparts", "trustedparts"} {
		set("Dir::Etc::"+parts, r.path("etc/empty.d"))
	}
	set("APT::Architecture", "amd64")
	b.WriteString("#clear APT::Architectures;\n")
	set("APT::Architectures::", "amd64")
	set("APT::Install-Recommends", "false")
	set("APT::Install-Suggests", "false")
	// The directory need not be one that another user can enter.
	set("APT::Sandbox::User", "root")
	set("APT::Update::Error-Mode", "any")
	set("APT::Get::List-Cleanup", "false")
	set("Acquire::Languages", "none")
	set("Acquire::Retries", "4")
	set("Acquire::http::Timeout", "30")
	set("Acquire::https::Timeout", "30")
	// Otherwise apt holds itself for essential.
	set("pkgCacheGen::ForceEssential", ",")
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		set("Acquire::https::CaInfo", file)
	}
	return b.String()
}

// environment is what apt-get sees of this machine's.
func (r root) environment() []string {
	env := []string{"APT_CONFIG=" + r.path("apt.conf"), "LC_ALL=C", "TZ=UTC", "HOME=" + r.dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// run runs apt-get and returns what it wrote to stdout.
func (r root) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.apt, append([]string{"--quiet"}, args...)...)
	cmd.Env, cmd.Dir = r.environment(), r.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, &RunError{Messages: messages(stdout.Bytes(), stderr.Bytes()), Err: err, stdout: stdout.String()}
	}
	return stdout.Bytes(), nil
}

// maxMessages bounds what an error repeats of apt's, in lines.
const maxMessages = 12

// messages picks apt's errors, and the lines of what apt could not satisfy.
func messages(stdout, stderr []byte) []string {
	var out []string
	for line := range strings.Lines(string(stderr)) {
		if strings.HasPrefix(line, "E: ") || strings.HasPrefix(line, "W: ") {
			out = append(out, address.Redact(strings.TrimSpace(line[3:])))
		}
	}
	if _, unmet, ok := strings.Cut(string(stdout), "unmet dependencies:\n"); ok {
		for line := range strings.Lines(unmet) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	if len(out) > maxMessages {
		out = append(out[:maxMessages], "and more")
	}
	return out
}

// setInstalled writes the status file: these packages, installed.
func (r root) setInstalled(installed []debian.Stanza) error {
	var b strings.Builder
	for _, s := range installed {
		// Filename, Size and hashes are fields of lists, not of dpkg's status.
		s = s.Without("Filename", "Size", "MD5sum", "SHA1", "SHA256", "Description-md5", "Conffiles")
		b.WriteString(s.With("Status", "install ok installed").String())
	}
	if err := os.WriteFile(r.path("status"), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing package status: %w", err)
	}
	return nil
}

// update gets the lists of a suite and of its updates, from the first mirror of
// each that has them, and leaves only those in the root.
func (r root) update(ctx context.Context, suite string, mirrors Mirrors) error {
	task := progress.Start(ctx, "lock", "package lists of "+suite)
	var sources []string
	for _, part := range []struct {
		suite    string
		mirrors  []string
		optional bool
	}{{suite, mirrors.Archive, false}, {suite + "-updates", mirrors.Archive, true}, {suite + "-security", mirrors.Security, true}} {
		source, err := r.updateOne(ctx, part.suite, part.mirrors)
		var missing *SuiteError
		if errors.As(err, &missing) && part.optional {
			task.Tell(missing.Error())
			continue
		}
		if err != nil {
			task.End(err)
			return err
		}
		sources = append(sources, source)
	}
	err := r.setSources(sources)
	task.End(err)
	return err
}

// updateOne gets one suite's list. The error is a [*SuiteError] when every mirror
// answered that it has no such suite.
func (r root) updateOne(ctx context.Context, suite string, mirrors []string) (string, error) {
	var failed error
	missing := &SuiteError{Suite: suite, Detail: "no mirror is configured"}
	for _, mirror := range mirrors {
		if strings.ContainsAny(mirror, " \t\n[]") {
			return "", fmt.Errorf("mirror %q: not an address", address.One(mirror))
		}
		source := fmt.Sprintf("deb [signed-by=%s arch=amd64] %s %s main", keyring, mirror, suite)
		if err := r.setSources([]string{source}); err != nil {
			return "", err
		}
		// Apt would index the lists at once, and again when it is asked.
		_, err := r.run(ctx, "--option", "pkgCacheFile::Generate=false", "update")
		var run *RunError
		switch {
		case err == nil:
			return source, nil
		case errors.As(err, &run) && run.notFound():
			missing.Detail = strings.Join(run.Messages, "; ")
		default:
			failed = err
		}
		if ctx.Err() != nil {
			return "", err
		}
	}
	if failed != nil {
		return "", failed
	}
	return "", missing
}

// notFound says that a mirror answered, and has no such suite. Apt gives no other
// sign of it than its words and those of its methods: http's and file's.
func (e *RunError) notFound() bool {
	answered := strings.Contains(e.stdout, "404  Not Found") || strings.Contains(e.stdout, "File not found - ")
	return answered && slices.ContainsFunc(e.Messages, func(m string) bool { return strings.Contains(m, "does not have a Release file") })
}

func (r root) setSources(sources []string) error {
	text := strings.Join(sources, "\n") + "\n"
	if err := os.WriteFile(r.path("etc/sources.list"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing apt's sources: %w", err)
	}
	return nil
}
