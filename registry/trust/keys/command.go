package keys

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"ampoule/faults"
)

// Command signs by a program: it gets the message on its stdin, and prints the signature as
// ASN.1 DER, as it is or as base64. So any KMS or HSM can serve that has a program.
type Command struct {
	// Program is its name and its arguments.
	Program []string
	// Key is what its signatures must be of.
	Key Public
	// Environ is the program's environment, as os.Environ has it.
	Environ []string
}

// Public implements [Signer].
func (c Command) Public() Public { return c.Key }

// Sign implements [Signer]. A signature that is not the key's is an error.
func (c Command) Sign(ctx context.Context, message []byte) ([]byte, error) {
	out, err := Run(ctx, c.Program, c.Environ, message)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if c.Key.Verify(message, out) {
		return out, nil
	}
	der, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(out)))
	if err != nil || !c.Key.Verify(message, der) {
		return nil, faults.New(faults.Machine, "it gets the message on stdin, and prints the signature of its SHA-256 as DER or base64",
			"signing: what %s printed is no signature of the public key %s", c.Program[0], c.Key.ID())
	}
	return der, nil
}

// Run runs a program that is asked for a signature or a passphrase, and returns what it
// printed. Errors say how it ended, and nothing of what went in or came out.
func Run(ctx context.Context, program, environ []string, input []byte) ([]byte, error) {
	if len(program) == 0 || program[0] == "" {
		return nil, errors.New("no program is named")
	}
	cmd := exec.CommandContext(ctx, program[0], program[1:]...)
	out := bounded{left: maxFile}
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.WaitDelay = environ, bytes.NewReader(input), &out, time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, faults.New(faults.Machine, "run it by hand: what it says on stderr is not told here, since that may hold secrets", "running %s: %w", program[0], err)
	}
	return out.text, nil
}

// bounded keeps what is written to it, up to a number of bytes.
type bounded struct {
	text []byte
	left int
}

// Write implements [io.Writer].
func (b *bounded) Write(p []byte) (int, error) {
	if len(p) > b.left {
		return 0, io.ErrShortWrite
	}
	b.text, b.left = append(b.text, p...), b.left-len(p)
	return len(p), nil
}
