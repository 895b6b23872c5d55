// Command probe is the only program of the test image: by the name that it is
// called by it is sleep, cat, env or probe. Beside what the conformance suite asks
// of it, it tries what a sandbox must not let it do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// usage is the exit code for a command that probe does not know.
const usage = 64

func main() {
	if err := call(filepath.Base(os.Args[0]), os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "probe: %v\n", err)
		os.Exit(1)
	}
}

// call runs one of the programs.
func call(program string, args []string) error {
	switch program {
	case "sleep":
		forever()
	case "cat":
		return cat(args)
	case "env":
		return env(args)
	case "sh":
		return sh(args)
	}
	if len(args) == 0 {
		os.Exit(usage)
	}
	if f, ok := commands[args[0]]; ok {
		return f(args[1:])
	}
	os.Exit(usage)
	return nil
}

// commands are what probe knows. The first ones are those of the conformance suite.
var commands = map[string]func([]string) error{
	"exit":     always(func(args []string) { os.Exit(number(args[0])) }),
	"echo":     echo,
	"environ":  always(environ),
	"cat":      cat,
	"pwd":      pwd,
	"write":    func(args []string) error { return os.WriteFile(args[0], []byte(args[1]), 0o644) },
	"id":       always(id),
	"hostname": hostname,
	"kill":     killSelf,
	"sleep":    always(func([]string) { fmt.Println("ready"); forever() }),
	"stdin":    func([]string) error { _, err := io.Copy(os.Stdout, os.Stdin); return err },
	"isatty":   always(isatty),
	"terminal": terminal,

	"connect":  connect,
	"resolve":  resolve,
	"abstract": func(args []string) error { return dialAbstract(args[0]) },
	"fork":     fork,
	"hog":      hog,
	"orphan":   orphan,
	"zombies":  zombies,
	"flood":    flood,
	"become":   func([]string) error { return syscall.Setuid(0) },
	"link":     func(args []string) error { return os.Link(args[0], args[1]) },
	"mute":     always(mute),
	"attempt":  always(attempt),
	"attempts": attempts,
	"watchers": watchers,
	"sparse":   sparse,
	"fill":     fill,
	"hold":     always(hold),
	"trap":     always(trap),
	"keep":     always(keep),
	"leave": func([]string) error {
		return exec.CommandContext(context.Background(), "/bin/sleep", "infinity").Start()
	},
}

// always makes a command of one that cannot fail.
func always(f func([]string)) func([]string) error {
	return func(args []string) error {
		f(args)
		return nil
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		os.Exit(usage)
	}
	return n
}

// echo writes its first argument to stdout and its second to stderr.
func echo(args []string) error {
	_, err := io.WriteString(os.Stdout, args[0])
	if err != nil || len(args) == 1 {
		return err
	}
	_, err = io.WriteString(os.Stderr, args[1])
	return err
}

func environ([]string) {
	for _, variable := range os.Environ() {
		fmt.Println(variable)
	}
}

