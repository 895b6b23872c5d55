package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/docker/docker/api/types/container"

	"ampoule/builder/sandbox"
)

// Every name is in one place, and none of what must never be allowed is among them.
func TestSystemCallsAreListedOnce(t *testing.T) {
	t.Parallel()
	places := map[string]int{}
	for _, group := range allowed {
		if group.why == "" || !slices.IsSorted(group.calls) {
			t.Errorf("%q, %v: want a reason, and names in order", group.why, group.calls)
		}
		for _, call := range group.calls {
			places[call]++
		}
	}
	for _, call := range missing {
		places[call]++
	}
	for _, rule := range conditional() {
		if places[rule.Names[0]] > 0 {
			t.Errorf("%s depends on its arguments, and is allowed without looking", rule.Names[0])
		}
		if len(rule.Args) == 0 {
			t.Errorf("a rule of %s has no condition", rule.Names[0])
		}
	}
	for call, n := range places {
		if n != 1 {
			t.Errorf("%s is listed %d times", call, n)
		}
	}
	for _, call := range []string{
		"add_key", "keyctl", "request_key", "bpf", "perf_event_open", "ptrace", "mount", "umount2", "pivot_root", "setns", "unshare",
		"chroot", "open_by_handle_at", "quotactl", "acct", "swapon", "swapoff", "reboot", "init_module", "finit_module", "delete_module",
		"kexec_load", "kexec_file_load", "clock_settime", "settimeofday", "adjtimex", "iopl", "ioperm", "syslog", "sethostname",
		"mbind", "move_pages", "fsopen", "move_mount", "open_tree", "vhangup", "personality", "socket", "clone",
	} {
		if places[call] > 0 {
			t.Errorf("%s is allowed whatever its arguments", call)
		}
	}
}

func (a argRule) fits(arg uint64) bool {
	switch a.Op {
	case equal:
		return arg == a.Value
	case notEqual:
		return arg != a.Value
	}
	return a.Op == maskedEqual && arg&a.Value == a.ValueTwo
}

// decide is what the rules say of a call, as libseccomp takes them: all conditions of a rule.
func decide(call string, args ...uint64) (allowed bool, errno unix.Errno) {
	for _, rule := range systemCalls().Syscalls {
		fits := slices.Contains(rule.Names, call)
		for _, a := range rule.Args {
			fits = fits && int(a.Index) < len(args) && a.fits(args[a.Index])
		}
		if fits {
			return rule.Action == actionAllow, unix.Errno(rule.ErrnoRet)
		}
	}
	return false, unix.EPERM
}

