package protocol

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// Hosts are the names that a server answers to. A browser that a foreign page has led to
// this address by its own name (DNS rebinding) names another one.
type Hosts []string

// NewHosts returns the hosts of addresses such as registry.example or 127.0.0.1:5000. An
// address that stands for all of a machine's, such as 0.0.0.0, names none.
func NewHosts(addresses ...string) Hosts {
	var names Hosts
	for _, address := range addresses {
		if name := HostOf(address); name != "" && !net.ParseIP(name).IsUnspecified() {
			names = append(names, name)
		}
	}
	return names
}

// Allow reports whether a request names this server: by a loopback name or address, by one
// of its names, or by the address that it came to.
func (h Hosts) Allow(r *http.Request) bool {
	name := HostOf(r.Host)
	if IsLoopbackName(name) || slices.Contains(h, name) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	ip := net.ParseIP(name)
	return ok && ip != nil && ip.Equal(local.IP)
}

// HostOf is a Host header's name or address, in lower case, without its port and a name's last dot.
func HostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// IsLoopbackName reports whether it is a name or an address of this machine alone (RFC 6761,
// section 6.3).
func IsLoopbackName(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || net.ParseIP(name).IsLoopback()
}

// Misdirected answers a request that names another host.
func Misdirected(w http.ResponseWriter, host string) {
	Refuse(w, http.StatusMisdirectedRequest, "DENIED", fmt.Sprintf("this registry does not answer for the host %q", host))
}
