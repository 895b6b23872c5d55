package embedded

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// ownHost is the host that requests inside a store name.
const ownHost = "store.localhost"

// hosts are the names that a server answers to. A browser that a foreign page has led to
// this address by its own name (DNS rebinding) names another one.
type hosts []string

// allow reports whether a request names this server: by a loopback name or address, by one
// of its names, or by the address that it came to.
func (h hosts) allow(r *http.Request) bool {
	name := hostOf(r.Host)
	if isLoopbackName(name) || slices.Contains(h, name) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	ip := net.ParseIP(name)
	return ok && ip != nil && ip.Equal(local.IP)
}

// hostOf is a Host header's name or address, in lower case, without its port and a name's last dot.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// isLoopbackName tells names and addresses of this machine alone (RFC 6761, section 6.3).
func isLoopbackName(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || net.ParseIP(name).IsLoopback()
}

func misdirected(w http.ResponseWriter, host string) {
	refuse(w, http.StatusMisdirectedRequest, "DENIED", fmt.Sprintf("this registry does not answer for the host %q", host))
}
