package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sysCall is a system call with its arguments.
type sysCall struct {
	number uintptr
	args   [6]uintptr
}

func sys(number uintptr, args ...uintptr) sysCall {
	c := sysCall{number: number}
	copy(c.args[:], args)
	return c
}

// above is what an int has no room for: the kernel does not look at it.
const above = 1 << 32

// Memory for what system calls read and write.
var (
	zeros [4096]byte
	path  = append([]byte("/tmp/attempt"), 0)
)

func zero() uintptr { return uintptr(unsafe.Pointer(&zeros)) } //nolint:gosec // what the kernel is given

func name() uintptr { return uintptr(unsafe.Pointer(&path[0])) } //nolint:gosec // what the kernel is given

// addressesAsTheyAre makes a program's addresses the same each time (linux/personality.h).
const addressesAsTheyAre = 0x0040000

// calls are what a sandbox must not be able to do, and some that it must.
func calls() map[string]sysCall {
	self := uintptr(os.Getpid())
	all := map[string]sysCall{
		"fine: socket unix":       sys(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC),
		"fine: socket tcp":        sys(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP),
		"fine: socket udp6":       sys(unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_DGRAM),
		"fine: socket route":      sys(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE),
		"fine: inotify":           sys(unix.SYS_INOTIFY_INIT1, unix.IN_CLOEXEC),
		"fine: memfd_create":      sys(unix.SYS_MEMFD_CREATE, name(), 0),
		"fine: personality asked": sys(unix.SYS_PERSONALITY, 0xffffffff),
		"fine: fifo":              sys(unix.SYS_MKNODAT, ^uintptr(99), name(), unix.S_IFIFO|0o600),

		"socket of a family above": sys(unix.SYS_SOCKET, unix.AF_VSOCK|above, unix.SOCK_STREAM),
		"socket raw":               sys(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
		"socket ping":              sys(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP),
		"socket sctp":              sys(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP),
		"socket mptcp":             sys(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP),
		"netlink generic":          sys(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC),
		"netlink audit":            sys(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT),

		"io_uring_setup":    sys(unix.SYS_IO_URING_SETUP, 1, zero()),
		"io_setup":          sys(unix.SYS_IO_SETUP, 1, zero()),
		"add_key":           sys(unix.SYS_ADD_KEY, name(), name(), zero(), 1, ^uintptr(2)),
		"keyctl":            sys(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 1),
		"request_key":       sys(unix.SYS_REQUEST_KEY, name(), name(), 0, 0),
		"bpf":               sys(unix.SYS_BPF, 0, zero(), 64),
		"perf_event_open":   sys(unix.SYS_PERF_EVENT_OPEN, zero(), 0, ^uintptr(0), ^uintptr(0)),
		"userfaultfd":       sys(unix.SYS_USERFAULTFD, 1),
		"kexec_load":        sys(unix.SYS_KEXEC_LOAD),
		"init_module":       sys(unix.SYS_INIT_MODULE, zero(), 1, zero()),
		"mount":             sys(unix.SYS_MOUNT, name(), name(), name(), 0, 0),
		"umount2":           sys(unix.SYS_UMOUNT2, name(), 0),
		"pivot_root":        sys(unix.SYS_PIVOT_ROOT, name(), name()),
		"fsopen":            sys(unix.SYS_FSOPEN, name(), 0),
		"chroot":            sys(unix.SYS_CHROOT, name()),
		"setns":             sys(unix.SYS_SETNS, 0, 0),
		"unshare user":      sys(unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
		"clone user":        sys(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD)),
		"clone3":            sys(unix.SYS_CLONE3, zero(), 64),
		"ptrace":            sys(unix.SYS_PTRACE, unix.PTRACE_TRACEME),
		"process_vm_readv":  sys(unix.SYS_PROCESS_VM_READV, self, zero(), 0, zero(), 0, 0),
		"kcmp":              sys(unix.SYS_KCMP, self, self, 0, 0, 0),
		"personality":       sys(unix.SYS_PERSONALITY, addressesAsTheyAre),
		"name_to_handle_at": sys(unix.SYS_NAME_TO_HANDLE_AT, ^uintptr(99), name(), zero(), zero(), 0),
		"open_by_handle_at": sys(unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(99), zero(), 0),
		"quotactl":          sys(unix.SYS_QUOTACTL, 0, name(), 0, zero()),
		"acct":              sys(unix.SYS_ACCT, name()),
		"swapon":            sys(unix.SYS_SWAPON, name(), 0),
		"reboot":            sys(unix.SYS_REBOOT, 0, 0, 0, 0),
		"clock_settime":     sys(unix.SYS_CLOCK_SETTIME, 0, zero()),
		"adjtimex":          sys(unix.SYS_ADJTIMEX, zero()),
		"sethostname":       sys(unix.SYS_SETHOSTNAME, name(), 1),
		"syslog":            sys(unix.SYS_SYSLOG, 10, zero(), 1),
		"fanotify_init":     sys(unix.SYS_FANOTIFY_INIT, 0, 0),
		"device":            sys(unix.SYS_MKNODAT, ^uintptr(99), name(), unix.S_IFCHR|0o600, uintptr(unix.Mkdev(1, 3))),
		"device of nothing": sys(unix.SYS_MKNODAT, ^uintptr(99), name(), unix.S_IFBLK|0o600),
		"iopl":              sys(172, 3),
		"modify_ldt":        sys(154, 0, zero(), 1),
		"memfd_secret":      sys(447, 0),
	}
	for family, number := range map[string]uintptr{
		"vsock": unix.AF_VSOCK, "packet": unix.AF_PACKET, "alg": unix.AF_ALG, "bluetooth": unix.AF_BLUETOOTH, "can": unix.AF_CAN,
		"tipc": unix.AF_TIPC, "xdp": unix.AF_XDP, "key": unix.AF_KEY, "nfc": unix.AF_NFC, "rds": unix.AF_RDS, "ax25": unix.AF_AX25,
		"smc": unix.AF_SMC, "kcm": unix.AF_KCM, "qipcrtr": unix.AF_QIPCRTR,
	} {
		all["socket "+family] = sys(unix.SYS_SOCKET, number, unix.SOCK_SEQPACKET)
		if family == "vsock" || family == "packet" {
			all["socket "+family] = sys(unix.SYS_SOCKET, number, unix.SOCK_STREAM)
		}
	}
	return all
}

// attempts tries everything, and writes a line for each: what was tried, and "done" or
// the error.
func attempts([]string) error {
	if os.Getuid() == 0 {
		return errors.New("what is not refused to root does harm")
	}
	runtime.LockOSThread()
	all := calls()
	for _, what := range slices.Sorted(maps.Keys(all)) {
		c := all[what]
		_, _, errno := unix.RawSyscall6(c.number, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		result := "done"
		if errno != 0 {
			result = unix.ErrnoName(errno)
		}
		fmt.Printf("%s: %s\n", what, result)
		if err := os.Remove("/tmp/attempt"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, what := range []string{"32-bit call", "x32 call"} {
		fmt.Printf("%s: %s\n", what, inProcess(what))
	}
	return nil
}

// inProcess attempts something in another process. A refusal ends the thread that tries
// it, and the process says nothing any more.
func inProcess(what string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/proc/self/exe", "attempt", what).Output()
	if len(out) == 0 && err != nil {
		return "killed"
	}
	return string(out)
}

// x32Bit marks system calls of the x32 interface (asm/unistd.h).
const x32Bit = 0x40000000

// attempt calls the kernel as programs for other machines do.
func attempt(args []string) {
	if args[0] == "32-bit call" {
		interrupt80()
	} else if _, _, errno := unix.RawSyscall(unix.SYS_GETPID|x32Bit, 0, 0, 0); errno != 0 {
		fmt.Print(unix.ErrnoName(errno))
		return
	}
	fmt.Print("done")
}

// watchers takes watchers of files until there are no more, or as many as its argument
// says, prints how many it got, and without an argument keeps them.
func watchers(args []string) error {
	most := -1
	if len(args) > 0 {
		most = number(args[0])
	}
	got := 0
	var err error
	for ; got != most && err == nil; got++ {
		_, err = unix.InotifyInit1(unix.IN_CLOEXEC)
	}
	if most >= 0 {
		return err
	}
	fmt.Println(got - 1)
	forever()
	return nil
}

// sparse makes a file of a length, with nothing in it.
func sparse(args []string) error {
	signal.Ignore(unix.SIGXFSZ)
	length, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(args[0]), 0o755); err != nil {
		return err
	}
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(length), f.Close())
}

// fill makes files of so many MiB, as many as its last argument says, and waits.
func fill(args []string) error {
	piece := make([]byte, number(args[1])<<20)
	for i := range number(args[2]) {
		if err := os.WriteFile(fmt.Sprintf("%s%d", args[0], i), piece, 0o644); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	forever()
	return nil
}

// hold keeps so many MiB of memory.
func hold(args []string) {
	memory := make([]byte, number(args[0])<<20)
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	fmt.Println("ready")
	forever()
	fmt.Println(memory[0])
}
