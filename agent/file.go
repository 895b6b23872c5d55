package agent

// File is an agent.yaml: which channel a host follows, and how.
//
// Its comments are the text of the editors' schema.
type File struct {
	// APIVersion says which form the file has. It is ampoule/v1.
	APIVersion string `yaml:"apiVersion" need:"yes" is:"API version"`
	// Channel is what is followed, as NAME:CHANNEL or HOST/NAME:CHANNEL.
	Channel string `yaml:"channel" need:"yes" is:"channel"`
	// Root is the directory that holds the releases.
	Root string `yaml:"root" need:"yes" is:"absolute path"`
	// Policy is the policy's file, relative to this one. Without it the machine's policy counts.
	Policy string `yaml:"policy" is:"text"`
	// Poll is how often the channel is looked at, give or take a tenth. It is 30s where nothing
	// is written.
	Poll string `yaml:"poll" is:"duration"`
	// Delay is how long after a promotion this host follows it. Going back is never delayed.
	Delay string `yaml:"delay" is:"duration"`
	// MaxStale is how old the channel's last entry may be before nothing is activated any more.
	// Without it any age will do.
	MaxStale string `yaml:"max-stale" is:"duration"`
	// Keep is how many releases stay on the host. It is 3 where nothing is written.
	Keep string `yaml:"keep" is:"number of releases"`
	// Smoke says how a release is tried before it is activated.
	Smoke *Smoke `yaml:"smoke"`
	// Restart is what has the host's programs use the new release.
	Restart *Restart `yaml:"restart"`
	// Watch says how the host is looked at after that.
	Watch *Watch `yaml:"watch"`
	// Report says where the host reports what it runs, and by which key.
	Report *Report `yaml:"report"`
}

// Smoke says how a release is tried before it is activated. The tests of the recipe are run in
// any case, where a build key has signed them.
type Smoke struct {
	// Imports are more modules to import.
	Imports []string `yaml:"imports" is:"module"`
	// Commands are more commands, each a program with its arguments. They are run one after the
	// other, without a shell and with the release's bin first in PATH.
	Commands [][]string `yaml:"commands" is:"argument"`
	// Timeout is how long all of it may take. It is 2m where nothing is written.
	Timeout string `yaml:"timeout" is:"duration"`
	// User is who runs it where the agent runs as root. It is nobody where nothing is written.
	User string `yaml:"user" is:"text"`
}

// Restart is what has the host's programs use the new release.
type Restart struct {
	// Command is a program with its arguments.
	Command []string `yaml:"command" need:"yes" is:"argument"`
	// Timeout is how long it may take. Then it is killed with all that it has started. It is 1m
	// where nothing is written.
	Timeout string `yaml:"timeout" is:"duration"`
}

// Watch says how the host is looked at after a release was activated.
type Watch struct {
	// For is how long.
	For string `yaml:"for" need:"yes" is:"duration"`
	// Every is how often. It is 10s where nothing is written.
	Every string `yaml:"every" is:"duration"`
	// Timeout is how long one look may take. It is 5s where nothing is written.
	Timeout string `yaml:"timeout" is:"duration"`
	// Failures is how many looks must fail, one after the other, for the release to be bad. It is
	// 3 where nothing is written.
	Failures string `yaml:"failures" is:"count"`
	// URL is asked with GET, and must answer with a status from 200 to 299.
	URL string `yaml:"url" is:"web address"`
	// Command must end with status 0.
	Command []string `yaml:"command" is:"argument"`
}

// Report says where the host reports what it runs, and by which key.
type Report struct {
	// Host is the name of this host, and of its key where reports are read. It is the machine's
	// own name where nothing is written.
	Host string `yaml:"host" is:"host name"`
	// Directory is where reports are written, relative to this file.
	Directory string `yaml:"directory" is:"text"`
	// Service is a service that reports are pushed to, beside the directory or without one.
	Service *ReportService `yaml:"service"`
	// Key is the file of the host's key, relative to this file.
	Key string `yaml:"key" need:"yes" is:"text"`
	// PassphraseFile is the file with the key's passphrase, relative to this file.
	PassphraseFile string `yaml:"passphrase-file" need:"yes" is:"text"`
	// Every is how often a report is written where nothing has changed. It is 1h where nothing is
	// written.
	Every string `yaml:"every" is:"duration"`
}

// ReportService is a service that reports are pushed to (ampoule serve).
type ReportService struct {
	// URL is its address: https, or http to this machine.
	URL string `yaml:"url" need:"yes" is:"web address"`
	// TokenFile is the file with a token that reads the channel's repository, relative to this file.
	// It is read for each report.
	TokenFile string `yaml:"token-file" need:"yes" is:"text"`
}
