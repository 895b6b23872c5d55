package docker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"ampoule/builder/sandbox"
)

// userRange is where the users of sandboxes are drawn from, both ends included.
type userRange struct{ first, last int }

var (
	usualUsers = userRange{sandbox.FirstUser, sandbox.ApartUser - 1}
	apartUsers = userRange{sandbox.ApartUser, sandbox.LastUser}
)

// draw returns one of them; root of the zero value.
func (r userRange) draw() int {
	return r.first + rand.IntN(r.last-r.first+1) //nolint:gosec // chance is wanted here, not secrecy
}

// maxDraws bounds how often a user is drawn. Half of them would have to be taken for
// this to be too little once in a million times.
const maxDraws = 20

var errNoUser = errors.New("no user of its own was found: the engine has too many containers")

// createAlone makes a container whose user no other sandbox of the engine has, whatever
// store or process it is of. Each container tells its user, and looks for others
// before it starts: of two that draw the same at once, at least one sees the other.
func (e *Engine) createAlone(ctx context.Context, s confinement, spec sandbox.Spec) (string, confinement, error) {
	for range maxDraws {
		s.user = s.users.draw()
		id, err := e.create(ctx, e.config(s, spec), e.hostConfig(s, spec.Limits), spec.Name)
		if err != nil {
			return "", s, err
		}
		if !s.unprivileged() {
			return id, s, nil
		}
		alone, err := e.isAlone(ctx, id, s.user)
		if alone && err == nil {
			return id, s, nil
		}
		if err := errors.Join(err, e.remove(ctx, id)); err != nil {
			return "", s, err
		}
	}
	return "", s, errNoUser
}

// isAlone reports whether no container but this one has a user.
func (e *Engine) isAlone(ctx context.Context, id string, user int) (bool, error) {
	same := filters.NewArgs(filters.Arg("label", labelUser+"="+strconv.Itoa(user)))
	containers, err := e.client.ContainerList(ctx, container.ListOptions{All: true, Filters: same})
	if err != nil {
		return false, fmt.Errorf("looking for sandboxes of user %d: %w", user, err)
	}
	for _, c := range containers {
		if c.ID != id {
			return false, nil
		}
	}
	return true, nil
}

// owned gives what belongs to [sandbox.UID] and [sandbox.GID] to the sandbox's user.
func (s confinement) owned(hdr *tar.Header) (bool, error) {
	if s.unprivileged() {
		replace(&hdr.Uid, sandbox.UID, s.user)
		replace(&hdr.Gid, sandbox.GID, s.user)
	}
	return true, nil
}

// disowned undoes owned.
func (s confinement) disowned(hdr *tar.Header) (bool, error) {
	if s.unprivileged() {
		replace(&hdr.Uid, s.user, sandbox.UID)
		replace(&hdr.Gid, s.user, sandbox.GID)
	}
	return true, nil
}

func replace(id *int, was, is int) {
	if *id == was {
		*id = is
	}
}
