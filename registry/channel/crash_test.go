package channel

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/internal/powerloss"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
	"ampoule/store"
)

// How often a process is killed and the power goes in each deed, and where that is recorded (make kills,
// make powerloss).
var (
	kills  = flag.Int("kills", 10, "how often a process is killed in each deed")
	losses = flag.Int("losses", 10, "how often the power goes in each deed")
	record = flag.String("record", "", "the file of results: deeds that are in it are left out")
)

// plainKey signs with a key that another process can be given.
type plainKey struct {
	key    *ecdsa.PrivateKey
	public keys.Public
}

// newPlainKey is the key of a text, or a new one.
func newPlainKey(text string) (plainKey, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return plainKey{}, "", err
	}
	if text != "" {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return plainKey{}, "", err
		}
		if key, err = x509.ParseECPrivateKey(der); err != nil {
			return plainKey{}, "", err
		}
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return plainKey{}, "", err
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return plainKey{}, "", err
	}
	public, err := keys.ParsePublic(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	return plainKey{key, public}, base64.StdEncoding.EncodeToString(der), err
}

// Public implements [keys.Signer].
func (k plainKey) Public() keys.Public { return k.public }

// Sign implements [keys.Signer].
func (k plainKey) Sign(_ context.Context, message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	return ecdsa.SignASN1(rand.Reader, k.key, sum[:])
}

// oneKey is a trust root of one promotion key.
type oneKey struct{ keys.Public }

// KeysOf implements [Keys].
func (k oneKey) KeysOf(role string, _ time.Time) map[string]keys.Public {
	if role != roots.RolePromote {
		return nil
	}
	return map[string]keys.Public{"promote-1": k.Public}
}

// Threshold implements [Keys].
func (k oneKey) Threshold(string) int { return 1 }

// Explain implements [Keys].
func (k oneKey) Explain(string, time.Time, func(keys.Public) bool) string { return "it is another key" }

// site is a store on a disk whose machine ends, with two artifacts and a channel.
type site struct {
	t    testing.TB
	dir  string
	key  plainKey
	text string
	// a and b are the digests of the artifacts.
	a, b string
}

// open opens the store, and gives a writer of the channel and what closes it.
func (s *site) open() (*registry.Registry, *embedded.Registry, *Writer, func() error, error) {
	st, err := store.Open(s.dir)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	own := embedded.Open(st.Dir(store.Registry))
	end := func() error { return errors.Join(own.Close(), st.Close()) }
	reg, err := registry.Local(own)
	if err != nil {
		return nil, nil, nil, nil, errors.Join(err, end())
	}
	repo, err := reg.Repository("web")
	if err != nil {
		return nil, nil, nil, nil, errors.Join(err, end())
	}
	c, err := Open(repo, "prod", oneKey{s.key.public}, st, time.Now)
	if err != nil {
		return nil, nil, nil, nil, errors.Join(err, end())
	}
	w, err := NewWriter(c, reg, &judge{}, s.key)
	return reg, own, w, end, err
}

// promotions are what is done when the machine ends. Each is where the channel goes.
var promotions = map[string]func(context.Context, *Writer, *site) error{
	"promoting": func(ctx context.Context, w *Writer, s *site) error {
		_, err := w.Promote(ctx, Promotion{Digest: s.b})
		return err
	},
	"rolling back": func(ctx context.Context, w *Writer, s *site) error {
		_, err := w.Rollback(ctx, s.b, "it leaks")
		return err
	},
}

