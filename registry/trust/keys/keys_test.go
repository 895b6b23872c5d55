package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"

	"ampoule/faults"
)

func generate(t testing.TB) *Private {
	t.Helper()
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEncryptAndOpen(t *testing.T) {
	t.Parallel()
	k := generate(t)
	sealed, err := k.Encrypt([]byte("a passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(sealed, []byte("a passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := opened.Sign(t.Context(), []byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	if opened.Public().ID() != k.Public().ID() || !k.Public().Verify([]byte("message"), signature) {
		t.Error("another key comes out")
	}
	if k.Public().Verify([]byte("messagf"), signature) || generate(t).Public().Verify([]byte("message"), signature) || (Public{}).Verify([]byte("message"), signature) {
		t.Error("a signature holds for something else")
	}
	if _, err := Open(sealed, []byte("another")); !errors.Is(err, ErrPassphrase) || faults.Of(err) != faults.Input {
		t.Errorf("another passphrase: %v", err)
	}
	again, err := ParsePublic(k.Public().PEM())
	if err != nil || again.ID() != k.Public().ID() {
		t.Errorf("%s, %v", again.ID(), err)
	}
	if again, err = ParsePublicText(k.Public().Text()); err != nil || again.ID() != k.Public().ID() {
		t.Errorf("%s, %v", again.ID(), err)
	}
}

// OpenSSL wrote the files: `openssl pkcs8 -topk8`, with -scrypt, and with -v2 aes-256-cbc and
// -v2prf hmacWithSHA256.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	public, err := ReadPublic(filepath.Join("testdata", "p.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"scrypt.key", "pbkdf2.key"} {
		k, err := Open(read(t, name), []byte("secret"))
		if err != nil || k.Public().ID() != public.ID() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// OpenSSL counts so what scrypt takes, and reads no key that takes more than 32 MiB
// (crypto/evp/pbe_scrypt.c, SCRYPT_MAX_MEM).
func TestNewKeysFitOpenSSL(t *testing.T) {
	t.Parallel()
	need := scryptP*128*scryptR + 32*scryptR*(scryptN+2)*4
	if need > 32<<20 {
		t.Errorf("a new key takes %d bytes", need)
	}
}

// The pair of keys is of cosign 3.1.2: `cosign generate-key-pair`.
func TestKeyOfCosign(t *testing.T) {
	t.Parallel()
	public, err := ReadPublic(filepath.Join("testdata", "cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if k, err := Open(read(t, "cosign.key"), []byte("secret")); err != nil || k.Public().ID() != public.ID() {
		t.Errorf("%v", err)
	}
}

// cosignKey writes a key as cosign does.
func cosignKey(t testing.TB, k *Private, passphrase string, n int) []byte {
	t.Helper()
	plain, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		t.Fatal(err)
	}
	salt := make([]byte, 32)
	var nonce [24]byte
	_, _ = rand.Read(salt)
	_, _ = rand.Read(nonce[:])
	secret, err := scrypt.Key([]byte(passphrase), salt, n, 8, 1, 32)
	if err != nil {
		t.Fatal(err)
	}
	var f cosignFile
	f.KDF.Name, f.KDF.Salt, f.KDF.Params.N, f.KDF.Params.R, f.KDF.Params.P = "scrypt", salt, n, 8, 1
	f.Cipher.Name, f.Cipher.Nonce = "nacl/secretbox", nonce[:]
	f.Ciphertext = secretbox.Seal(nil, plain, &nonce, (*[32]byte)(secret))
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: sigstoreType, Bytes: text})
}

func TestCosignKey(t *testing.T) {
	t.Parallel()
	k := generate(t)
	text := cosignKey(t, k, "pw", 1<<10)
	opened, err := Open(text, []byte("pw"))
	if err != nil || opened.Public().ID() != k.Public().ID() {
		t.Fatalf("%v", err)
	}
	if _, err := Open(text, []byte("other")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	old := bytes.ReplaceAll(text, []byte("SIGSTORE"), []byte("COSIGN"))
	if _, err := Open(old, []byte("pw")); err != nil {
		t.Errorf("its form of before: %v", err)
	}
}

// greedy is a key whose scrypt would take 16 GiB.
func greedy(t *testing.T) []byte {
	t.Helper()
	var found encryptedKey
	found.Algorithm.ID, found.Data = oidPBES2, make([]byte, 160)
	var err error
	if found.Algorithm.Params.KDF, err = algorithm(oidScrypt, scryptParams{Salt: []byte("salt"), N: 1 << 24, R: 8, P: 1}); err != nil {
		t.Fatal(err)
	}
	if found.Algorithm.Params.Cipher, err = algorithm(oidAES256, make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: encryptedType, Bytes: der})
}

// greedyCosign is as greedy, in cosign's form.
func greedyCosign() []byte {
	nonce := base64.StdEncoding.EncodeToString(make([]byte, 24))
	text := `{"kdf":{"name":"scrypt","params":{"N":16777216,"r":8,"p":1}},"cipher":{"name":"nacl/secretbox","nonce":"` + nonce + `"}}`
	return pem.EncodeToMemory(&pem.Block{Type: cosignType, Bytes: []byte(text)})
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	sealed := read(t, "scrypt.key")
	block, _ := pem.Decode(sealed)
	short := pem.EncodeToMemory(&pem.Block{Type: encryptedType, Bytes: block.Bytes[:len(block.Bytes)-16]})
	for name, test := range map[string]struct {
		text []byte
		want string
	}{
		"empty":                {nil, "no key in PEM"},
		"not encrypted":        {read(t, "plain.key"), "is not encrypted"},
		"a public key":         {read(t, "p.pub"), "public key, which signs nothing"},
		"RSA":                  {read(t, "rsa.key"), "not a key of ECDSA"},
		"P-384":                {read(t, "p384.key"), "not on P-256"},
		"by 3DES":              {read(t, "des3.key"), "something else than PBES2 with AES-256-CBC"},
		"truncated":            {short, "its ASN.1 is damaged"},
		"truncated in PEM":     {sealed[:len(sealed)/2], "no key in PEM"},
		"too large":            {bytes.Repeat([]byte("x"), maxFile+1), "more than"},
		"greedy":               {greedy(t), "it asks for scrypt"},
		"greedy, as cosign's":  {greedyCosign(), "it asks for scrypt"},
		"cosign's, not scrypt": {pem.EncodeToMemory(&pem.Block{Type: cosignType, Bytes: []byte(`{"kdf":{"name":"argon2"}}`)}), `encrypted by "argon2"`},
		"cosign's, no JSON":    {pem.EncodeToMemory(&pem.Block{Type: cosignType, Bytes: []byte(`{`)}), "its JSON is damaged"},
	} {
		_, err := Open(test.text, []byte("secret"))
		if err == nil || !strings.Contains(err.Error(), test.want) || faults.Of(err) != faults.Input {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") && !strings.Contains(err.Error(), "secretbox") {
			t.Errorf("%s: the passphrase is told: %v", name, err)
		}
	}
	for name, text := range map[string]string{"no PEM": "x", "a private key": string(sealed), "damaged": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		if _, err := ParsePublic([]byte(text)); faults.Of(err) != faults.Input {
			t.Errorf("%s as a public key: %v", name, err)
		}
	}
}

// script makes a program of a shell's text.
func script(text string) []string { return []string{"sh", "-c", text} }

func TestCommand(t *testing.T) {
	t.Parallel()
	k := generate(t)
	message := []byte("a payload that stays secret")
	good, err := k.Sign(t.Context(), message)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "signature")
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text, want string
	}{
		"DER":            {"cat >&2; cat " + file, ""},
		"base64":         {"base64 " + file, ""},
		"nothing":        {"cat >/dev/null", "no signature of the public key"},
		"what it got":    {"cat", "no signature of the public key"},
		"fails":          {"cat; exit 3", "running sh: exit status 3"},
		"prints forever": {"yes", "running sh"},
	} {
		c := Command{Program: script(test.text), Key: k.Public(), Environ: os.Environ()}
		signature, err := c.Sign(t.Context(), message)
		if test.want == "" {
			if err != nil || !k.Public().Verify(message, signature) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "payload") || faults.Of(err) != faults.Machine {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Command{Program: []string{"/no/such/program"}, Key: k.Public()}).Sign(t.Context(), message); faults.Of(err) != faults.Machine {
		t.Errorf("missing: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(faults.New(faults.Interrupted, "", "ended"))
	if _, err := (Command{Program: script("sleep 60"), Key: k.Public(), Environ: os.Environ()}).Sign(ctx, message); faults.Of(err) != faults.Interrupted {
		t.Errorf("ended: %v", err)
	}
}

func TestPassphraseOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"a b\n": "a b", "a\r\n": "a", "a": "a", " a \n": " a ", "": ""} {
		if got := string(PassphraseOf([]byte(text))); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, name := range []string{"scrypt.key", "pbkdf2.key", "rsa.key", "des3.key", "p.pub"} {
		f.Add(read(f, name))
	}
	f.Add(cosignKey(f, generate(f), "secret", 1<<10))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := Open(text, []byte("secret"))
		if (k == nil) == (err == nil) {
			t.Errorf("%v, %v", k, err)
		}
	})
}
