package apt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/address"
	"ampoule/builder/progress"
	"ampoule/builder/toolchain/debian"
	"ampoule/config"
)

// keyring holds the keys of Debian's archives; the package debian-archive-keyring has it.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// root is a directory that apt takes for the whole machine. What is written for apt to
// read is this process's, what apt writes is in directories of its own: as another user
// it can lead this process to no other file.
type root struct {
	dir string
	apt string
	as  user
	// network is how mirrors are reached.
	network config.Network
	// hasCerts says that certificates were copied into the root.
	hasCerts bool
}

// written are the directories that apt writes to.
var written = []string{"lists", "lists/partial", "lists/auxfiles", "cache", "cache/archives", "cache/archives/partial", "state"}

// newRoot makes the root, and forgets what an earlier one had installed.
func newRoot(dir string, network config.Network) (root, error) {
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
	as, err := unprivileged()
	if err != nil {
		return root{}, err
	}
	if err := as.canEnter(filepath.Dir(dir)); err != nil {
		return root{}, err
	}
	r := root{dir: dir, apt: tool, as: as, network: network}
	if err := r.makeDirs(); err != nil {
		return root{}, err
	}
	if r.hasCerts, err = r.copyCerts(); err != nil {
		return root{}, err
	}
	if err := r.write("apt.conf", r.config()); err != nil {
		return root{}, err
	}
	return r, r.setInstalled(nil)
}

// makeDirs makes the root's directories: apt's user can enter all, and write to its own.
func (r root) makeDirs() error {
	for _, d := range append([]string{".", "etc", "etc/empty.d"}, written...) {
		if err := os.MkdirAll(r.path(d), 0o700); err != nil {
			return err
		}
		owner := 0
		if slices.Contains(written, d) {
			owner = r.as.id
		}
		if err := r.as.give(r.path(d), owner, 0o750); err != nil {
			return fmt.Errorf("making apt's directories: %w", err)
		}
	}
	return nil
}

// write writes a file that apt's user can read, and nobody else.
func (r root) write(name, text string) error {
	if err := os.WriteFile(r.path(name), []byte(text), 0o600); err != nil {
		return err
	}
	return r.as.give(r.path(name), 0, 0o640)
}

// maxCerts bounds a bundle of certificates, in bytes.
const maxCerts = 16 << 20

