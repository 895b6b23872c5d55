package config

import (
	"cmp"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// The variables that this package reads.
const (
	storeVariable = "AMPOULE_STORE"
	// The service that works in this machine's place, and the token that it knows the caller by.
	serverVariable = "AMPOULE_SERVER"
	tokenVariable  = "AMPOULE_TOKEN" //nolint:gosec // a name, not a token
	// keptVariable holds the places that keep inputs, separated by spaces, and replaces the
	// file's.
	keptVariable = "AMPOULE_KEPT"
	// policyVariable is the path of the policy, signKeyVariable that of the key that signs; they
	// replace the file's.
	policyVariable  = "AMPOULE_POLICY"
	signKeyVariable = "AMPOULE_SIGN_KEY"
	// SourcePrefix begins the variables that hold a source's mirrors, separated by spaces.
	SourcePrefix = "AMPOULE_SOURCE_"

	homeVariable = "HOME"
	// profileVariable is what Windows sets in the place of HOME.
	profileVariable    = "USERPROFILE"
	dataHomeVariable   = "XDG_DATA_HOME"
	configHomeVariable = "XDG_CONFIG_HOME"

	// What a job of GitHub Actions asks for an ID token with.
	actionsURLVariable   = "ACTIONS_ID_TOKEN_REQUEST_URL"
	actionsTokenVariable = "ACTIONS_ID_TOKEN_REQUEST_TOKEN" //nolint:gosec // a name, not a token

	certFileVariable = "SSL_CERT_FILE"

	engineVariable = "DOCKER_HOST"
	termVariable   = "TERM"

	// cgiVariable is set where a server runs the program for a request. There HTTP_PROXY
	// may be the request's header "Proxy".
	cgiVariable = "REQUEST_METHOD"
)

// proxyVariables name proxies, and whom to reach without them. Programs differ in which
// spelling they read.
var proxyVariables = []string{"http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"}

// environment is an environment as os.Environ has it.
type environment []string

// get gives a variable's value; the last one counts. What is not set is empty.
func (e environment) get(name string) string {
	value, _ := e.lookup(name)
	return value
}

func (e environment) lookup(name string) (value string, ok bool) {
	for _, entry := range slices.Backward(e) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// home is where ~ is; empty where nobody says.
func (e environment) home() string { return cmp.Or(e.get(homeVariable), e.get(profileVariable)) }

// store is the store's directory: the variable's, else "ampoule" in the user's data directory
// (XDG Base Directory Specification: XDG_DATA_HOME where it is absolute, else ~/.local/share).
func (e environment) store() string {
	if dir := e.get(storeVariable); dir != "" {
		return dir
	}
	if data := e.get(dataHomeVariable); filepath.IsAbs(data) {
		return filepath.Join(data, "ampoule")
	}
	if home := e.home(); home != "" {
		return filepath.Join(home, ".local", "share", "ampoule")
	}
	return ""
}

// file is where the user's configuration is; empty where there is no place for it.
func (e environment) file() string {
	if dir := e.get(configHomeVariable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ampoule", "config.toml")
	}
	if home := e.home(); home != "" {
		return filepath.Join(home, ".config", "ampoule", "config.toml")
	}
	return ""
}

func (e environment) network() Network {
	n := Network{CertFile: e.get(certFileVariable), cgi: e.get(cgiVariable) != ""}
	for _, name := range proxyVariables {
		if value, ok := e.lookup(name); ok {
			n.Proxies = append(n.Proxies, name+"="+value)
		}
	}
	return n
}

// Network is how other machines are reached. The zero Network has no proxies.
type Network struct {
	// Proxies are the variables that name proxies, as NAME=value, as they were set. They may
	// hold passwords: they are for clients, never for a message, a log or a lock.
	Proxies []string
	// CertFile is the path of a bundle of certificates; empty is the system's.
	CertFile string

	cgi bool
}

// Proxy gives the proxy of a URL, as Go's own clients choose it; nil where it is reached
// without one.
func (n Network) Proxy(to *url.URL) (*url.URL, error) {
	set := environment(n.Proxies)
	either := func(upper, lower string) string { return cmp.Or(set.get(upper), set.get(lower)) }
	c := httpproxy.Config{
		HTTPProxy: either("HTTP_PROXY", "http_proxy"), HTTPSProxy: either("HTTPS_PROXY", "https_proxy"),
		NoProxy: either("NO_PROXY", "no_proxy"), CGI: n.cgi,
	}
	return c.ProxyFunc()(to)
}
