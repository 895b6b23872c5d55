package config

import (
	"fmt"
	"os"
	"strings"
)

// Service is a service that works in this machine's place.
type Service struct {
	// URL is its address; empty where this machine works.
	URL string `toml:"url"`
	// TokenFile is the file with the token; Token is what a variable says of it.
	TokenFile string `toml:"token-file"`
	Token     string `toml:"-"`
	// ActionsURL and ActionsToken are what a job of GitHub Actions asks for an ID token with; empty
	// elsewhere.
	ActionsURL   string `toml:"-"`
	ActionsToken string `toml:"-"`
}

// NoService as an address says that this machine works, whatever else is set.
const NoService = "none"

// service is what file and environment say of it.
func (r *reading) service(env environment) Service {
	s := r.parsed.Server
	if url := env.get(serverVariable); url != "" {
		s.URL = url
	}
	s.Token = env.get(tokenVariable)
	s.ActionsURL, s.ActionsToken = env.get(actionsURLVariable), env.get(actionsTokenVariable)
	return s
}

// At is the service with another address, as a flag gives it; empty leaves it as it is.
func (s Service) At(url string) Service {
	if url != "" {
		s.URL = url
	}
	if s.URL == NoService {
		s.URL = ""
	}
	return s
}

// maxToken bounds a file with a token, in bytes.
const maxToken = 4 << 10

// Secret is the token; empty where none is set.
func (s Service) Secret() (string, error) {
	if s.Token != "" || s.TokenFile == "" {
		return strings.TrimSpace(s.Token), nil
	}
	text, err := os.ReadFile(s.TokenFile)
	if err != nil {
		return "", fmt.Errorf("reading the token of %s: %w", s.URL, err)
	}
	if len(text) > maxToken {
		return "", &Error{Where: s.TokenFile, Msg: "it is larger than a token"}
	}
	return strings.TrimSpace(string(text)), nil
}
