package registry_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/install"
	"ampoule/registry/trust"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
	files "ampoule/store"
)

// remoteScene is another registry with a signed artifact in it, and a machine with a policy that asks
// for the signature, which is a bundle.
type remoteScene struct {
	*shelf
	server *server
	done   registry.Published
	judge  *trust.Judge
	key    *keys.Private
}

func newRemoteScene(t *testing.T) *remoteScene {
	t.Helper()
	s := &remoteScene{shelf: newShelf(t, t.TempDir()), server: newServer(t)}
	var err error
	s.key, err = keys.Generate()
	s.must(err)
	s.judge = s.newJudge()
	s.old.Evidence = func(ctx context.Context, repository, digest string) ([]registry.Evidence, error) {
		return evidence.Sign(ctx, s.key, evidence.Bundles, repository, digest, time.Now())
	}
	s.new.Evidence = s.old.Evidence
	s.done, err = s.server.open(t).Publish(t.Context(), s.old)
	s.must(err)
	return s
}

// newJudge makes a trust root, and a policy that asks for a signature of a build key.
func (s *remoteScene) newJudge() *trust.Judge {
	s.t.Helper()
	ctx := s.t.Context()
	ann, err := keys.Generate()
	s.must(err)
	root, err := roots.New("acme", time.Now().AddDate(1, 0, 0), map[string]keys.Public{"ann": ann.Public()}, 1)
	s.must(err)
	root, err = root.Next(true, roots.AddKey("build-1", s.key.Public(), roots.RoleBuild, 0, ""))
	s.must(err)
	root, err = root.Sign(ctx, ann)
	s.must(err)
	file := filepath.Join(s.dir, "policy.yaml")
	s.must(os.WriteFile(filepath.Join(s.dir, "trust.yaml"), root.Encode(), 0o600))
	s.must(os.WriteFile(file, []byte("apiVersion: ampoule/v1\ntrust: {file: trust.yaml, name: acme}\nrules:\n- match: [\"*\", \"team/*\"]\n  signatures: [build]\n"), 0o600))
	memory, err := files.Open(filepath.Join(s.dir, "store"))
	s.must(err)
	judge, err := trust.Open(ctx, memory, file, time.Now)
	s.must(err)
	return judge
}

// guarded gives of the registry what the policy allows.
func (s *remoteScene) guarded(r *registry.Registry) trust.Guarded {
	return trust.Guarded{Source: r, Judge: s.judge}
}

// uses are what people do with a registry.
var uses = map[string]func(context.Context, *remoteScene, *registry.Registry) error{
	"publishing": func(ctx context.Context, s *remoteScene, r *registry.Registry) error {
		_, err := r.Publish(ctx, s.new)
		return err
	},
	"signing": func(ctx context.Context, s *remoteScene, r *registry.Registry) error {
		items, err := evidence.Sign(ctx, s.key, evidence.Bundles, "team/web", s.done.Digest, time.Now())
		if err != nil {
			return err
		}
		return r.AddEvidence(ctx, s.done.Ref, append(items, signature("tagged"))...)
	},
	"attaching": func(ctx context.Context, s *remoteScene, r *registry.Registry) error {
		_, err := r.Attach(ctx, s.done.Ref, artifact.Referrer{ArtifactType: artifact.VerdictType, Files: []artifact.File{artifact.BytesFile("x", "text/plain", []byte("x"))}})
		return err
	},
	"copying there": func(ctx context.Context, s *remoteScene, r *registry.Registry) error {
		return s.copy(ctx, r)
	},
	"copying from there": func(ctx context.Context, s *remoteScene, r *registry.Registry) error {
		_, err := registry.Copy(ctx, r, s.done.Ref, remote(s.t.(*testing.T)), "web:v1")
		return err
	},
	"verifying": func(ctx context.Context, s *remoteScene, r *registry.Registry) error {
		_, err := s.guarded(r).Resolve(ctx, s.done.Ref)
		return err
	},
	"installing": func(ctx context.Context, s *remoteScene, r *registry.Registry) error {
		root := filepath.Join(s.dir, "root")
		_, err := install.Install(ctx, s.guarded(r), s.done.Ref, install.Options{Root: root, Platform: platform})
		if _, there := os.Lstat(filepath.Join(root, "current")); err != nil && there == nil {
			err = fmt.Errorf("something is installed, and: %w", err)
		}
		return err
	},
}

// fine says that a use does not meet a fault.
const fine = faults.Kind(-1)

// remoteFault is what is wrong with a registry.
type remoteFault struct {
	do func(http.ResponseWriter, *http.Request) bool
	// away says that nothing listens there.
	away bool
	// kind is what uses end with, told is in what they say; except are those that end otherwise.
	kind   faults.Kind
	told   string
	except map[string]faults.Kind
}

// always answers all requests.
func always(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

// reset has a connection end with RST in the place of FIN: what was sent may never be read.
func reset(w http.ResponseWriter, _ *http.Request) bool {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0) //nolint:errcheck // then it ends in another way
		}
		conn.Close()
	}
	return true
}

// reading answers requests that read something whose path has a part.
func reading(part string, answer func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		hit := req.Method == http.MethodGet && strings.Contains(req.URL.Path, part)
		if hit {
			answer(w)
		}
		return hit
	}
}

