package issuers

import "ampoule/recipes"

// File is an access.yaml: whom a service knows beside those who have its own tokens, and what they
// may do.
//
// Its comments are the text of the editors' schema.
type File struct {
	// APIVersion says which form the file has. It is ampoule/v1.
	APIVersion string `yaml:"apiVersion" need:"yes" is:"API version"`
	// Issuers say who somebody is, by ID tokens that they sign (OpenID Connect).
	Issuers []Issuer `yaml:"issuers" need:"yes"`
	// Rules say what those may do whom issuers know. Who matches several rules may do what any of
	// them allows; who matches none may do nothing.
	Rules []Rule `yaml:"rules" need:"yes"`
	// Session is how long people stay logged in at the pages at most, in minutes (m) or hours (h).
	// Without it, 12h.
	Session string `yaml:"session" is:"session"`
	// Skew is how far an issuer's clock and this one may be apart, in seconds. Without it, 60s.
	Skew string `yaml:"skew" is:"skew"`
}

// Issuer is somebody who signs ID tokens.
type Issuer struct {
	// Name is what rules, lists and logs call the issuer.
	Name string `yaml:"name" need:"yes" is:"issuer name"`
	// URL is exactly what its tokens have as iss. It is asked there, and nowhere else, for its
	// description and its keys.
	URL string `yaml:"url" need:"yes" is:"issuer URL"`
	// Audience is what tokens that are sent as Bearer have as aud: a name of this service. Without it
	// none are taken.
	Audience string `yaml:"audience" is:"audience"`
	// Hosts are further hosts that the issuer's description may send this service to, such as one
	// that has its keys.
	Hosts []string `yaml:"hosts" is:"host" set:"yes"`
	// CA is a PEM file with the certificates that are believed beside the system's, relative to
	// this file.
	CA string `yaml:"ca" is:"text"`
	// Caller is the claim that callers are named by in lists and logs. Without it, sub. Take one
	// that nobody can choose freely. An email counts if the issuer says that it is verified.
	Caller string `yaml:"caller" is:"claim"`
	// Login lets people log in at the pages.
	Login *Login `yaml:"login"`
}

// Login is this service as a client of an issuer.
type Login struct {
	// Title is what the page for logging in calls the issuer. Without it, its name.
	Title string `yaml:"title" is:"title"`
	// Client is the ID that the issuer gave this service.
	Client string `yaml:"client" need:"yes" is:"client"`
	// SecretFile is the file with the client's secret, relative to this one. A public client has
	// none.
	SecretFile string `yaml:"secret-file" is:"text"`
	// Scopes are asked for beside openid. Without them, profile and email.
	Scopes []string `yaml:"scopes" is:"issuer's scope" set:"yes"`
}

// Rule says what those may do whose claims match.
type Rule struct {
	// Issuer is the name of the one who must have said so.
	Issuer string `yaml:"issuer" need:"yes" is:"issuer name"`
	// Match has for each claim a pattern, or several of which one must match; * stands for any text.
	// All claims must match. Names of repositories can be given to somebody else: take repository_id
	// or project_id where there is one.
	Match map[string]recipes.Setting `yaml:"match" need:"yes" keys:"claim" is:"claim pattern"`
	// Scopes are what they may do, such as build:team/* or promote:team/*→staging.
	Scopes []string `yaml:"scopes" need:"yes" is:"scope" set:"yes"`
	// Builds is trusted if what they have built may be written to caches and be promoted. Without
	// it, untrusted.
	Builds string `yaml:"builds" is:"trust"`
}
