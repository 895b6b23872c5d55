package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/journal"
	"ampoule/service/wire"
)

const adminTag = "administration"

func (s *Server) addAdmin() {
	add(s, anyToken, get("whoami", "/v1/whoami", "Says whose token it is, and what it is for", adminTag), s.whoami)
	add(s, needs(tokens.Admin), get("list-workers", "/v1/workers", "Lists the workers", adminTag), s.listWorkers)
	add(s, needs(tokens.Admin), get("list-tokens", "/v1/tokens", "Lists the tokens, without their secrets", adminTag), s.listTokens)
	add(s, needs(tokens.Admin), huma.Operation{
		OperationID: "create-token", Method: http.MethodPost, Path: "/v1/tokens", Summary: "Makes a token and shows it once", Tags: []string{adminTag},
		DefaultStatus: http.StatusCreated, Errors: []int{http.StatusUnprocessableEntity},
	}, s.createToken)
	add(s, needs(tokens.Admin), huma.Operation{
		OperationID: "revoke-token", Method: http.MethodDelete, Path: "/v1/tokens/{token}", Summary: "Ends a token at once", Tags: []string{adminTag},
		Errors: []int{http.StatusNotFound},
	}, s.revokeToken)
}

type whoOutput struct{ Body wire.Who }

func (s *Server) whoami(_ context.Context, caller access.Caller, _ *struct{}) (*whoOutput, error) {
	return &whoOutput{wire.Who{Name: caller.Name, ID: caller.ID, Issuer: caller.Issuer, Subject: caller.Subject, Scopes: texts(caller.Scopes), Trusted: caller.Trusted, Expires: caller.Expires}}, nil
}

func texts(scopes []tokens.Scope) []string {
	all := make([]string, len(scopes))
	for i, scope := range scopes {
		all[i] = scope.String()
	}
	return all
}

type workersOutput struct{ Body wire.Workers }

func (s *Server) listWorkers(ctx context.Context, caller access.Caller, _ *struct{}) (*workersOutput, error) {
	if err := ofAll(caller); err != nil {
		return nil, err
	}
	all, err := s.Queue.Workers(ctx)
	if err != nil {
		return nil, err
	}
	out := &workersOutput{wire.Workers{Workers: []wire.Worker{}}}
	for _, w := range all {
		out.Body.Workers = append(out.Body.Workers, wire.Worker{
			ID: w.ID, Name: w.Name, Host: w.Host, Version: w.Version, Platform: w.Platform, Labels: w.Labels, Slots: w.Slots,
			Draining: w.Draining, Alive: w.Alive, Begun: w.Begun, Seen: w.Seen, Builds: w.Builds,
		})
	}
	return out, nil
}

// ofAll refuses administrators of some names alone: what belongs to no name is not theirs.
func ofAll(caller access.Caller) error { return caller.RequireAll(tokens.Admin) }

type tokensOutput struct{ Body wire.Tokens }

func (s *Server) listTokens(_ context.Context, caller access.Caller, _ *struct{}) (*tokensOutput, error) {
	if err := ofAll(caller); err != nil {
		return nil, err
	}
	if s.Book == nil {
		return nil, missing("tokens of its own")
	}
	all, err := s.Book.List()
	if err != nil {
		return nil, err
	}
	out := &tokensOutput{wire.Tokens{Tokens: []wire.Token{}}}
	for _, t := range all {
		out.Body.Tokens = append(out.Body.Tokens, token(t))
	}
	return out, nil
}

func token(t tokens.Token) wire.Token {
	return wire.Token{ID: t.ID, Name: t.Name, Scopes: texts(t.Scopes), Created: t.Created, Expires: t.Expires, Revoked: t.Revoked}
}

type createInput struct {
	Body struct {
		Name    string    `json:"name" maxLength:"64" doc:"For people, and for audit logs"`
		Scopes  []string  `json:"scopes" minItems:"1" maxItems:"100" doc:"What it allows, such as build:team/* or promote:team/*→prod"`
		Expires time.Time `json:"expires,omitzero" doc:"Until when it counts; without it, for 90 days"`
	}
}

type tokenOutput struct{ Body wire.Token }

// usualLife is how long a token counts, unless told otherwise.
const usualLife = 90 * 24 * time.Hour

func (s *Server) createToken(ctx context.Context, caller access.Caller, in *createInput) (*tokenOutput, error) {
	if err := ofAll(caller); err != nil {
		return nil, err
	}
	if s.Book == nil {
		return nil, missing("tokens of its own")
	}
	scopes := make([]tokens.Scope, len(in.Body.Scopes))
	for i, text := range in.Body.Scopes {
		var err error
		if scopes[i], err = tokens.ParseScope(text); err != nil {
			return nil, err
		}
	}
	expires := in.Body.Expires
	if expires.IsZero() {
		expires = time.Now().Add(usualLife)
	}
	t, secret, err := s.Book.Create(in.Body.Name, scopes, expires)
	if err != nil {
		return nil, err
	}
	s.audited(ctx, "create token", journal.Fields{"token": t.Name, "scopes": strings.Join(texts(t.Scopes), " ")})
	out := &tokenOutput{token(t)}
	out.Body.Secret = secret
	return out, nil
}

type revokeInput struct {
	Token string `path:"token" maxLength:"64" doc:"Its name or its ID"`
}

func (s *Server) revokeToken(ctx context.Context, caller access.Caller, in *revokeInput) (*tokenOutput, error) {
	if err := ofAll(caller); err != nil {
		return nil, err
	}
	if s.Book == nil {
		return nil, missing("tokens of its own")
	}
	t, err := s.Book.Revoke(in.Token)
	if err != nil {
		return nil, err
	}
	s.audited(ctx, "revoke token", journal.Fields{"token": t.Name})
	return &tokenOutput{token(t)}, nil
}
