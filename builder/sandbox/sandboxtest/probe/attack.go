package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const networkTimeout = 3 * time.Second

// connect opens a connection, for example "tcp 192.0.2.1:80", and sends something,
// since UDP tells of no connection before.
func connect(args []string) error {
	dialer := net.Dialer{Timeout: networkTimeout}
	conn, err := dialer.DialContext(context.Background(), args[0], args[1])
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte("probe"))
	return errors.Join(err, conn.Close())
}

// resolve asks for the address of a name: at the configured name server, or at the
// one given as second argument.
func resolve(args []string) error {
	resolver := &net.Resolver{PreferGo: true}
	if len(args) > 1 {
		resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, args[1])
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), networkTimeout)
	defer cancel()
	_, err := resolver.LookupHost(ctx, args[0])
	return err
}

// dialAbstract connects to an abstract Unix socket.
func dialAbstract(name string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(context.Background(), "unix", "@"+name)
	if err != nil {
		return err
	}
	return conn.Close()
}

// fork starts sleeping processes until it may not start any more, prints their number and ends them.
func fork([]string) error {
	var children []*exec.Cmd
	for {
		c := exec.CommandContext(context.Background(), "/bin/sleep", "infinity")
		if err := c.Start(); err != nil {
			break
		}
		children = append(children, c)
	}
	fmt.Println(len(children))
	for _, c := range children {
		if err := c.Process.Kill(); err != nil {
			return err
		}
		_ = c.Wait() // It was killed.
	}
	return nil
}

// hog uses more and more memory.
func hog([]string) error {
	const piece = 16 << 20
	for {
		memory := make([]byte, piece)
		for i := 0; i < piece; i += 4096 {
			memory[i] = 1
		}
		hogged = append(hogged, memory)
	}
}

var hogged [][]byte

// orphan starts processes that end after this one has.
func orphan([]string) error {
	for range 20 {
		if err := exec.CommandContext(context.Background(), "/bin/probe", "exit", "0").Start(); err != nil {
			return err
		}
	}
	return nil
}

// zombies counts the processes that have ended and that nobody has waited for.
func zombies([]string) error {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	n := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return err
		}
		if _, rest, ok := strings.Cut(string(data), ") "); ok && strings.HasPrefix(rest, "Z") {
			n++
		}
	}
	fmt.Println(n)
	return nil
}

// flood writes as many MiB as its argument says.
func flood(args []string) error {
	piece := make([]byte, 1<<20)
	for range number(args[0]) {
		if _, err := os.Stdout.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// terminalSize is the size of the terminal on stdout.
func terminalSize() (rows, columns uint16, err error) {
	size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, err
	}
	return size.Row, size.Col, nil
}
