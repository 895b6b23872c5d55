package issuers

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"ampoule/faults"
	"ampoule/registry/tokens"
)

// Way is an issuer by which people log in.
type Way struct {
	// Name is the issuer's in addresses, Title what people call it.
	Name, Title string
}

// Ways lists by whom people log in, as the access file has them.
func (s *Issuers) Ways() []Way {
	var all []Way
	for _, i := range s.all {
		if i.Login == nil {
			continue
		}
		w := Way{i.Name, i.Login.Title}
		if w.Title == "" {
			w.Title = i.Name
		}
		all = append(all, w)
	}
	return all
}

// Session is how long people stay logged in at most.
func (s *Issuers) Session() time.Duration { return s.settings.Session }

// Flow is what a browser keeps while its user is at the issuer. It is secret: whoever keeps it seals
// it.
type Flow struct {
	// State comes back with the answer (RFC 6749, 10.12), Nonce in the ID token, and Verifier proves
	// that who asks for the token is who began (RFC 7636).
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
}

// errNoWay says that nobody logs in by an issuer.
var errNoWay = faults.New(faults.NotFound, "", "nobody logs in that way")

func (s *Issuers) way(name string) (*issuer, error) {
	n := slices.IndexFunc(s.all, func(i *issuer) bool { return i.Name == name && i.Login != nil })
	if n < 0 {
		return nil, errNoWay
	}
	return s.all[n], nil
}

// client is this service as a client of the issuer.
func (i *issuer) client(k *known, back string) oauth2.Config {
	endpoint := k.provider.Endpoint()
	var said struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	_ = k.provider.Claims(&said) // it was read before
	// What says nothing takes Basic (OpenID Connect Discovery 1.0, 3). A public client has no secret
	// to send in a header.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if i.secret == "" || len(said.Methods) > 0 && !slices.Contains(said.Methods, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	scopes := i.Login.Scopes
	if scopes == nil {
		scopes = []string{oidc.ScopeProfile, oidc.ScopeEmail}
	}
	return oauth2.Config{
		ClientID: i.Login.Client, ClientSecret: i.secret, Endpoint: endpoint, RedirectURL: back, Scopes: append([]string{oidc.ScopeOpenID}, scopes...),
	}
}

// Begin says where a browser goes to log in, and what it keeps meanwhile. It comes back to the address
// back.
func (s *Issuers) Begin(ctx context.Context, name, back string) (to string, f Flow, err error) {
	i, err := s.way(name)
	if err != nil {
		return "", f, err
	}
	k, err := i.learn(ctx)
	if err != nil {
		return "", f, err
	}
	f = Flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	client := i.client(k, back)
	return client.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), f, nil
}

// Answer is what a browser brings back from an issuer.
type Answer struct {
	State, Code string
	// Error is the issuer's word for why it gives no code (RFC 6749, 4.1.2.1), Issuer who answers,
	// where that is said (RFC 9207).
	Error, Issuer string
}

// Person is somebody who has logged in: what the issuer has said of them, as far as a rule can ask.
type Person struct {
	Issuer string              `json:"i"`
	Claims map[string][]string `json:"c"`
}

// word is the form of an issuer's word for an error.
var word = regexp.MustCompile(`^[a-z_]{1,64}$`)

// Finish has an issuer say who comes back from it. Errors that do not say that the issuer is away are
// about the answer: it belongs to no flow of this browser, or the issuer does not stand by it.
func (s *Issuers) Finish(ctx context.Context, name, back string, f Flow, a Answer) (Person, error) {
	i, err := s.way(name)
	if err != nil {
		return Person{}, err
	}
	again := "begin again from the page for logging in"
	switch {
	case f.State == "" || subtle.ConstantTimeCompare([]byte(f.State), []byte(a.State)) != 1:
		return Person{}, faults.New(faults.Refused, again, "this browser has not begun to log in, or too long ago")
	case a.Issuer != "" && a.Issuer != i.URL:
		return Person{}, faults.New(faults.Refused, again, "somebody else than %s has answered", i.Name)
	case a.Error != "" && word.MatchString(a.Error):
		return Person{}, faults.New(faults.Refused, again, "%s has refused: %s", i.Name, a.Error)
	case a.Error != "" || a.Code == "":
		return Person{}, faults.New(faults.Refused, again, "%s has refused", i.Name)
	}
	k, err := i.learn(ctx)
	if err != nil {
		return Person{}, err
	}
	token, err := i.exchange(ctx, k, back, f, a.Code)
	if err != nil {
		return Person{}, err
	}
	c, nonce, err := i.verify(ctx, token, i.Login.Client)
	if err != nil {
		return Person{}, err
	}
	if subtle.ConstantTimeCompare([]byte(nonce), []byte(f.Nonce)) != 1 {
		return Person{}, faults.New(faults.Refused, again, "the token of issuer %s is of another login", i.Name)
	}
	return s.person(i, c), nil
}

// exchange gives the ID token for a code. What the issuer answers otherwise is not told: it may have
// the code in it.
func (i *issuer) exchange(ctx context.Context, k *known, back string, f Flow, code string) (string, error) {
	client := i.client(k, back)
	given, err := client.Exchange(context.WithValue(ctx, oauth2.HTTPClient, i.door.client()), code, oauth2.VerifierOption(f.Verifier))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode >= http.StatusInternalServerError:
		return "", &AwayError{i.Name, errors.New("it answers with " + refused.Response.Status)}
	case errors.As(err, &refused):
		why := refused.ErrorCode
		if !word.MatchString(why) {
			why = "it does not say why"
		}
		return "", faults.New(faults.Refused, "begin again; if it is so each time, look at client, secret-file and the address that the issuer sends people back to", "issuer %s does not take what it was given: %s", i.Name, why)
	case err != nil:
		return "", i.away(err)
	}
	token, ok := given.Extra("id_token").(string)
	if !ok {
		return "", &AwayError{i.Name, errors.New("it gives no ID token")}
	}
	return token, nil
}

// person keeps of claims what names somebody and what rules ask for. Of lists it keeps what some rule
// has a pattern for: somebody may be in hundreds of groups, and a cookie has four kilobytes.
func (s *Issuers) person(i *issuer, c claims) Person {
	p := Person{Issuer: i.Name, Claims: map[string][]string{"sub": c["sub"]}}
	if i.Caller != "" && c[i.Caller] != nil {
		p.Claims[i.Caller] = c[i.Caller]
	}
	for _, r := range s.settings.Rules {
		if r.Issuer != i.Name {
			continue
		}
		for name, wanted := range r.Match {
			for _, value := range c[name] {
				fits := slices.ContainsFunc(patterns(wanted), func(p string) bool { return tokens.Match(p, value) })
				if fits && !slices.Contains(p.Claims[name], value) {
					p.Claims[name] = append(slices.Clone(p.Claims[name]), value)
				}
			}
		}
	}
	return p
}

// Identify says who somebody is who has logged in, by the rules as they are now.
func (s *Issuers) Identify(p Person) (Identity, error) {
	i, err := s.way(p.Issuer)
	if err != nil {
		return Identity{}, err
	}
	return s.identity(i, maps.Clone(claims(p.Claims)))
}

// Encode writes a person for a place that is sealed.
func (p Person) Encode() (string, error) {
	data, err := json.Marshal(p)
	return string(data), err
}

// DecodePerson reads what [Person.Encode] has written.
func DecodePerson(text string) (p Person, err error) {
	err = json.Unmarshal([]byte(text), &p)
	return p, err
}
