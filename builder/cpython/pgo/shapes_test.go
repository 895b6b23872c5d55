package pgo

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The host's gcc refuses counts of a function that has changed, and is understood, however its lines come.
func TestShapesOfGCC(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	counted := trained(t, program, []string{"10", "2"})
	changed := strings.Replace(program, "return x - 1;", "return x - 1 - (x > 3 ? atoi(\"7\") : 0);", 1)
	for name, data := range map[string][]byte{"p.gcda": counted, "p.c": []byte(changed)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "gcc", "-O2", "-fprofile-use", "-fprofile-correction", "-c", "p.c")
	cmd.Dir = dir
	told, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("gcc takes counts of another function\n%s", told)
	}
	var whole, pieces Shapes
	whole.Write(told)
	for i := range told {
		pieces.Write(told[i : i+1])
	}
	expectMisfit(t, whole.Err(), "[-Werror=coverage-mismatch]")
	expectMisfit(t, pieces.Err(), whole.Err().Error())
}

// TestShapes looks at what other compilers print, and at what is no such refusal.
func TestShapes(t *testing.T) {
	t.Parallel()
	for line, refused := range map[string]bool{
		"error: coverage mismatch for function 'x' while reading counter 'arcs' [-Werror=coverage-mismatch]":                                        true,
		"error: profile data may be out of date: of 10 functions, 1 has mismatched data that will be ignored [-Werror,-Wprofile-instr-out-of-date]": true,
		"warning: profile data may be out of date: of 10 functions, 1 has mismatched data that will be ignored [-Wprofile-instr-out-of-date]":       false,
		"gcc -Werror=coverage-mismatch -c list.c":                              false,
		"list.c:3:5: error: 'x' undeclared (first use in this function)":       false,
		strings.Repeat("x", 2*mostTold) + "error: [-Werror=coverage-mismatch]": false,
	} {
		var s Shapes
		s.Write([]byte("list.c: In function 'x':\n" + line + "\nmake: *** [Makefile:9: list.o] Error 1\n"))
		if !refused && s.Err() != nil {
			t.Errorf("%q: %v", line, s.Err())
		}
		if refused {
			expectMisfit(t, s.Err(), line)
		}
	}
}