// newSite fills a store: the channel names a, and has named b before where it is to go back.
func newSite(t *testing.T, deed string) *site {
	t.Helper()
	made := newScene(t)
	s := &site{t: t, dir: filepath.Join(t.TempDir(), "store"), a: made.a, b: made.b}
	var err error
	s.key, s.text, err = newPlainKey("")
	made.must(err)
	reg, _, w, end, err := s.open()
	made.must(err)
	for _, digest := range []string{s.a, s.b} {
		_, err := registry.Copy(t.Context(), made.reg, "web@"+digest, reg, "web@"+digest)
		made.must(err)
	}
	if deed == "rolling back" {
		_, err := w.Promote(t.Context(), Promotion{Digest: s.b})
		made.must(err)
	}
	_, err = w.Promote(t.Context(), Promotion{Digest: s.a})
	made.must(errors.Join(err, end()))
	return s
}

// on is the same site on another disk.
func (s *site) on(dir string) *site {
	other := *s
	other.dir = dir
	return &other
}

// do does a deed, in this process.
func (s *site) do(ctx context.Context, deed string) error {
	_, _, w, end, err := s.open()
	if err != nil {
		return err
	}
	return errors.Join(promotions[deed](ctx, w, s), end())
}

// process is another process that does a deed.
func (s *site) process(deed string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), os.Args[0], "-test.run=^TestPromotion$", "-test.count=1")
	cmd.Env = append(os.Environ(), "CHANNEL_DIR="+s.dir, "CHANNEL_DEED="+deed, "CHANNEL_KEY="+s.text, "CHANNEL_A="+s.a, "CHANNEL_B="+s.b)
	return cmd
}

// promotionBegins is what another process says before its deed.
const promotionBegins = "begins\n"

// TestPromotion does a deed in a process of its own.
func TestPromotion(t *testing.T) {
	dir := os.Getenv("CHANNEL_DIR")
	if dir == "" {
		return
	}
	s := &site{t: t, dir: dir, a: os.Getenv("CHANNEL_A"), b: os.Getenv("CHANNEL_B")}
	var err error
	if s.key, s.text, err = newPlainKey(os.Getenv("CHANNEL_KEY")); err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdout.WriteString("\n" + promotionBegins)
	if err := s.do(t.Context(), os.Getenv("CHANNEL_DEED")); err != nil {
		t.Fatal(err)
	}
}

// look wants the channel to name the old digest or the new one, each of them whole, held and with its
// log. Done says that it must be the new one.
func (s *site) look(ctx context.Context, done bool) (err error) {
	reg, own, w, end, err := s.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	l, err := w.channel.Read(ctx)
	if err != nil {
		return err
	}
	if l.Digest != s.b && (done || l.Digest != s.a) {
		return fmt.Errorf("the channel names %s", l.Digest)
	}
	checked, err := w.channel.CheckTargets(ctx, reg, w.judge, 5)
	if err != nil {
		return err
	}
	for _, c := range checked {
		if len(c.Problems) > 0 {
			return fmt.Errorf("%s: %s", c.Digest, strings.Join(c.Problems, "; "))
		}
	}
	named, err := w.channel.repo.Named(ctx, "prod")
	if err != nil || !slices.Contains([]string{s.a, s.b}, named) {
		return fmt.Errorf("the tag names %q: %w", named, err)
	}
	if !done {
		return nil
	}
	if named != s.b {
		return fmt.Errorf("the tag names %s", named)
	}
	// What came by halves, and belongs to an entry that was never written, goes.
	if _, err := own.Verify(ctx, true); err != nil {
		return err
	}
	report, err := own.Verify(ctx, false)
	if err == nil && len(report.Faults) > 0 {
		err = fmt.Errorf("faults are left: %v", report.Faults)
	}
	return err
}

// endsWell looks at a disk on which a deed ended early, does it again, and looks at all that is there
// then. Whole says that it was not so early.
func (s *site) endsWell(ctx context.Context, deed string, whole bool) error {
	if err := s.look(ctx, whole); err != nil {
		return err
	}
	if err := s.again(ctx, deed); err != nil {
		return fmt.Errorf("%s again: %w", deed, err)
	}
	if err := s.look(ctx, true); err != nil {
		return fmt.Errorf("after %s again: %w", deed, err)
	}
	return nil
}

