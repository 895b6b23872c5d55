package packaging

import (
	"encoding/base64"
	"encoding/hex"
	"os/exec"
	"strings"
	"testing"
)

// TestHashes compares each algorithm with what Python's hashlib gives, by which RECORDs are
// written.
func TestHashes(t *testing.T) {
	t.Parallel()
	const program = `import hashlib, base64
for name in sorted(hashlib.algorithms_guaranteed):
    if not name.startswith("shake"):
        print(name, base64.urlsafe_b64encode(hashlib.new(name, b"x = 1\n").digest()).decode())`
	told, err := exec.Command("python3", "-I", "-c", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(told)) {
		n++
		name, padded, _ := strings.Cut(strings.TrimSpace(line), " ")
		plain := strings.TrimRight(padded, "=")
		other := strings.NewReplacer("-", "+", "_", "/").Replace(padded)
		for _, text := range []string{plain, padded, other} {
			h, err := ParseRecordHash(name + "=" + text)
			if err != nil {
				t.Errorf("%s=%s: %v", name, text, err)
				continue
			}
			made := h.New()
			made.Write([]byte("x = 1\n"))
			sum := made.Sum(nil)
			if hex.EncodeToString(sum) != h.Sum || base64.RawURLEncoding.EncodeToString(sum) != plain {
				t.Errorf("%s gives %x, and hashlib %s", name, sum, plain)
			}
			if weak := name == "md5" || name == "sha1"; h.Weak() != weak {
				t.Errorf("%s is weak: %t", name, h.Weak())
			}
		}
	}
	if n != len(algorithms) {
		t.Errorf("hashlib has %d algorithms, and %d are known", n, len(algorithms))
	}
}

func TestHashOfUnknownAlgorithm(t *testing.T) {
	t.Parallel()
	h, err := ParseRecordHash("shake_128=AAAA")
	if err != nil || h.IsZero() || h.Sum != "" || h.New() != nil {
		t.Errorf("%+v, %v", h, err)
	}
}
