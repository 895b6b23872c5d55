package locking

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"ampoule/builder/sandbox"
	"ampoule/faults"
)

// relayScript runs in a sealed sandbox with the resolver. Perl is in every Debian
// (Debian Policy, 3.8: perl-base is essential).
//
//go:embed relay.pl
var relayScript []byte

const (
	relayPath = uvDir + "/relay.pl"
	// relayPort is the port of the sandbox's own loopback interface, which nobody else has.
	relayPort = 3141
	// relayIndex is the one index that the resolver knows.
	relayIndex = "http://127.0.0.1:3141/simple/"
)

// Bounds of what the relay passes on.
const (
	// maxFrame is the longest frame of the script, in bytes.
	maxFrame = 1 << 16
	// relayPatience is how long a request may take to be written.
	relayPatience = 30 * time.Second
	// relayStart is how long the script may take to open its port.
	relayStart = time.Minute
)

// server answers what comes through connections, until ctx is done.
type server interface {
	Serve(ctx context.Context, l net.Listener)
}

// relay lets programs of a sandbox without a network reach one server of this process:
// through the streams of a step, so that it does not matter where the engine runs, and
// nothing here listens where another process could connect.
type relay struct {
	stdin  *io.PipeWriter
	stdout *io.PipeReader
	// accept are connections for the server; closed is closed when there will be no more.
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
	ready  chan struct{}
	// ended is closed when the step has ended, with err.
	ended chan struct{}
	err   error
	// end ends the server.
	end  context.CancelFunc
	work sync.WaitGroup

	writing sync.Mutex
	mu      sync.Mutex
	// conns are all that there were: what comes late of one that has ended begins no other.
	conns map[uint32]net.Conn
}

// startRelay starts it in a sandbox that has the script, and returns when the port is open.
func startRelay(ctx context.Context, sb sandbox.Sandbox, s server, stderr io.Writer) (*relay, error) {
	fromStep, toReader := io.Pipe()
	toStep, stdin := io.Pipe()
	r := &relay{
		stdin: stdin, stdout: fromStep, accept: make(chan net.Conn), closed: make(chan struct{}),
		ready: make(chan struct{}), ended: make(chan struct{}), conns: map[uint32]net.Conn{},
	}
	serving, end := context.WithCancel(ctx)
	r.end = end
	step := sandbox.Step{
		Args: []string{"perl", relayPath, strconv.Itoa(relayPort)}, Env: sandbox.Env(),
		Stdin: toStep, Stdout: toReader, Stderr: stderr, AtOnce: true,
	}
	r.work.Go(func() {
		r.err = sb.Exec(ctx, step)
		_, _ = toReader.Close(), toStep.Close()
		close(r.ended)
	})
	r.work.Go(r.read)
	r.work.Go(func() { s.Serve(serving, r) })
	timer := time.NewTimer(relayStart)
	defer timer.Stop()
	select {
	case <-r.ready:
		return r, nil
	case <-r.ended:
	case <-timer.C:
	}
	return nil, r.failed(r.stop())
}

// failed says that the relay did not begin.
func (r *relay) failed(err error) error {
	var exit *sandbox.ExitError
	if errors.As(err, &exit) && exit.Code == 127 {
		return faults.New(faults.Input, "choose an image of Debian with perl-base for base.image, or base.debian",
			"the base has no perl, which resolving names of private sources takes")
	}
	if err == nil {
		err = errors.New("it does not open its port")
	}
	return fmt.Errorf("starting the relay to the sources: %w", err)
}

// stop ends it, and waits until nothing of it goes on. The error is the step's.
func (r *relay) stop() error {
	_ = r.stdin.Close()
	r.end()
	r.work.Wait()
	return r.err
}

// Accept implements [net.Listener].
func (r *relay) Accept() (net.Conn, error) {
	select {
	case c := <-r.accept:
		return c, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (r *relay) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

// Addr implements [net.Listener].
func (*relay) Addr() net.Addr { return relayAddr{} }

type relayAddr struct{}

// Network implements [net.Addr].
func (relayAddr) Network() string { return "relay" }

func (relayAddr) String() string { return "relay" }

// read takes the script's frames until there are no more.
func (r *relay) read() {
	defer r.hangUp()
	header := make([]byte, 8)
	for {
		if _, err := io.ReadFull(r.stdout, header); err != nil {
			return
		}
		id, length := binary.BigEndian.Uint32(header), binary.BigEndian.Uint32(header[4:])
		if length > maxFrame {
			return
		}
		data := make([]byte, length)
		if _, err := io.ReadFull(r.stdout, data); err != nil {
			return
		}
		if id == 0 {
			r.began()
			continue
		}
		r.pass(id, data)
	}
}

func (r *relay) began() {
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
}

// hangUp ends all connections, and what is written to a reader that is gone.
func (r *relay) hangUp() {
	_ = r.stdout.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	_ = r.Close()
}

// pass hands what came of a connection to the server, which begins with the first of it.
func (r *relay) pass(id uint32, data []byte) {
	r.mu.Lock()
	c, known := r.conns[id]
	r.mu.Unlock()
	if len(data) == 0 {
		if known {
			_ = c.Close()
		}
		return
	}
	if !known {
		c = r.connect(id)
		if c == nil {
			return
		}
	}
	_ = c.SetWriteDeadline(time.Now().Add(relayPatience))
	if _, err := c.Write(data); err != nil {
		_ = c.Close()
	}
}

// connect makes a connection of the server; nil when it takes none any more.
func (r *relay) connect(id uint32) net.Conn {
	ours, theirs := net.Pipe()
	r.mu.Lock()
	r.conns[id] = ours
	r.mu.Unlock()
	select {
	case r.accept <- theirs:
	case <-r.closed:
		_ = ours.Close()
		return nil
	}
	r.work.Go(func() { r.answer(id, ours) })
	return ours
}

// answer passes on what the server says on a connection, and its end.
func (r *relay) answer(id uint32, c net.Conn) {
	buffer := make([]byte, 8+1<<15)
	for {
		n, err := c.Read(buffer[8:])
		if n > 0 {
			if sent := r.frame(id, buffer[:8+n]); sent != nil {
				err = sent
			}
		}
		if err != nil {
			break
		}
	}
	_ = c.Close()
	_ = r.frame(id, buffer[:8])
}

// frame writes a frame, the first 8 bytes of which are for its header.
func (r *relay) frame(id uint32, frame []byte) error {
	binary.BigEndian.PutUint32(frame, id)
	binary.BigEndian.PutUint32(frame[4:], uint32(len(frame)-8)) //nolint:gosec // it is no longer than its buffer
	r.writing.Lock()
	defer r.writing.Unlock()
	_, err := r.stdin.Write(frame)
	return err
}
