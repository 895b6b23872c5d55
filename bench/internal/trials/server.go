package trials

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"ampoule/bench/internal/drive"
)

// registryStart is how long a registry may take until it answers.
const registryStart = 30 * time.Second

// server is a program that serves on an address of this machine, until it is stopped. It may be
// started again.
type server struct {
	address string
	program drive.Program
	args    []string
	cancel  context.CancelFunc
	ended   chan error
}

// newServer makes a server of a program that takes the address as its last argument.
func newServer(ctx context.Context, program drive.Program, args ...string) (*server, error) {
	address, err := freeAddress(ctx)
	return &server{address: address, program: program, args: append(args, address)}, err
}

// newRegistry makes a server of Debian's docker-registry, which keeps everything below work.
func (t *Trials) newRegistry(ctx context.Context, work string) (*server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(work, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\nlog: {level: error}\n", filepath.Join(work, "registry"), address)
	return &server{address: address, program: t.Registry, args: []string{"serve", config}}, os.WriteFile(config, []byte(text), 0o600)
}

// freeAddress is one of this machine's on which nobody listens.
func freeAddress(ctx context.Context) (string, error) {
	var listen net.ListenConfig
	free, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return free.Addr().String(), free.Close()
}

// start starts the program, and waits until it answers.
func (s *server) start(ctx context.Context) error {
	serving, cancel := context.WithCancel(ctx)
	s.cancel, s.ended = cancel, make(chan error, 1)
	go func() {
		_, err := s.program.Run(serving, s.args...)
		s.ended <- err
	}()
	var dialer net.Dialer
	for begun := time.Now(); time.Since(begun) < registryStart; time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-s.ended:
			s.ended <- nil // stopping it is no error then
			return fmt.Errorf("the registry on %s has ended: %w", s.address, err)
		default:
		}
		c, err := dialer.DialContext(ctx, "tcp", s.address)
		if err == nil {
			return c.Close()
		}
	}
	return errors.Join(fmt.Errorf("the registry does not answer on %s", s.address), s.stop())
}

// stop ends the program. One that was not started is stopped.
func (s *server) stop() error {
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	s.cancel = nil
	if err := <-s.ended; !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
