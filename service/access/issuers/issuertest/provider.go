// Package issuertest is an issuer of ID tokens in this process: with discovery, keys that rotate, and
// the flow by which people log in (OpenID Connect Core 1.0, 3.1). Only tests import it.
package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Client and Secret are those of the one client that people log in to.
const (
	Client = "ampoule-pages"
	Secret = "client-secret-of-the-pages"
)

// Provider is an issuer. Its methods may be called from several goroutines.
type Provider struct {
	// URL is the issuer's.
	URL string
	t   testing.TB

	mu sync.Mutex
	// keys are those that it publishes, by their IDs; the last one signs.
	keys    []key
	away    bool
	answers func(w http.ResponseWriter, r *http.Request) bool
	asked   map[string]int
	// user are the claims of whoever logs in next; codes are those that were given out.
	user  map[string]any
	codes map[string]flow
	// Given is everything that was ever given out and is secret.
	given []string
}

// key is one that signs.
type key struct {
	id      string
	private crypto.Signer
}

// flow is what a code stands for.
type flow struct {
	query url.Values
	user  map[string]any
}

// New starts an issuer, whose keys are of RSA.
func New(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{t: t, asked: map[string]int{}, codes: map[string]flow{}}
	p.Rotate()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// one is a key for all tests of a process: making one takes a while.
var one = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// Rotate has the issuer sign with a new key, and publish no other one.
func (p *Provider) Rotate() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var private crypto.Signer
	var err error
	if len(p.keys) == 0 {
		private, err = one()
	} else {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.keys = []key{{rand.Text(), private}}
}

// Away has the issuer answer nobody, or everybody again.
func (p *Provider) Away(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
}

// Answer has a function answer requests first; it reports whether it did.
func (p *Provider) Answer(do func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = do
}

// Asked is how often a path was asked for.
func (p *Provider) Asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

// User says who logs in next.
func (p *Provider) User(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.user = claims
}

// Given lists all codes, verifiers and tokens that there were: nothing may tell them.
func (p *Provider) Given() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{Secret}, p.given...)
}

// Claims are those of a token that counts, with others laid over them; nil takes one away.
func (p *Provider) Claims(audience string, over map[string]any) map[string]any {
	now := time.Now().Unix()
	all := map[string]any{"iss": p.URL, "aud": audience, "sub": "somebody", "iat": now, "nbf": now, "exp": now + 300}
	maps.Copy(all, over)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// Token makes a token of claims, signed as its key signs.
func (p *Provider) Token(claims map[string]any) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.token(claims)
}

func (p *Provider) token(claims map[string]any) string {
	p.t.Helper()
	k := p.keys[len(p.keys)-1]
	text, err := sign(k.id, k.private, claims)
	if err != nil {
		p.t.Fatal(err)
	}
	p.given = append(p.given, text)
	return text
}

// Forged makes a token that the issuer has not signed: by the algorithms none, HS256 with the
// issuer's public key as its secret, or RS256 by somebody else's key.
func (p *Provider) Forged(algorithm string, claims map[string]any) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.keys[len(p.keys)-1]
	head := encode(p.t, map[string]string{"alg": algorithm, "kid": k.id, "typ": "JWT"}) + "." + encode(p.t, claims)
	switch algorithm {
	case "none":
		return head + "."
	case "HS256":
		mac := hmac.New(sha256.New, []byte(encode(p.t, public(k))))
		mac.Write([]byte(head))
		return head + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := sign(k.id, other, claims)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func encode(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// sign makes a JSON web token (RFC 7515, 7.1; the forms of signatures are RFC 7518's, 3.3 and 3.4).
func sign(id string, private crypto.Signer, claims map[string]any) (string, error) {
	algorithm := "RS256"
	if _, ok := private.(*ecdsa.PrivateKey); ok {
		algorithm = "ES256"
	}
	head, err := json.Marshal(map[string]string{"alg": algorithm, "kid": id, "typ": "JWT"})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	switch private := private.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, private, sum[:])
		if err == nil {
			signature = append(r.FillBytes(make([]byte, coordinate)), s.FillBytes(make([]byte, coordinate))...)
		}
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// coordinate is how many bytes a number of P-256 has.
const coordinate = 32

// public is a key as it is published (RFC 7518, 6).
func public(k key) map[string]string {
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	switch of := k.private.Public().(type) {
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "kid": k.id, "use": "sig", "alg": "RS256", "n": number(of.N), "e": number(big.NewInt(int64(of.E)))}
	case *ecdsa.PublicKey:
		point, err := of.Bytes() // 4, x, y
		if err != nil {
			panic(err)
		}
		at := func(n int) string {
			return base64.RawURLEncoding.EncodeToString(point[1+n*coordinate : 1+(n+1)*coordinate])
		}
		return map[string]string{"kty": "EC", "crv": "P-256", "kid": k.id, "use": "sig", "alg": "ES256", "x": at(0), "y": at(1)}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[r.URL.Path]++
	if p.away {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	if p.answers != nil && p.answers(w, r) {
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		p.write(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256"}, "token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
		})
	case "/keys":
		var all []map[string]string
		for _, k := range p.keys {
			all = append(all, public(k))
		}
		p.write(w, map[string]any{"keys": all})
	case "/authorize":
		p.authorize(w, r)
	case "/token":
		p.exchange(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (p *Provider) write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Error(err)
	}
}

// authorize logs the user in and sends the browser back with a code.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	for name, want := range map[string]string{"response_type": "code", "client_id": Client, "code_challenge_method": "S256"} {
		if q.Get(name) != want {
			err = fmt.Errorf("%s is %q", name, q.Get(name))
		}
	}
	if err != nil || q.Get("state") == "" || q.Get("nonce") == "" || q.Get("code_challenge") == "" {
		http.Error(w, fmt.Sprint("bad request: ", err), http.StatusBadRequest)
		return
	}
	values := url.Values{"state": {q.Get("state")}, "iss": {p.URL}}
	if p.user == nil {
		values.Set("error", "access_denied")
	} else {
		code := rand.Text()
		p.codes[code] = flow{q, p.user}
		p.given = append(p.given, code, q.Get("state"), q.Get("nonce"))
		values.Set("code", code)
	}
	back.RawQuery = values.Encode()
	http.Redirect(w, r, back.String(), http.StatusSeeOther)
}

// exchange gives an ID token for a code, once, to who began the flow.
func (p *Provider) exchange(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	f, ok := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	p.given = append(p.given, r.PostFormValue("code_verifier"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case id != Client || secret != Secret:
		p.refuse(w, "invalid_client")
	case !ok || r.PostFormValue("redirect_uri") != f.query.Get("redirect_uri"),
		base64.RawURLEncoding.EncodeToString(sum[:]) != f.query.Get("code_challenge"):
		p.refuse(w, "invalid_grant")
	default:
		claims := p.Claims(Client, f.user)
		if _, own := f.user["nonce"]; !own {
			claims["nonce"] = f.query.Get("nonce")
		}
		access := rand.Text()
		p.given = append(p.given, access)
		p.write(w, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": p.token(claims)})
	}
}

func (p *Provider) refuse(w http.ResponseWriter, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	p.write(w, map[string]string{"error": why, "error_description": "the code and " + Secret + " are wrong"})
}