func cat(args []string) error {
	var errs []error
	for _, name := range args {
		data, err := os.ReadFile(name)
		if err != nil {
			errs = append(errs, err)
		}
		if _, err := os.Stdout.Write(data); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func pwd([]string) error {
	dir, err := os.Getwd()
	fmt.Println(dir)
	return err
}

func hostname([]string) error {
	name, err := os.Hostname()
	fmt.Println(name)
	return err
}

func id([]string) {
	fmt.Println(os.Getuid(), os.Getgid())
}

func killSelf(args []string) error {
	if err := syscall.Kill(os.Getpid(), syscall.Signal(number(args[0]))); err != nil {
		return err
	}
	forever()
	return nil
}

// env understands -i, --default-signal, --, KEY=value and a command.
func env(args []string) error {
	environment := os.Environ()
	for ; len(args) > 0 && strings.HasPrefix(args[0], "-"); args = args[1:] {
		switch args[0] {
		case "-i":
			environment = nil
		case "--default-signal":
			// A signal that has a handler gets its default when the command starts.
			signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT)
		}
	}
	for ; len(args) > 0 && strings.Contains(args[0], "="); args = args[1:] {
		environment = append(environment, args[0])
	}
	os.Clearenv()
	for _, variable := range environment {
		key, value, _ := strings.Cut(variable, "=")
		if err := os.Setenv(key, value); err != nil {
			return err
		}
	}
	name := args[0]
	if !strings.Contains(name, "/") && os.Getenv("PATH") == "" {
		name = "/bin/" + name
	}
	program, err := exec.LookPath(name)
	if err != nil {
		fmt.Fprintf(os.Stderr, "env: %v\n", err)
		os.Exit(127)
	}
	return syscall.Exec(program, args, os.Environ())
}

// sh understands the two scripts that a runner may put before a command.
func sh(args []string) error {
	if len(args) < 2 || args[0] != "-c" {
		os.Exit(usage)
	}
	var id int
	if n, err := fmt.Sscanf(args[1], "kill -0 %d 2>&1; exec cat /proc/self/status /proc/net/dev", &id); n == 1 && err == nil {
		// Go's texts of errors are its own; C libraries tell this one so.
		if err := syscall.Kill(id, 0); errors.Is(err, syscall.EKEYREVOKED) {
			fmt.Println("sh: kill: Key has been revoked")
		} else {
			fmt.Println("sh: kill:", err)
		}
		return cat([]string{"/proc/self/status", "/proc/net/dev"})
	}
	if len(args) < 4 {
		os.Exit(usage)
	}
	switch args[1] {
	case `exec "$@" 2>&1`:
		if err := syscall.Dup3(1, 2, 0); err != nil {
			return err
		}
	case `while IFS= read -r v && [ -n "$v" ]; do export "$v"; done; exec "$@"`:
		if err := exportLines(); err != nil {
			return err
		}
	default:
		os.Exit(usage)
	}
	return env(args[3:])
}

// exportLines takes variables from stdin, up to an empty line and not a byte more.
func exportLines() error {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := os.Stdin.Read(b)
		switch {
		case n == 1 && b[0] != '\n':
			line = append(line, b[0])
			continue
		case err != nil || len(line) == 0:
			return err
		}
		key, value, _ := strings.Cut(string(line), "=")
		if err := os.Setenv(key, value); err != nil {
			return err
		}
		line = nil
	}
}

// forever waits. A program whose only goroutine waits for nothing is taken for a deadlock.
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

// mute closes its output long before it ends, with exit code 3.
func mute([]string) {
	os.Stdout.Close()
	os.Stderr.Close()
	time.Sleep(time.Second)
	os.Exit(3)
}

// isatty tells which of stdin, stdout and stderr are terminals.
func isatty([]string) {
	fmt.Println(term.IsTerminal(0), term.IsTerminal(1), term.IsTerminal(2))
}

// terminal tells the size of the terminal on stdout, once it has one, and as many
// more that it gets as its argument says.
func terminal(args []string) error {
	more := 0
	if len(args) > 0 {
		more = number(args[0])
	}
	var last string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		rows, columns, err := terminalSize()
		if err != nil {
			return err
		}
		size := fmt.Sprintln(rows, columns)
		if rows == 0 || size == last {
			continue
		}
		fmt.Print(size)
		last = size
		if more == 0 {
			return nil
		}
		more--
	}
	return errors.New("the terminal has no further size")
}

// trap waits for SIGTERM and ends with exit code 7.
func trap([]string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("ready")
	<-c
	fmt.Println("terminated")
	os.Exit(7)
}

// keep stays as process 1, reaps, and passes SIGTERM on to all others.
func keep([]string) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range signals {
		if s == syscall.SIGTERM {
			// There may be no other process.
			_ = syscall.Kill(-1, syscall.SIGTERM)
			continue
		}
		for {
			if id, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || id == 0 {
				break
			}
		}
	}
}
