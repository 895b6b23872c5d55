// Package api is the service's HTTP interface: what may be asked under /v1, of whom, and how it is
// answered. It decides nothing about builds: the queue does.
package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/sirupsen/logrus"

	"ampoule/contents"
	"ampoule/registry/channel"
	"ampoule/registry/embedded"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/problem"
	"ampoule/service/wire"
)

// Artifacts lists what a registry has.
type Artifacts interface {
	Artifacts(ctx context.Context) ([]embedded.Artifact, error)
}

// Channels reads the logs of channels.
type Channels interface {
	Open(repository, name string) (*channel.Channel, error)
}

// Book keeps tokens.
type Book interface {
	Create(name string, scopes []tokens.Scope, expires time.Time) (tokens.Token, string, error)
	List() ([]tokens.Token, error)
	Revoke(named string) (tokens.Token, error)
}

// Check is something that must work for the server to be ready.
type Check func(ctx context.Context) error

// Config is what a server works with, and what it allows. Where something optional is nil, its routes
// answer that this server does not have it.
type Config struct {
	Queue Queue
	Guard *access.Guard
	// Book is where an administrator makes and revokes tokens; optional.
	Book Book
	// Source is the registry that artifacts are read from, Reference how others find one there.
	Source    contents.Source
	Reference func(name, digest string) string
	// Advertise is HOST[:PORT][/PREFIX] of the registry as clients reach it; empty names no host.
	Advertise string
	// Artifacts lists the registry; optional, since not every registry can be listed.
	Artifacts Artifacts
	// Channels are those of the registry; optional.
	Channels func(ctx context.Context) (Channels, error)
	// Promoter writes channels, Approver approves for them, and Desk looks at them; optional.
	Promoter Promoter
	// Trail is the audit log; optional.
	Trail    Trail
	Approver Approver
	Desk     Desk
	// Reports keeps what hosts report; optional. OwnName is the name of a repository that a host knows
	// by an address of this server's registry; others stay as they are, and so do all if it is nil.
	Reports Hosts
	OwnName func(repository string) string
	// Webhooks are the receivers of events; optional.
	Webhooks Webhooks
	// Pages gets what no route has; optional.
	Pages http.Handler
	// Registry answers below /v2/; optional.
	Registry http.Handler
	// Ready are what /readyz looks at, by name.
	Ready map[string]Check
	// Version is this program's.
	Version wire.Version
	// Temp is a directory for files that need not outlive the process.
	Temp string
	// Hosts are the names that the server answers to.
	Hosts server.Hosts
	// MaxArchive bounds a submission, in bytes; 0 is [DefaultMaxArchive].
	MaxArchive int64
	// Rate is how many requests per second a caller may send for long; 0 is [DefaultRate].
	Rate float64
	// MaxStreams bounds how many streams there are at once; 0 is [DefaultMaxStreams].
	MaxStreams int
	// Observe is told of each request that was answered; optional.
	Observe func(route, method string, status int, took time.Duration)
	// Log gets the access log and what else is told of requests; nil is the log of their contexts.
	Log *logrus.Logger
	// Closing ends streams when it is done; optional.
	Closing context.Context //nolint:containedctx // it is the server's life, not a call's
}

// What a configuration that is silent means.
const (
	DefaultMaxArchive = 100 << 20
	DefaultRate       = 5000
	DefaultMaxStreams = 5000
)

// Server answers requests. [New] makes one.
type Server struct {
	Config
	mux      *http.ServeMux
	api      huma.API
	routes   []route
	archives *archives
	// addresses counts requests before anything of them is believed, callers when their sender is known.
	addresses, callers *rates
	streams            chan struct{}
	uploads            chan struct{}
}

// callersPerAddress is how many callers may send as fast as they may from one address.
const callersPerAddress = 4

// maxUploads bounds how many archives are taken at once: others wait.
const maxUploads = 128

// New makes a server.
func New(c Config) *Server {
	if c.MaxArchive <= 0 {
		c.MaxArchive = DefaultMaxArchive
	}
	if c.Rate <= 0 {
		c.Rate = DefaultRate
	}
	if c.MaxStreams <= 0 {
		c.MaxStreams = DefaultMaxStreams
	}
	if c.Closing == nil {
		c.Closing = context.Background()
	}
	s := &Server{
		Config: c, mux: http.NewServeMux(), archives: newArchives(c.Queue, c.Temp), addresses: newRates(c.Rate * callersPerAddress), callers: newRates(c.Rate),
		streams: make(chan struct{}, c.MaxStreams), uploads: make(chan struct{}, maxUploads),
	}
	useProblems()
	s.api = humago.New(s.mux, configuration())
	s.api.UseMiddleware(s.admit)
	s.addBuilds()
	s.addLogs()
	s.addArtifacts()
	s.addChannels()
	s.addHosts()
	s.addWebhooks()
	s.addAudit()
	s.addAdmin()
	s.addTrail()
	s.addHealth()
	if c.Registry != nil {
		s.mux.Handle("/v2/", c.Registry)
		s.mux.Handle("/v2", c.Registry)
	}
	s.mux.HandleFunc("/", s.rest)
	return s
}

// configuration is the form of the API.
func configuration() huma.Config {
	c := huma.DefaultConfig("Ampoule", "1")
	c.Info.Description = "Builds a Python and its wheels together and publishes the pair as one digest. " +
		"Errors are problem details (RFC 9457). A token goes into the header Authorization: Bearer TOKEN."
	c.OpenAPIPath = "/v1/openapi"
	// No page of its own, no schemas beside the document, no links to them in answers.
	c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", nil
	c.RejectUnknownQueryParameters = true
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{securityScheme: {
		Type: "http", Scheme: "bearer", Description: "A token, as `ampoule token create` makes it. Each operation says in x-ampoule-scope which verb of a scope it takes.",
	}}
	return c
}

const securityScheme = "token"

// shown is how clients find an artifact.
func (s *Server) shown(name, digest string) string {
	if s.Advertise == "" {
		return s.Reference(name, digest)
	}
	return s.Advertise + "/" + name + "@" + digest
}

// OpenAPI is the description of the API, in JSON.
func (s *Server) OpenAPI() ([]byte, error) { return s.api.OpenAPI().MarshalJSON() }

// rest answers what no route has.
func (s *Server) rest(w http.ResponseWriter, r *http.Request) {
	if allowed := s.otherMethods(r); len(allowed) > 0 {
		for _, method := range allowed {
			w.Header().Add("Allow", method)
		}
		s.refuse(w, r, problem.OfRequest(http.StatusMethodNotAllowed, r.Method+" is not what this path takes"))
		return
	}
	if s.Pages != nil && !isAPI(r.URL.Path) {
		s.Pages.ServeHTTP(w, r)
		return
	}
	s.refuse(w, r, problem.OfRequest(http.StatusNotFound, "there is nothing at this path; /v1/openapi.json says what there is"))
}

// otherMethods lists with which other methods a path has a route.
func (s *Server) otherMethods(r *http.Request) []string {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); method != r.Method && pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	return allowed
}
