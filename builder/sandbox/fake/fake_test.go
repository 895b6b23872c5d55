package fake_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/tree"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	r := fake.New(probe)
	sandboxtest.Run(t, sandboxtest.Harness{Runner: r, Images: r})
}

// probe does what the program of the test image does.
func probe(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
	if path.Base(step.Args[0]) != "probe" {
		return &sandbox.ExitError{Args: step.Args, Code: 127}
	}
	args := step.Args[2:]
	switch step.Args[1] {
	case "exit", "kill":
		code, err := strconv.Atoi(args[0])
		if err != nil || code == 0 {
			return err
		}
		if step.Args[1] == "kill" {
			code += 128
		}
		return &sandbox.ExitError{Args: step.Args, Code: code}
	case "echo":
		return echo(step, args)
	case "environ":
		_, err := io.WriteString(step.Stdout, strings.Join(append(slices.Concat(step.Env, step.Secrets), ""), "\n"))
		return err
	case "pwd":
		_, err := fmt.Fprintln(step.Stdout, step.Dir)
		return err
	case "id":
		return id(s, step)
	case "hostname":
		_, err := fmt.Fprintln(step.Stdout, s.Spec.Guise.Hostname)
		return err
	case "cat":
		return cat(s, step, args[0])
	case "write":
		e := tree.FileEntry(strings.TrimPrefix(args[0], "/"), 0o644, []byte(args[1]))
		e.UID, e.GID = sandbox.UID, sandbox.GID
		return s.Write(e)
	case "stdin":
		_, err := io.Copy(step.Stdout, step.Stdin)
		return err
	case "isatty":
		is := step.Terminal != nil
		_, err := fmt.Fprintln(step.Stdout, is, is, is)
		return err
	case "terminal":
		return sizes(ctx, step, args[0])
	case "sleep":
		fmt.Fprintln(step.Stdout, "ready")
		<-ctx.Done()
		return context.Cause(ctx)
	default:
		return fmt.Errorf("unknown command %q", step.Args)
	}
}

// sizes writes the sizes of a step's terminal.
func sizes(ctx context.Context, step sandbox.Step, more string) error {
	n, err := strconv.Atoi(more)
	for range n + 1 {
		select {
		case size := <-step.Terminal.Sizes:
			fmt.Fprintln(step.Stdout, size.Rows, size.Columns)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return err
}

func echo(step sandbox.Step, args []string) error {
	_, err := io.WriteString(step.Stdout, args[0])
	if err == nil && len(args) > 1 {
		_, err = io.WriteString(step.Stderr, args[1])
	}
	return err
}

func id(s *fake.Sandbox, step sandbox.Step) error {
	user := 0
	switch {
	case s.Spec.Guise.Apart:
		user = sandbox.ApartUser
	case s.Spec.Profile == sandbox.Unprivileged:
		user = sandbox.FirstUser
	}
	_, err := fmt.Fprintln(step.Stdout, user, user)
	return err
}

func cat(s *fake.Sandbox, step sandbox.Step, name string) error {
	e, ok := s.Files().Lookup(strings.TrimPrefix(name, "/"))
	if !ok {
		return &sandbox.ExitError{Args: step.Args, Code: 1}
	}
	data, err := e.ReadAll()
	if err != nil {
		return err
	}
	_, err = step.Stdout.Write(data)
	return err
}

func TestRecords(t *testing.T) {
	t.Parallel()
	r := fake.New(nil)
	image, err := r.Load(t.Context(), sandboxtest.Config(), sandboxtest.TarLayer(t, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Start(t.Context(), sandbox.Spec{Image: image, Name: "one", Limits: sandbox.Limits{PIDs: 7}})
	if err != nil {
		t.Fatal(err)
	}
	online, err := fake.Online{Runner: r}.StartOnline(t.Context(), sandbox.OnlineSpec{Image: image, Name: "two"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Exec(t.Context(), sandbox.Step{Args: []string{"make", "all"}}), online.Close()); err != nil {
		t.Fatal(err)
	}
	all := r.Sandboxes()
	if len(all) != 2 {
		t.Fatalf("%d sandboxes are recorded", len(all))
	}
	one, two := all[0], all[1]
	if one.Spec.Name != "one" || one.Spec.Limits.PIDs != 7 || one.Online || one.Closed() {
		t.Errorf("the first is %+v", one.Spec)
	}
	if two.Spec.Name != "two" || !two.Online || !two.Closed() {
		t.Errorf("the second is %+v", two.Spec)
	}
	steps := one.Steps()
	if len(steps) != 1 || strings.Join(steps[0].Args, " ") != "make all" {
		t.Errorf("steps %+v are recorded", steps)
	}
}
