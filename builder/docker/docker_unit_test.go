package docker

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
)

// engineAt serves an engine and returns its address in the form of DOCKER_HOST.
func engineAt(t *testing.T, routes map[string]http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if strings.HasPrefix(path, "/v1.") {
			path = path[strings.Index(path[1:], "/")+1:]
		}
		if f, ok := routes[r.Method+" "+path]; ok {
			f(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	return "tcp://" + strings.TrimPrefix(server.URL, "http://")
}

func ping(version string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("API-Version", version)
		w.Header().Set("OSType", "linux")
	}
}

func answer(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
}

const linuxInfo = `{"OSType": "linux", "MemTotal": 1000000000, "SwapLimit": true}`

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, host := range map[string]string{
		"nobody listens": "tcp://" + closed.Addr().String(),
		"bad host":       "no host",
		"too old":        engineAt(t, map[string]http.HandlerFunc{"HEAD /_ping": ping("1.40"), "GET /info": answer(200, linuxInfo)}),
		"broken":         engineAt(t, map[string]http.HandlerFunc{"HEAD /_ping": ping("1.41"), "GET /info": answer(500, `{"message":"no"}`)}),
		"windows":        engineAt(t, map[string]http.HandlerFunc{"HEAD /_ping": ping("1.41"), "GET /info": answer(200, `{"OSType": "windows"}`)}),
	} {
		_, err := Open(t.Context(), Options{Host: host, Locks: t.TempDir(), Store: "test"})
		var hint interface{ Hint() string }
		if !errors.Is(err, sandbox.ErrUnavailable) || !errors.As(err, &hint) || hint.Hint() == "" {
			t.Errorf("%s: got %v, want ErrUnavailable with a hint", name, err)
		}
	}
	if _, err := Open(t.Context(), Options{Locks: t.TempDir(), Store: "Not/an id"}); err == nil {
		t.Error("a bad store id was taken")
	}
}

