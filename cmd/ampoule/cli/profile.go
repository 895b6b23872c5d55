package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"runtime/trace"
)

// profiles are files in which a call records where its time goes. Go's own tools read them:
// `go tool pprof` and `go tool trace`.
type profiles struct {
	cpu, trace string
	// ends stop what was begun, in their order.
	ends []func() error
}

// begin begins what is asked for.
func (p *profiles) begin() error {
	err := p.record(p.cpu, pprof.StartCPUProfile, pprof.StopCPUProfile)
	if err == nil {
		err = p.record(p.trace, trace.Start, trace.Stop)
	}
	return err
}

// record begins to record into a file, if one is named.
func (p *profiles) record(file string, start func(io.Writer) error, stop func()) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	if err := start(f); err != nil {
		return errors.Join(fmt.Errorf("profiling: %w", err), f.Close())
	}
	p.ends = append(p.ends, func() error {
		stop()
		return f.Close()
	})
	return nil
}

// end ends what was begun.
func (p *profiles) end() error {
	var errs []error
	for _, end := range p.ends {
		errs = append(errs, end())
	}
	p.ends = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	return nil
}