var remoteFaults = map[string]remoteFault{
	"is away":            {away: true, kind: faults.Remote, told: "connection refused"},
	"cuts connections":   {do: cut, kind: faults.Remote},
	"resets connections": {do: reset, kind: faults.Remote},
	"ends answers early": {do: reading("/blobs/", func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "100000")
		fmt.Fprint(w, strings.Repeat("x", 5000))
		panic(http.ErrAbortHandler)
	}), kind: faults.Remote, except: map[string]faults.Kind{"signing": fine, "attaching": fine, "copying there": fine}},
	"fails":                  {do: always(http.StatusInternalServerError), kind: faults.Remote, told: "500"},
	"limits the rate":        {do: always(http.StatusTooManyRequests), kind: faults.Remote, told: "429"},
	"asks to wait a day":     {do: always(http.StatusTooManyRequests, "Retry-After", "86400"), kind: faults.Remote, told: "429"},
	"asks to wait 100 years": {do: always(http.StatusServiceUnavailable, "Retry-After", "Fri, 01 Jan 2125 00:00:00 GMT"), kind: faults.Remote, told: "503"},
	"hangs": {do: func(_ http.ResponseWriter, req *http.Request) bool {
		_, _ = io.Copy(io.Discard, req.Body) // then a lost connection is noticed
		<-req.Context().Done()
		return true
	}, kind: faults.Remote, told: "nothing came"},
	"gives wrong bytes": {do: reading("/blobs/", func(w http.ResponseWriter) { fmt.Fprint(w, "other bytes") }), kind: faults.Refused, except: map[string]faults.Kind{"publishing": faults.Remote, "signing": fine, "attaching": fine, "copying there": fine}},
	"gives a wrong manifest": {do: reading("/manifests/sha256:", func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", artifact.IndexType)
		fmt.Fprint(w, `{"schemaVersion":2,"manifests":[]}`)
	}), kind: faults.Refused, except: map[string]faults.Kind{"signing": fine, "attaching": fine, "copying there": fine, "publishing": faults.Remote}},
	"strips referrers": {do: reading("/referrers/", func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", artifact.IndexType)
		fmt.Fprint(w, `{"schemaVersion":2,"mediaType":"`+artifact.IndexType+`","manifests":[]}`)
	}), kind: faults.Remote, told: "does not list what refers to", except: map[string]faults.Kind{"verifying": faults.Refused, "installing": faults.Refused, "copying from there": fine}},
	"expires what has no tag": {do: func(w http.ResponseWriter, req *http.Request) bool {
		gone := strings.Contains(req.URL.Path, "/manifests/sha256:") && req.Method != http.MethodPut
		if gone {
			w.WriteHeader(http.StatusNotFound)
		}
		return gone
	}, kind: faults.NotFound, told: "not found", except: map[string]faults.Kind{"publishing": faults.Remote, "copying there": fine}},
}

// Whatever is wrong with a registry is told by the kind of error that it is. What was there stays, and
// the same can be done again when the registry is well.
func TestRegistryFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range remoteFaults {
		for use, do := range uses {
			t.Run(name+"/"+use, func(t *testing.T) {
				t.Parallel()
				s := newRemoteScene(t)
				want, except := fault.except[use]
				if !except {
					want = fault.kind
				}
				err := s.meet(fault, do)
				switch {
				case want == fine:
					if err != nil {
						t.Errorf("it ends with %v", err)
					}
				case err == nil || faults.Of(err) != want || !except && !strings.Contains(err.Error(), fault.told):
					t.Errorf("%v of kind %v, want %q of kind %v", err, faults.Of(err), fault.told, want)
				}
				r := s.server.open(t)
				if _, err := s.guarded(r).Resolve(t.Context(), s.done.Ref); err != nil {
					t.Errorf("afterwards: %v", err)
				}
				if err := do(t.Context(), s, r); err != nil {
					t.Errorf("again: %v", err)
				}
			})
		}
	}
}

// meet does something while a registry has a fault.
func (s *remoteScene) meet(fault remoteFault, do func(context.Context, *remoteScene, *registry.Registry) error) error {
	s.t.Helper()
	content := s.server.content
	if fault.away {
		s.server.stop()
	}
	faulty := &server{t: s.server.t, address: s.server.address, content: content, fault: fault.do}
	if !fault.away {
		s.server.stop()
		faulty.start()
	}
	begun := time.Now()
	err := do(s.t.Context(), s, faulty.open(s.server.t))
	if took := time.Since(begun); took > 20*time.Second {
		s.t.Errorf("it took %s", took)
	}
	if !fault.away {
		faulty.stop()
	}
	s.server.start()
	return err
}

// What passes is waited for, at whichever request it comes.
func TestRegistryFaultsThatPass(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"fails":        always(http.StatusInternalServerError),
		"cuts":         cut,
		"asks to wait": always(http.StatusTooManyRequests, "Retry-After", "1"),
		"asks to wait by a date": func(w http.ResponseWriter, req *http.Request) bool {
			then := time.Now().UTC().Add(time.Second).Format(http.TimeFormat)
			return always(http.StatusTooManyRequests, "Retry-After", then)(w, req)
		},
	} {
		for use, do := range uses {
			t.Run(name+"/"+use, func(t *testing.T) {
				t.Parallel()
				for _, number := range []int{2, 6} {
					s := newRemoteScene(t)
					if err := s.meet(remoteFault{do: once(number, fault)}, do); err != nil {
						t.Errorf("at request %d: %v", number, err)
					}
					if strings.HasPrefix(name, "asks") {
						return // waiting takes its time
					}
				}
			})
		}
	}
	t.Run("is slow", func(t *testing.T) {
		t.Parallel()
		for use, do := range uses {
			s := newRemoteScene(t)
			err := s.meet(remoteFault{do: func(http.ResponseWriter, *http.Request) bool {
				time.Sleep(10 * time.Millisecond)
				return false
			}}, do)
			if err != nil {
				t.Errorf("%s: %v", use, err)
			}
		}
	})
}