func TestGreet(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		version, info string
		partial       bool
	}{
		"20.10":      {"1.41", linuxInfo, true},
		"newer":      {"1.99", linuxInfo, true},
		"containerd": {"1.51", `{"OSType":"linux","MemTotal":1000000000,"DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]]}`, false},
	} {
		host := engineAt(t, map[string]http.HandlerFunc{
			"HEAD /_ping": ping(test.version), "GET /info": answer(200, test.info), "GET /containers/json": answer(200, `[]`),
		})
		e, err := Open(t.Context(), Options{Host: host, Locks: t.TempDir(), Store: "test", Limits: sandbox.Limits{PIDs: 9}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.partial != test.partial || e.limits.PIDs != 9 || e.limits.Memory != 800_000_000 {
			t.Errorf("%s: got partial %v, limits %+v", name, e.partial, e.limits)
		}
		if err := e.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// unprivileged is what such a sandbox may have.
var unprivileged = confinement{users: usualUsers, user: 1000}

// goodStatus is what a process of an unprivileged sandbox says of itself.
const goodStatus = `sh: 1: kill: Key has been revoked

Name:	cat
Uid:	1000	1000	1000	1000
Gid:	1000	1000	1000	1000
Groups:	1000 
SigBlk:	0000000000000000
SigIgn:	0000000000000000
CapInh:	0000000000000000
CapPrm:	0000000000000000
CapEff:	0000000000000000
CapBnd:	0000000000000000
CapAmb:	0000000000000000
NoNewPrivs:	1
Seccomp:	2
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
`

func TestCheckReport(t *testing.T) {
	t.Parallel()
	b := &box{confinement: unprivileged}
	if err := b.checkReport(parseReport(goodStatus)); err != nil {
		t.Fatal(err)
	}
	internal := strings.Replace(goodStatus, "SigIgn:	0000000000000000", "SigIgn:	0000000180000000", 1)
	if err := b.checkReport(parseReport(internal)); err != nil {
		t.Errorf("the C library's own signals: %v", err)
	}
	for name, change := range map[string][2]string{
		"root":               {"Uid:	1000	1000", "Uid:	1000	0"},
		"group":              {"Gid:	1000", "Gid:	0"},
		"groups":             {"Groups:	1000", "Groups:	27"},
		"blocked signal":     {"SigBlk:	0000000000000000", "SigBlk:	0000000000010000"},
		"ignored signal":     {"SigIgn:	0000000000000000", "SigIgn:	0000000000000001"},
		"signal 34 ignored":  {"SigIgn:	0000000000000000", "SigIgn:	0000000380000000"},
		"capability":         {"CapEff:	0000000000000000", "CapEff:	0000000000002000"},
		"bounding set":       {"CapBnd:	0000000000000000", "CapBnd:	00000000a80425fb"},
		"new privileges":     {"NoNewPrivs:	1", "NoNewPrivs:	0"},
		"no seccomp":         {"Seccomp:	2", "Seccomp:	0"},
		"another profile":    {"Key has been revoked", "No such process"},
		"no answer":          {"sh: 1: kill: Key has been revoked", ""},
		"missing field":      {"CapAmb:	0000000000000000\n", ""},
		"another interface":  {"    lo:", "  eth0: 1 2 3\n    lo:"},
		"no interface table": {"    lo:", "    "},
	} {
		text := strings.Replace(goodStatus, change[0], change[1], 1)
		if text == goodStatus {
			t.Fatalf("%s: nothing changed", name)
		}
		err := b.checkReport(parseReport(text))
		var hint interface{ Hint() string }
		if !errors.Is(err, sandbox.ErrNotSealed) || !errors.As(err, &hint) {
			t.Errorf("%s: got %v, want ErrNotSealed with a hint", name, err)
		}
	}
	packages := &box{confinement: confinement{capabilities: packageCapabilities}}
	text := strings.NewReplacer("1000", "0", "CapEff:	0000000000000000", "CapEff:	00000000000000db").Replace(goodStatus)
	if err := packages.checkReport(parseReport(text)); err != nil {
		t.Error(err)
	}
}

// inspected is how an engine describes a good container.
func inspected(e *Engine, s confinement, limits sandbox.Limits) container.InspectResponse {
	h := e.hostConfig(s, limits)
	h.MaskedPaths, h.ReadonlyPaths = []string{"/proc/kcore"}, []string{"/proc/sys"}
	return container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{State: &container.State{Running: true}, HostConfig: h},
		Config:            e.config(s, sandbox.Spec{}),
		NetworkSettings:   &container.NetworkSettings{},
	}
}

func TestCheckState(t *testing.T) {
	t.Parallel()
	e := &Engine{owner: &owner{id: "me"}, swap: true, quota: true}
	limits := sandbox.Limits{Memory: 1 << 30, PIDs: 100, CPUs: 2, Disk: 4 << 30}
	s := unprivileged
	b := &box{engine: e, confinement: s, limits: limits}
	if err := b.checkState(inspected(e, s, limits)); err != nil {
		t.Fatal(err)
	}
	yes, many := true, int64(1000)
	for name, change := range map[string]func(c *container.InspectResponse){
		"nothing":     func(c *container.InspectResponse) { c.ContainerJSONBase = nil },
		"privileged":  func(c *container.InspectResponse) { c.HostConfig.Privileged = true },
		"bridge":      func(c *container.InspectResponse) { c.HostConfig.NetworkMode = "bridge" },
		"capability":  func(c *container.InspectResponse) { c.HostConfig.CapAdd = []string{"CAP_SYS_ADMIN"} },
		"not dropped": func(c *container.InspectResponse) { c.HostConfig.CapDrop = nil },
		"seccomp": func(c *container.InspectResponse) {
			c.HostConfig.SecurityOpt = []string{noNewPrivileges, "seccomp=unconfined"}
		},
		"dropped profile": func(c *container.InspectResponse) {
			c.HostConfig.SecurityOpt = []string{noNewPrivileges}
		},
		"processors":       func(c *container.InspectResponse) { c.HostConfig.NanoCPUs = 0 },
		"files":            func(c *container.InspectResponse) { c.HostConfig.Ulimits = c.HostConfig.Ulimits[:2] },
		"length of files":  func(c *container.InspectResponse) { c.HostConfig.Ulimits[2].Hard *= 2 },
		"privileges":       func(c *container.InspectResponse) { c.HostConfig.SecurityOpt = nil },
		"unmasked":         func(c *container.InspectResponse) { c.HostConfig.MaskedPaths = nil },
		"host processes":   func(c *container.InspectResponse) { c.HostConfig.PidMode = "host" },
		"host ipc":         func(c *container.InspectResponse) { c.HostConfig.IpcMode = "shareable" },
		"host users":       func(c *container.InspectResponse) { c.HostConfig.UsernsMode = "host" },
		"mount":            func(c *container.InspectResponse) { c.Mounts = []container.MountPoint{{Destination: "/x"}} },
		"bind":             func(c *container.InspectResponse) { c.HostConfig.Binds = []string{"/:/host"} },
		"device":           func(c *container.InspectResponse) { c.HostConfig.Devices = []container.DeviceMapping{{}} },
		"user":             func(c *container.InspectResponse) { c.Config.User = "" },
		"no init":          func(c *container.InspectResponse) { c.HostConfig.Init = nil },
		"processes":        func(c *container.InspectResponse) { c.HostConfig.PidsLimit = &many },
		"unbounded":        func(c *container.InspectResponse) { c.HostConfig.PidsLimit = nil },
		"memory":           func(c *container.InspectResponse) { c.HostConfig.Memory = 0 },
		"swap":             func(c *container.InspectResponse) { c.HostConfig.MemorySwap = -1 },
		"no out of memory": func(c *container.InspectResponse) { c.HostConfig.OomKillDisable = &yes },
	} {
		c := inspected(e, s, limits)
		change(&c)
		if err := b.checkState(c); !errors.Is(err, sandbox.ErrNotSealed) {
			t.Errorf("%s: got %v, want ErrNotSealed", name, err)
		}
	}
}

func TestSameCapabilities(t *testing.T) {
	t.Parallel()
	given := []string{"CAP_SETUID", "CAP_SETGID", "CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "FSETID"}
	if !sameCapabilities(given, packageCapabilities) {
		t.Error("the same capabilities in another form are taken for others")
	}
	if sameCapabilities(append(given, "CAP_NET_RAW"), packageCapabilities) {
		t.Error("one capability more is overlooked")
	}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	var source bytes.Buffer
	tw := tar.NewWriter(&source)
	for _, hdr := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "dir/"},
		{Typeflag: tar.TypeReg, Name: "dir/file", Size: 4, Uname: "someone"},
		{Typeflag: tar.TypeLink, Name: "dir/link", Linkname: "dir/file"},
		{Typeflag: tar.TypeSymlink, Name: "dir/sym", Linkname: "dir/file"},
		{Typeflag: tar.TypeReg, Name: "dir/hosts", Size: 4},
	} {
		if err := tw.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if hdr.Size > 0 {
			if _, err := tw.Write([]byte("text")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	r := rewrite(iotest.OneByteReader(bytes.NewReader(source.Bytes())), chain(stripFirst, leaveOutEngine("/etc")))
	var got []string
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSpace(hdr.Name+" "+hdr.Linkname+" "+hdr.Uname))
	}
	if diff := cmp.Diff([]string{"file", "link file", "sym dir/file"}, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	for cut := 0; cut < source.Len()-512; cut += 256 {
		r := rewrite(bytes.NewReader(source.Bytes()[:cut]), stripFirst)
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: got %v", cut, err)
		}
	}
}

func TestStageID(t *testing.T) {
	t.Parallel()
	e := &Engine{store: "any"}
	config := sandbox.Config{
		Architecture: "amd64", Env: []string{"PATH=/bin"}, Entrypoint: []string{"/bin/python3"}, Cmd: []string{"-V"},
		WorkingDir: "/srv", User: "1000:1000", Labels: map[string]string{"b": "2", "a": "1"},
	}
	layer := sandbox.Layer{DiffID: "sha256:" + strings.Repeat("ab", 32)}
	s, err := e.stage(config, []sandbox.Layer{layer, layer})
	if err != nil {
		t.Fatal(err)
	}
	digest := strings.Repeat("ab", 32)
	want := `{"architecture":"amd64","config":{"User":"1000:1000","Env":["PATH=/bin"],"Entrypoint":["/bin/python3"],"Cmd":["-V"],` +
		`"WorkingDir":"/srv","Labels":{"a":"1","b":"2"}},"created":"1970-01-01T00:00:00Z",` +
		`"history":[{"created":"1970-01-01T00:00:00Z","created_by":"ampoule"},{"created":"1970-01-01T00:00:00Z","created_by":"ampoule"}],` +
		`"os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:` + digest + `","sha256:` + digest + `"]}}`
	if diff := cmp.Diff(want, string(s.json)); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	if err := readAnswer(strings.NewReader(`{"stream":"Loaded"}` + "\n" + `{"status":"x"}`)); err != nil {
		t.Error(err)
	}
	for _, text := range []string{`{"stream":"a"}{"errorDetail":{"message":"disk full"},"error":"disk full"}`, `{"stream":`, `<html>`} {
		if err := readAnswer(strings.NewReader(text)); err == nil {
			t.Errorf("%s was taken for success", text)
		}
	}
}

func TestParseOOMKills(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n":                3,
		"low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n": 1,
		"":           0,
		"oom_kill x": 0,
	} {
		if got := parseOOMKills(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add(goodStatus)
	f.Fuzz(func(t *testing.T, text string) {
		b := &box{confinement: unprivileged}
		if b.checkReport(parseReport(text)) == nil && !strings.Contains(text, "lo:") {
			t.Errorf("%q passes", text)
		}
	})
}

func FuzzRewrite(f *testing.F) {
	f.Add([]byte("no tar"), true)
	var seed bytes.Buffer
	tw := tar.NewWriter(&seed)
	for _, hdr := range []*tar.Header{{Typeflag: tar.TypeReg, Name: "d/file"}, {Typeflag: tar.TypeLink, Name: "d/link", Linkname: "d/file"}} {
		if err := tw.WriteHeader(hdr); err != nil {
			f.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(seed.Bytes(), true)
	f.Add(seed.Bytes(), false)
	f.Fuzz(func(t *testing.T, data []byte, strip bool) {
		c := checkMember
		if strip {
			c = chain(stripFirst, leaveOutEngine("/"))
		}
		r := rewrite(bytes.NewReader(data), c)
		defer r.Close()
		out, err := io.ReadAll(r)
		if err != nil {
			return
		}
		for tr := tar.NewReader(bytes.NewReader(out)); ; {
			hdr, err := tr.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("what was written cannot be read: %v", err)
			}
			if !strip && leaves(hdr.Name) {
				t.Errorf("%q leaves", hdr.Name)
			}
		}
	})
}