// copyCerts copies the certificates that the network has, which apt's user need not
// be able to read where they are.
func (r root) copyCerts() (bool, error) {
	if r.network.CertFile == "" {
		return false, nil
	}
	f, err := os.Open(r.network.CertFile)
	if err != nil {
		return false, fmt.Errorf("reading certificates: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCerts))
	if err != nil {
		return false, fmt.Errorf("reading certificates: %w", err)
	}
	return true, r.write(certs, string(data))
}

// certs is where the root has certificates.
const certs = "etc/ca-certificates.crt"

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
	set("APT::Update::Error-Mode", "any")
	set("APT::Get::List-Cleanup", "false")
	// What is not signed by the keyring, lately and with sound hashes, is an error. These
	// are apt's own defaults, but for the last three.
	for _, insecure := range []string{
		"APT::Get::AllowUnauthenticated", "Acquire::AllowInsecureRepositories", "Acquire::AllowWeakRepositories",
		"Acquire::AllowDowngradeToInsecureRepositories", "Acquire::AllowReleaseInfoChange",
		"Acquire::http::AllowRedirect", "Acquire::https::AllowRedirect", "Acquire::EnableSrvRecords",
	} {
		set(insecure, "false")
	}
	set("Acquire::Check-Date", "true")
	set("Acquire::https::Verify-Peer", "true")
	set("Acquire::https::Verify-Host", "true")
	// What comes before a signature is checked is bounded by this alone, in bytes.
	set("Acquire::MaxReleaseFileSize", "10000000")
	set("Acquire::Languages", "none")
	set("Acquire::Retries", "4")
	set("Acquire::http::Timeout", "30")
	set("Acquire::https::Timeout", "30")
	// The root is used by this process alone; dpkg's lock would be beside the status,
	// where apt may write nothing.
	set("Debug::NoLocking", "true")
	// Otherwise apt holds itself for essential.
	set("pkgCacheGen::ForceEssential", ",")
	if r.hasCerts {
		set("Acquire::https::CaInfo", r.path(certs))
	}
	return b.String()
}

// environment is what apt-get sees. With a network it sees the proxies, too.
func (r root) environment(network bool) []string {
	env := []string{"APT_CONFIG=" + r.path("apt.conf"), "LC_ALL=C", "TZ=UTC", "HOME=" + r.path("state"), "TMPDIR=" + r.path("cache"), "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if network {
		env = append(env, r.network.Proxies...)
	}
	return env
}

// run runs apt-get without a network and returns what it wrote to stdout.
func (r root) run(ctx context.Context, args ...string) ([]byte, error) {
	return r.apply(ctx, false, args...)
}

// maxOutput bounds what apt-get prints, in bytes.
const maxOutput = 64 << 20

// apply runs apt-get, with a network or, where this process may take it away, without.
func (r root) apply(ctx context.Context, network bool, args ...string) ([]byte, error) {
	cmd := r.as.command(ctx, network, append([]string{r.apt, "--quiet"}, args...)...)
	cmd.Env, cmd.Dir = r.environment(network), r.dir
	stdout, stderr := &bounded{}, &bounded{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if stdout.over || stderr.over {
		err = errOutput
	}
	if err != nil {
		return nil, &RunError{Messages: messages(stdout.kept.Bytes(), stderr.kept.Bytes()), Err: err, stdout: stdout.kept.String()}
	}
	return stdout.kept.Bytes(), nil
}

var errOutput = fmt.Errorf("more than %d bytes of output", maxOutput)

// bounded keeps what is written, and ends whoever writes more than [maxOutput].
type bounded struct {
	kept bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.kept.Len()+len(p) > maxOutput {
		b.over = true
		return 0, errOutput
	}
	return b.kept.Write(p)
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
	if err := r.write("status", b.String()); err != nil {
		return fmt.Errorf("writing package status: %w", err)
	}
	return nil
}

// update gets the lists of a suite, of its updates and of its security updates, from the
// first mirror of each that has them, and leaves only those in the root. A part that no
// mirror has is a [*SuiteError], unless mirrors say that they do without it.
func (r root) update(ctx context.Context, suite string, mirrors Mirrors) (err error) {
	task := progress.Start(ctx, progress.StageLock, "package lists of "+suite)
	defer func() { task.End(err) }()
	var sources []string
	for _, part := range []struct {
		name    string
		mirrors []string
	}{{"", mirrors.Archive}, {"updates", mirrors.Archive}, {"security", mirrors.Security}} {
		if part.name != "" && slices.Contains(mirrors.Without, part.name) {
			task.Tell(fmt.Sprintf("Debian %s is locked without its %s, as the configuration says", suite, part.name))
			continue
		}
		name := strings.TrimSuffix(suite+"-"+part.name, "-")
		source, err := r.updateOne(ctx, name, part.mirrors)
		var missing *SuiteError
		if errors.As(err, &missing) {
			missing.Part = part.name
		}
		if err != nil {
			return err
		}
		sources = append(sources, source)
	}
	return r.setSources(sources)
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
		// Apt would have links lead to a directory's files; these stand where it may write.
		if dir, ok := strings.CutPrefix(mirror, "file:"); ok {
			mirror = "copy:" + dir
		}
		source := fmt.Sprintf("deb [signed-by=%s arch=amd64] %s %s main", keyring, mirror, suite)
		if err := r.setSources([]string{source}); err != nil {
			return "", err
		}
		// Apt would index the lists at once, and again when it is asked.
		_, err := r.apply(ctx, true, "--option", "pkgCacheFile::Generate=false", "update")
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
// sign of it than its words and those of its methods: http's and copy's.
func (e *RunError) notFound() bool {
	answered := strings.Contains(e.stdout, "404  Not Found") || strings.Contains(e.stdout, "(2: No such file or directory)")
	return answered && slices.ContainsFunc(e.Messages, func(m string) bool { return strings.Contains(m, "does not have a Release file") })
}

func (r root) setSources(sources []string) error {
	text := strings.Join(sources, "\n") + "\n"
	if err := r.write("etc/sources.list", text); err != nil {
		return fmt.Errorf("writing apt's sources: %w", err)
	}
	return nil
}