// again does a deed again. One whose entry was written is refused, and the next entry mends the tag.
func (s *site) again(ctx context.Context, deed string) error {
	_, _, w, end, err := s.open()
	if err != nil {
		return err
	}
	err = promotions[deed](ctx, w, s)
	if faults.Of(err) == faults.Refused {
		_, err = w.Refresh(ctx)
	}
	return errors.Join(err, end())
}

// The power goes at moments of a promotion: the channel is where it was or where it goes, with all that
// belongs to it.
func TestPromotionAndPowerLoss(t *testing.T) {
	t.Parallel()
	book, err := powerloss.OpenBook(*record)
	if err != nil {
		t.Fatal(err)
	}
	for deed := range promotions {
		t.Run(deed, func(t *testing.T) {
			t.Parallel()
			if book.Has("channel: "+deed, *losses) {
				t.Logf("%s: it is recorded", deed)
				return
			}
			s := newSite(t, deed)
			recording, err := powerloss.Record(t.Context(), s.dir, s.process(deed))
			if err != nil {
				t.Fatal(err)
			}
			result := powerloss.Result{Name: "channel: " + deed, Calls: recording.Len() - 1, Losses: *losses}
			for i := range *losses {
				moment := (recording.Len() - 1) * (i + 1) / *losses
				loss := powerloss.Losses[i%len(powerloss.Losses)]
				if err := s.lose(t, recording, deed, moment, loss, uint64(i)); err != nil {
					t.Errorf("behind call %d of %d, %s is lost: %v", moment, recording.Len()-1, loss, err)
					result.Failed++
				}
			}
			if err := book.Put(result); err != nil {
				t.Error(err)
			}
		})
	}
}

// lose has the power go at a moment, looks at the disk, and does the deed again.
func (s *site) lose(t *testing.T, recording *powerloss.Recording, deed string, moment int, loss powerloss.Loss, seed uint64) error {
	t.Helper()
	dir := t.TempDir()
	defer os.RemoveAll(dir) // hundreds of them would be many at the end
	if err := recording.Crash(moment, loss, seed, dir); err != nil {
		return err
	}
	return s.on(dir).endsWell(t.Context(), deed, moment == recording.Len()-1)
}

// Processes are killed at any moment of a promotion, with the same end.
func TestPromotionKilled(t *testing.T) {
	t.Parallel()
	book, err := powerloss.OpenBook(*record)
	if err != nil {
		t.Fatal(err)
	}
	for deed := range promotions {
		t.Run(deed, func(t *testing.T) {
			t.Parallel()
			if book.Has("channel: "+deed, *kills) {
				t.Logf("%s: it is recorded", deed)
				return
			}
			full := newSite(t, deed)
			took := full.copied(t).run(t, deed, time.Minute)
			result := powerloss.Result{Name: "channel: " + deed, Kills: *kills}
			for i := range *kills {
				s := full.copied(t)
				after := took * time.Duration(i+1) / time.Duration(*kills)
				s.run(t, deed, after)
				if err := s.endsWell(t.Context(), deed, false); err != nil {
					t.Errorf("killed after %s, of %s when undisturbed: %v", after, took, err)
					result.Failed++
				}
				_ = os.RemoveAll(s.dir)
			}
			if err := book.Put(result); err != nil {
				t.Error(err)
			}
		})
	}
}

// copied is a site like another one, on a disk of its own.
func (s *site) copied(t *testing.T) *site {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	return s.on(dir)
}

// run has another process do a deed, and kills it after a time. It returns how long that took.
func (s *site) run(t *testing.T, deed string, after time.Duration) time.Duration {
	t.Helper()
	cmd := s.process(deed)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for line := ""; line != promotionBegins; {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	killer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	_, _ = io.Copy(io.Discard, lines)
	took := time.Since(begun)
	ended := killer.Stop()
	if err := cmd.Wait(); err != nil && ended {
		t.Fatal(err)
	}
	return took
}