func TestRulesDecide(t *testing.T) {
	t.Parallel()
	const ok = unix.Errno(0)
	for _, test := range []struct {
		call string
		args []uint64
		want unix.Errno
	}{
		{"read", nil, ok},
		{"bpf", nil, unix.EPERM},
		{"a call of the future", nil, unix.EPERM},
		{"clone3", nil, unix.ENOSYS},
		{"clone", []uint64{uint64(unix.SIGCHLD)}, ok},
		{"clone", []uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, ok},
		{"clone", []uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, unix.EPERM},
		{"clone", []uint64{unix.CLONE_NEWNET}, unix.EPERM},
		{"kill", []uint64{1, 9}, ok},
		{"kill", []uint64{nobody, 0}, unix.EKEYREVOKED},
		{"socket", []uint64{unix.AF_UNIX, unix.SOCK_SEQPACKET, 0}, ok},
		{"socket", []uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC, 0}, ok},
		{"socket", []uint64{unix.AF_INET6, unix.SOCK_DGRAM | unix.SOCK_NONBLOCK, unix.IPPROTO_UDP}, ok},
		{"socket", []uint64{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}, unix.EPERM},
		{"socket", []uint64{unix.AF_INET6, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP}, unix.EPERM},
		{"socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, ok},
		{"socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, unix.EPROTONOSUPPORT},
		{"socket", []uint64{unix.AF_VSOCK, unix.SOCK_STREAM, 0}, unix.EAFNOSUPPORT},
		{"socket", []uint64{unix.AF_VSOCK | 1<<32, unix.SOCK_STREAM, 0}, unix.EAFNOSUPPORT},
		{"socket", []uint64{unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, unix.EAFNOSUPPORT},
		{"socketpair", []uint64{unix.AF_UNIX, unix.SOCK_STREAM, 0}, ok},
		{"socketpair", []uint64{unix.AF_TIPC, unix.SOCK_STREAM, 0}, unix.EPERM},
		{"personality", []uint64{0xffffffff}, ok},
		{"personality", []uint64{0x0040000}, unix.EPERM},
		{"mknod", []uint64{0, unix.S_IFIFO | 0o600}, ok},
		{"mknodat", []uint64{0, 0, unix.S_IFCHR | 0o600}, unix.EPERM},
	} {
		if allowed, errno := decide(test.call, test.args...); allowed != (test.want == ok) || errno != test.want && !(errno == 0 && test.want == unix.EPERM) {
			t.Errorf("%s%v: allowed %t, %v, want %v", test.call, test.args, allowed, errno, test.want)
		}
	}
	text, isText := strings.CutPrefix(seccompOption(), "seccomp=")
	if !isText || !json.Valid([]byte(text)) {
		t.Errorf("the option is %.80s", seccompOption())
	}
}

// usageOf makes what is known of sandboxes, by their names.
func usageOf(budget sandbox.Limits, all map[string]used) *usage {
	u := &usage{engine: &Engine{budget: budget}, boxes: map[*box]used{}}
	for name, now := range all {
		u.boxes[&box{name: name, limits: sandbox.Limits{Memory: 10, PIDs: 10, Disk: 10}}] = now
	}
	return u
}

func TestUsageIsJudged(t *testing.T) {
	t.Parallel()
	budget := sandbox.Limits{Memory: 12, PIDs: 12, Disk: 12}
	for name, test := range map[string]struct {
		all  map[string]used
		want string
		full bool
	}{
		"nothing":       {nil, "", false},
		"alone":         {map[string]used{"a": {memory: 100, pids: 100}}, "", true},
		"within":        {map[string]used{"a": {memory: 4, disk: 4, pids: 4}, "b": {memory: 5, disk: 4}}, "", false},
		"little left":   {map[string]used{"a": {pids: 6}, "b": {pids: 4}}, "", true},
		"disk":          {map[string]used{"a": {disk: 11}, "b": {}}, "a wrote more than 10B", true},
		"memory of all": {map[string]used{"a": {memory: 6}, "b": {memory: 7}}, "the sandboxes together used more memory than 12B; b, which had the most, was ended", true},
		"disk of all":   {map[string]used{"a": {disk: 7}, "b": {disk: 6}}, "the sandboxes together wrote more than 12B; a, which had the most, was ended", true},
		"pids of all":   {map[string]used{"a": {pids: 9}, "b": {pids: 6}}, "the sandboxes together had more than 12 processes; a, which had the most, was ended", true},
	} {
		u := usageOf(budget, test.all)
		got := ""
		if _, excess := u.worst(); excess != nil {
			got = excess.Error()
			var hint interface{ Hint() string }
			if !errors.As(error(excess), &hint) || hint.Hint() == "" {
				t.Errorf("%s: no hint", name)
			}
		}
		if got != test.want || u.full() != test.full {
			t.Errorf("%s: %q, full %t; want %q, %t", name, got, u.full(), test.want, test.full)
		}
	}
}

// Memory that was read of files is nobody's; the names differ between cgroups 1 and 2.
func TestHeldMemory(t *testing.T) {
	t.Parallel()
	for _, stats := range []map[string]uint64{
		{"total_inactive_file": 20, "total_active_file": 10, "inactive_file": 1},
		{"inactive_file": 20, "active_file": 10},
	} {
		if got := held(container.MemoryStats{Usage: 100, Stats: stats}); got != 70 {
			t.Errorf("%v: %d of 100 are held", stats, got)
		}
	}
}

// The peak of a sandbox is the most that it held at one of the looks, also when it has gone.
func TestPeakOfMemory(t *testing.T) {
	t.Parallel()
	usages := []int{100, 700, 300}
	host := engineAt(t, map[string]http.HandlerFunc{
		"HEAD /_ping": ping("1.41"), "GET /info": answer(200, linuxInfo),
		"GET /containers/c/stats": func(w http.ResponseWriter, r *http.Request) {
			answer(200, fmt.Sprintf(`{"memory_stats": {"usage": %d, "stats": {"inactive_file": 20}}}`, usages[0]))(w, r)
			usages = usages[1:]
		},
	})
	e, err := connect(t.Context(), Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{engine: e, id: "c"}
	if peak, known := sandbox.Peak(b); known {
		t.Errorf("before a look it is %d", peak)
	}
	var now used
	for range 3 {
		if err := e.memory(t.Context(), b, &now); err != nil {
			t.Fatal(err)
		}
	}
	if peak, known := sandbox.Peak(b); !known || peak != 680 || now.memory != 280 {
		t.Errorf("the peak is %d, %t; it holds %d", peak, known, now.memory)
	}
}
