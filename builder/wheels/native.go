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
var compilerName = regexp.MustCompile(`^([a-z0-9_]+-)*(gcc|g\+\+|cc|c\+\+|clang|clang\+\+|gfortran|rustc|nvcc)(-\d+)?$`)

// sourceName matches what compilers compile, trialSource what build systems compile to see
// what a compiler can do.
var (
	sourceName  = regexp.MustCompile(`\.(c|cc|cpp|cxx|C|f|f90|F90|s|S|cu|rs)$`)
	trialSource = regexp.MustCompile(`^/tmp/|^(.*/)?(_configtest|conftest|testCCompiler|testCXXCompiler|CMakeC(XX)?CompilerId)\.|^(.*/)?CMakeFiles/|/meson-private/`)
)

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

// isNativeCall reports whether a line is a compiler call in which the processor of the build
// machine is the last that is named. What stands before the compiler does not matter:
// make's "cd x &&", cargo's "Running `", ninja's counter, ccache.
func isNativeCall(line string) bool {
	if !strings.Contains(line, "=native") || strings.HasPrefix(line, "checking ") {
		return false
	}
	words := strings.Fields(line)
	for i, word := range words {
		words[i] = strings.Trim(word, "`'\"")
	}
	at := slices.IndexFunc(words, func(w string) bool { return compilerName.MatchString(path.Base(w)) })
	if at < 0 {
		return false
	}
	native, compiles := false, false
	for _, word := range words[at+1:] {
		name, value, _ := strings.Cut(word, "=")
		switch {
		case name == "-march", name == "-mcpu", name == "target-cpu", name == "-Ctarget-cpu":
			native = value == "native"
		case trialSource.MatchString(word) && sourceName.MatchString(word):
			return false
		case sourceName.MatchString(word), word == "--crate-name":
			compiles = true
		}
	}
	return native && compiles
}
