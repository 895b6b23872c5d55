package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"path"
	"strings"
	"time"
)

// Serve answers pulls on an address such as 127.0.0.1:5000 until ctx is done. It
// tells ready, once, the address it listens on. Nobody is asked for credentials,
// so nobody can push: only reading is answered, and only requests that name this server:
// by the host of listen, by one of names, by the address that they came to, or by a
// loopback name. It serves whichever process holds the lock.
func (r *Registry) Serve(ctx context.Context, listen string, names []string, ready func(address string)) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", listen, err)
	}
	server := &http.Server{Handler: r.Reader(append([]string{listen}, names...)...), ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		timeout, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err := server.Shutdown(timeout)
		if err != nil {
			err = server.Close()
		}
		stopped <- err
	})
	ready(l.Addr().String())
	err = server.Serve(l)
	if stop() {
		return fmt.Errorf("serving on %s: %w", listen, err)
	}
	if err := <-stopped; err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("ending to serve on %s: %w", listen, err)
	}
	return nil
}

// Reader returns a handler that answers whatever only reads, for requests that name one of
// these hosts, the address that they came to, or a loopback name.
func (r *Registry) Reader(names ...string) http.Handler {
	var allowed hosts
	for _, name := range names {
		name = hostOf(name)
		if name != "" && !net.ParseIP(name).IsUnspecified() {
			allowed = append(allowed, name)
		}
	}
	proxy := &httputil.ReverseProxy{
		Transport: r,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", p.In.Host
			p.Out.Header.Del(admissionHeader)
		},
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Del(holderHeader)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			refuse(w, http.StatusBadGateway, "UNKNOWN", err.Error())
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !allowed.allow(req) {
			misdirected(w, req.Host)
			return
		}
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only here")
			return
		}
		if !strings.HasPrefix(path.Clean("/"+req.URL.Path)+"/", "/v2/") {
			refuse(w, http.StatusNotFound, "UNSUPPORTED", "this is a registry")
			return
		}
		proxy.ServeHTTP(w, req)
	})
}
