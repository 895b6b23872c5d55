package registry

import (
	"context"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// asDocker asks registries as Docker's configuration says.
func asDocker() remote.Option {
	return remote.WithAuthFromKeychain(latest{authn.DefaultKeychain, credentialsFor})
}

// credentialsFor is how long credentials are asked by before Docker's configuration is read again: what a
// credential helper gives may count for hours, and a service runs for months.
const credentialsFor = time.Minute

// latest is a keychain whose credentials are looked up again and again. The client of a registry keeps what
// a keychain gives for as long as it lives.
type latest struct {
	authn.Keychain
	keep time.Duration
}

// Resolve implements [authn.Keychain].
func (l latest) Resolve(target authn.Resource) (authn.Authenticator, error) {
	found, err := l.Keychain.Resolve(target)
	if err != nil || found == authn.Anonymous {
		// The client tells nobody from somebody once.
		return found, err
	}
	return &current{from: l, target: target, found: found, asked: time.Now()}, nil
}

// current is who asks one registry, as its keychain has it now.
type current struct {
	from   latest
	target authn.Resource

	mu    sync.Mutex
	found authn.Authenticator
	asked time.Time
}

// Authorization implements [authn.Authenticator].
func (c *current) Authorization() (*authn.AuthConfig, error) {
	return c.AuthorizationContext(context.Background())
}

// AuthorizationContext implements [authn.ContextAuthenticator].
func (c *current) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) >= c.from.keep {
		found, err := c.from.Keychain.Resolve(c.target)
		if err != nil {
			return nil, err
		}
		c.found, c.asked = found, time.Now()
	}
	return authn.Authorization(ctx, c.found)
}
