package cli

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/faults"
)

// wheelWithTests writes a wheel that has a directory "tests" beside its package.
func wheelWithTests(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	record := ""
	for _, f := range []struct{ name, text string }{
		{"spam/__init__.py", "spam = 1\n"}, {"tests/__init__.py", "tests = 1\n"},
		{"spam-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"spam-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: spam\nVersion: 1.0\n"},
		{"spam-1.0.dist-info/RECORD", "spam-1.0.dist-info/RECORD,,\n"},
	} {
		sum := sha256.Sum256([]byte(f.text))
		if strings.HasSuffix(f.name, "RECORD") {
			f.text = record + f.text
		}
		record += fmt.Sprintf("%s,sha256=%s,%d\n", f.name, base64.RawURLEncoding.EncodeToString(sum[:]), len(f.text))
		w, err := z.Create(f.name)
		if err == nil {
			_, err = w.Write([]byte(f.text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "spam-1.0-py3-none-any.whl")
	if err := errors.Join(z.Close(), os.WriteFile(file, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAuditLint(t *testing.T) {
	t.Parallel()
	file := wheelWithTests(t)
	for _, test := range []struct {
		name    string
		options AuditOptions
		told    bool
		code    int
	}{
		{"not asked", AuditOptions{}, false, codeDone},
		{"told", AuditOptions{Lint: lintTell}, true, codeDone},
		{"refused", AuditOptions{Lint: lintError}, true, codeRefused},
		{"left out", AuditOptions{Lint: lintError, LintIgnore: []string{"common-name"}}, false, codeDone},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			test.options.Root = "/"
			err := Audit(t.Context(), &Session{Out: &out, Err: &bytes.Buffer{}, Output: Text}, file, test.options)
			if got := ExitCode(err); got != test.code {
				t.Errorf("code %d, want %d: %v", got, test.code, err)
			}
			if got := strings.Contains(out.String(), "fault: common-name: tests/"); got != test.told {
				t.Errorf("told %t, want %t:\n%s", got, test.told, &out)
			}
			if test.code == codeRefused && (!strings.Contains(err.Error(), "lint finds faults in 1 of the wheels") || len(faults.Hints(err)) != 1) {
				t.Errorf("error %v", err)
			}
		})
	}
}
