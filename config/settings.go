package config

// Setting is one thing that can be set, and where. Of several places the first that says
// something counts: the flag, the variable, the key of the file, the default.
type Setting struct {
	// What is set.
	What string
	// Flag is of all commands, or of those in Of.
	Flag, Of string
	// Variables are of the environment; <NAME> stands for a source's name.
	Variables []string
	// Key is of config.toml; NAME stands for a source's name.
	Key     string
	Default string
	// Reader reads the variables, where it is not this package.
	Reader string
}

// Settings lists all settings.
func Settings() []Setting {
	return []Setting{
		{What: "the recipe; its lock stands beside it", Flag: "file", Default: "`ampoule.yaml`"},
		{What: "the store's directory", Flag: "store", Variables: []string{storeVariable}, Default: "`ampoule` in `$" + dataHomeVariable + "`, else in `~/.local/share`"},
		{What: "the registry", Flag: "registry", Default: "the service's, where one is named, else the store's own"},
		{What: "the service that works in this machine's place; `none` is none ([service](service.md))", Flag: "server", Variables: []string{serverVariable}, Key: "server.url", Default: "none"},
		{What: "the token that a service knows the caller by", Variables: []string{tokenVariable}, Default: "none"},
		{What: "what a job of GitHub Actions asks for an ID token with, where there is no other token ([service](service.md#id-tokens-of-others))", Variables: []string{actionsURLVariable, actionsTokenVariable}, Default: "none"},
		{What: "the file with that token", Key: "server.token-file", Default: "none"},
		{What: "the form of results", Flag: "output", Default: "`text`"},
		{What: "the form of progress", Flag: "progress", Variables: []string{termVariable}, Default: "`tty` on a terminal that is not `dumb`, else `plain`"},
		{What: "a file for a profile of the processor's time, which `go tool pprof` reads", Flag: "cpuprofile", Default: "none"},
		{What: "a file for a trace of the execution, which `go tool trace` reads", Flag: "trace", Default: "none"},
		{What: "the directory of `ampoule/config.toml`", Variables: []string{configHomeVariable}, Default: "`~/.config`"},
		{What: "where `~` is", Variables: []string{homeVariable, profileVariable}},
		{What: "the directory of user data", Variables: []string{dataHomeVariable}, Default: "`~/.local/share`"},

		{What: "a source's mirrors", Variables: []string{SourcePrefix + "<NAME>"}, Key: "sources.NAME.mirrors", Default: "what pip, apt and cargo are configured to use; none for `cpython` and sources of your own"},
		{What: "the index of Python packages, where no mirror of `pypi` is set", Variables: []string{"PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"}, Reader: "the downloader, as pip and uv read them", Default: "pip's"},
		{What: "how a source is laid out: `index`, `debian`, `files` or `cargo`", Key: "sources.NAME.kind", Default: "`index`; the known sources have theirs"},
		{What: "which mirrors of Debian serve the security archive", Key: "sources.NAME.security", Default: "those that end in `-security`"},
		{What: "what mirrors of Debian lack: `updates`, `security`", Key: "sources.NAME.without", Default: "nothing"},
		{What: "names of distributions that come from this source alone", Key: "sources.NAME.names", Default: "none"},
		{What: "who asks a source of kind `index`; without it the secret is a bearer token", Variables: []string{SourcePrefix + "<NAME>" + usernameSuffix}, Key: "sources.NAME.credentials.username", Default: "netrc's"},
		{What: "the secret for a source", Variables: []string{SourcePrefix + "<NAME>" + passwordSuffix}, Default: "none"},
		{What: "the file with a source's credentials", Variables: []string{SourcePrefix + "<NAME>" + netrcSuffix}, Key: "sources.NAME.credentials.netrc", Default: "`$NETRC`, else `~/.netrc`, for sources of kind `index`"},
		{What: "a program, with arguments, that prints the secret for a source", Variables: []string{SourcePrefix + "<NAME>" + commandSuffix}, Key: "sources.NAME.credentials.command", Default: "none"},
		{What: "the file with credentials where a source names none", Variables: []string{"NETRC"}, Reader: "the downloader", Default: "`~/.netrc`"},
		{What: "places that keep inputs", Variables: []string{keptVariable}, Key: "kept", Default: "none"},

		{What: "caches in registries, asked in this order; `none` is none", Flag: "cache", Of: "build, lock, ci build, ci run, add, remove, shell", Key: "cache.use", Default: "none"},
		{What: "the file with the private key that entries of the first cache are signed with", Flag: "cache-key", Of: "build, lock, ci build, ci run, add, remove, shell", Key: "cache.key", Default: "none: caches are read alone"},
		{What: "public keys whose entries of caches are used: PEM, or files with it", Key: "cache.trusted", Default: "that of `cache.key`"},
		{What: "public keys whose entries are not used any more: PEM, files with it, or `sha256:…`", Key: "cache.retired", Default: "none"},

		{What: "how long what nobody uses stays", Flag: "keep", Of: "store gc", Key: "store.keep", Default: "`30d`"},
		{What: "how much may be left in the store", Flag: "limit", Of: "store gc", Key: "store.limit", Default: "no bound"},
		{What: "how long published artifacts stay that nobody uses", Flag: "published", Of: "store gc", Key: "store.published", Default: "for ever"},

		{What: "where the store's registry is served", Flag: "listen", Of: "registry serve", Default: "`127.0.0.1:5000`"},
		{What: "tags that may be moved by who pushes to it; `*` stands for any text", Flag: "mutable", Of: "registry serve", Key: "registry.mutable", Default: "none but those beside artifacts"},
		{What: "the largest blob that it takes", Flag: "max-blob", Of: "registry serve", Default: "`10GiB`"},

		{What: "the policy that run, exec, install and channel obey ([trust](trust.md))", Variables: []string{policyVariable}, Key: "policy", Default: "none: everything may run"},
		{What: "the encrypted key that builds are signed with", Flag: "sign-key", Of: "build, ci build", Variables: []string{signKeyVariable}, Key: "sign.key", Default: "none: nothing is signed"},
		{What: "a program, with arguments, that signs instead: it gets the payload on stdin and prints the signature", Key: "sign.command", Default: "none"},
		{What: "the file of that program's public key", Key: "sign.public", Default: "none"},
		{What: "the file with the passphrase of the key", Flag: "passphrase-file", Of: "build, ci build, ci attest, channel approve, channel promote, channel rollback, channel revoke, channel freeze, channel unfreeze, channel refresh, channel restart, channel rules sign, keys generate, sign, trust sign", Key: "sign.passphrase-file", Default: "it is asked for on the terminal"},
		{What: "a program, with arguments, that prints the passphrase of the key", Key: "sign.passphrase-command", Default: "none"},
		{What: "the form of signatures: `legacy` or `bundle`", Flag: "form", Of: "sign, ci attest", Key: "sign.form", Default: "`legacy`"},
		{What: "how this builder is called in what it signs, as a URI", Key: "sign.builder", Default: "`urn:ampoule:key:` and the key's ID"},

		{What: "how many processors a build uses", Flag: "jobs", Of: "build", Default: "all"},
		{What: "how long a build step may take", Flag: "step-timeout", Of: "build, lock", Default: "`3h`"},
		{What: "the memory of a build step", Flag: "step-memory", Of: "build, lock", Default: "80 % of the machine's"},
		{What: "what a build step may write", Flag: "step-disk", Of: "build, lock", Default: "`32GiB`"},

		{What: "proxies, and hosts that are reached without one", Variables: proxyVariables, Default: "none"},
		{What: "that HTTP_PROXY does not count: a server runs the program for a request", Variables: []string{cgiVariable}, Default: "it counts"},
		{What: "a bundle of certificates", Variables: []string{certFileVariable}, Default: "the system's"},
		{What: "a directory of certificates", Variables: []string{"SSL_CERT_DIR"}, Reader: "Go, for connections of this program", Default: "the system's"},
		{What: "where Docker listens", Variables: []string{engineVariable}, Default: "Docker's usual socket"},
		{What: "how Docker is spoken to", Variables: []string{"DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"}, Reader: "Docker's client", Default: "no TLS, the newest version"},
		{What: "credentials of registries", Variables: []string{"DOCKER_CONFIG"}, Reader: "the client of registries, again each minute", Default: "`~/.docker`"},
		{What: "the directory of temporary files", Variables: []string{"TMPDIR"}, Reader: "Go", Default: "`/tmp`"},
		{What: "where pip, apt and cargo are found", Variables: []string{"PATH"}, Reader: "the downloader, and those programs"},
	}
}
