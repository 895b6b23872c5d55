package wheels

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

// compilerName matches the programs that compile: gcc, x86_64-linux-gnu-g++-12, rustc.
var compilerName = regexp.MustCompile(`^([a-z0-9_]+-)*(gcc|g\+\+|cc|c\+\+|clang|clang\+\+|gfortran|rustc)(-\d+)?$`)

// nativeFlags make a compiler use what the build machine's processor has.
var nativeFlags = []string{"-march=native", "-mcpu=native", "-mtune=native", "target-cpu=native", "-Ctarget-cpu=native"}

// trialSource matches what build systems compile to see what a compiler can do.
var trialSource = regexp.MustCompile(`^(/tmp/|(.*/)?_?conf(ig)?test)`)

// callBytes bounds a compiler call that is told.
const callBytes = 300

// nativeCall finds the first compiler call in what a build printed that compiles a part of
// the wheel for the processor of the build machine; none is an empty text. Build systems
// that print no calls, as ninja does, tell nothing.
func nativeCall(logFile string) (call string, err error) {
	f, err := os.Open(logFile)
	if err != nil {
		return "", fmt.Errorf("reading the build's log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewReaderSize(f, 64<<10)
	for {
		// Of a longer line, the rest is read as another one.
		line, err := lines.ReadSlice('\n')
		if isNativeCall(string(line)) {
			text := strings.ToValidUTF8(strings.TrimSpace(string(line)), "�")
			return text[:min(len(text), callBytes)], nil
		}
		switch {
		case errors.Is(err, io.EOF):
			return "", nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return "", fmt.Errorf("reading the build's log: %w", err)
		}
	}
}

func isNativeCall(line string) bool {
	if !strings.Contains(line, "=native") {
		return false
	}
	words := strings.Fields(line)
	compiles := slices.Contains(words, "-c") || slices.Contains(words, "--crate-name")
	return compiles && compilerName.MatchString(path.Base(words[0])) &&
		slices.ContainsFunc(words, func(w string) bool { return slices.Contains(nativeFlags, w) }) &&
		!slices.ContainsFunc(words, trialSource.MatchString)
}
