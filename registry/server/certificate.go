package server

import (
	"crypto/tls"
	"os"
	"sync"
	"time"

	"ampoule/faults"
)

// pair is a certificate with its key, in files that somebody may replace at any time.
type pair struct {
	certificate, key string
	warn             func(format string, args ...any)
	mu               sync.Mutex
	loaded           *tls.Certificate
	// state is what the files were like when they were last read, whatever came of it.
	state [2]fileState
}

// fileState changes when a file does.
type fileState struct {
	mod  time.Time
	size int64
}

// openPair reads both files.
func openPair(certificate, key string, warn func(format string, args ...any)) (*pair, error) {
	if certificate == "" || key == "" {
		return nil, faults.New(faults.Usage, "give both --tls-cert and --tls-key", "a certificate needs its key")
	}
	p := &pair{certificate: certificate, key: key, warn: warn}
	p.state = p.look()
	if err := p.load(); err != nil {
		return nil, faults.New(faults.Input, "both files are PEM; the certificate's has the chain below it", "reading the certificate %s with the key %s: %w", certificate, key, err)
	}
	return p, nil
}

func (p *pair) look() (state [2]fileState) {
	for i, name := range []string{p.certificate, p.key} {
		if info, err := os.Stat(name); err == nil {
			state[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return state
}

func (p *pair) load() error {
	loaded, err := tls.LoadX509KeyPair(p.certificate, p.key)
	if err == nil {
		p.loaded = &loaded
	}
	return err
}

// get gives the certificate for a connection, read anew where a file has changed. Files that do
// not fit, as while one of them is being replaced, change nothing.
func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if state := p.look(); state != p.state {
		p.state = state
		if err := p.load(); err != nil {
			p.warn("the certificate is not read anew: %v", err)
		}
	}
	return p.loaded, nil
}
