package docker

import (
	"encoding/json"
	"slices"
	"sync"
)

// The profile is written in the form of Docker's own: the engine makes of it what the
// OCI runtime takes (runtime-spec, config-linux.md, Seccomp).
type (
	profile struct {
		DefaultAction string     `json:"defaultAction"`
		ArchMap       []archMap  `json:"archMap"`
		Syscalls      []callRule `json:"syscalls"`
	}
	// archMap names an architecture without those that it also runs: a process that calls
	// the kernel as a 32-bit or an x32 one is killed.
	archMap struct {
		Architecture string `json:"architecture"`
	}
	callRule struct {
		Names    []string  `json:"names"`
		Action   string    `json:"action"`
		ErrnoRet uint      `json:"errnoRet,omitempty"`
		Args     []argRule `json:"args,omitempty"`
	}
	// argRule compares an argument with Value by Op, one of [maskedEqual], [equal] and
	// [notEqual]; the first one masks it with Value and compares with ValueTwo.
	argRule struct {
		Index    uint   `json:"index"`
		Value    uint64 `json:"value"`
		ValueTwo uint64 `json:"valueTwo"`
		Op       string `json:"op"`
	}
)

// Actions and comparisons (libseccomp's names).
const (
	actionAllow = "SCMP_ACT_ALLOW"
	actionErrno = "SCMP_ACT_ERRNO"
	maskedEqual = "SCMP_CMP_MASKED_EQ"
	equal       = "SCMP_CMP_EQ"
	notEqual    = "SCMP_CMP_NE"
)

// nobody is the id of no process: the kernel gives none above 2^22 (proc(5), pid_max).
// Who asks whether it is there gets an answer from this profile, revoked, that no kernel
// and no other profile gives. So a process inside can show that the profile is in force.
const (
	nobody  = 1<<31 - 2
	revoked = errKeyRevoked
)

// whole is the part of an argument that the kernel reads of an int: what stands above it
// is chance, and no way round a comparison.
const whole = 0xffffffff

// newNamespaces are clone's flags that make namespaces (sched.h): in one of its own, a
// process has every capability, and reaches code of the kernel that only root does.
const newNamespaces = cloneNewNS | cloneNewCgroup | cloneNewUTS | cloneNewIPC |
	cloneNewUser | cloneNewPID | cloneNewNet

// typeMask is the part of a socket's type that is no flag (linux/net.h, SOCK_TYPE_MASK).
const typeMask = 0xf

// lastFamily and lastNetlink are the largest numbers that may be given to a family of
// sockets or a netlink protocol before long; the kernel has 46 and 23.
const (
	lastFamily  = 63
	lastNetlink = 31
)

func is(index uint, value uint64) argRule { return argRule{index, whole, value, maskedEqual} }

func masked(index uint, mask, value uint64) argRule { return argRule{index, mask, value, maskedEqual} }

func allow(call string, args ...argRule) callRule {
	return callRule{Names: []string{call}, Action: actionAllow, Args: args}
}

func refuse(call string, errno uint, args ...argRule) callRule {
	return callRule{Names: []string{call}, Action: actionErrno, ErrnoRet: errno, Args: args}
}

// conditional are the rules of system calls that depend on their arguments.
func conditional() []callRule {
	rules := []callRule{
		allow("clone", masked(0, newNamespaces, 0)),
		allow("kill", argRule{Value: nobody, Op: notEqual}),
		refuse("kill", revoked, argRule{Value: nobody, Op: equal}),
		// The usual one, and the question which one it is: others are for other systems'
		// programs, and make known addresses of memory.
		allow("personality", is(0, 0)),
		allow("personality", is(0, whole)),
		allow("socketpair", is(0, familyUnix)),
	}
	for _, kind := range []uint64{0, kindFile, kindPipe, kindSocket} {
		rules = append(rules, allow("mknod", masked(1, kindMask, kind)), allow("mknodat", masked(2, kindMask, kind)))
	}
	return append(rules, sockets()...)
}

// sockets allows those that end in the sandbox: of its own file system, and TCP and
// UDP, for which there is the loopback alone unless the container is online. The C
// library asks by netlink which interfaces there are. Others are refused as a
// kernel that was made without them does: every program expects that.
func sockets() []callRule {
	rules := []callRule{
		allow("socket", is(0, familyUnix)),
		allow("socket", is(0, familyNetlink), is(2, netlinkRoute)),
	}
	for family := uint64(0); family <= lastFamily; family++ {
		switch family {
		case familyUnix, familyNetlink:
		case familyIPv4, familyIPv6:
			for _, protocol := range []uint64{0, protocolTCP} {
				rules = append(rules, allow("socket", is(0, family), masked(1, typeMask, socketStream), is(2, protocol)))
			}
			for _, protocol := range []uint64{0, protocolUDP} {
				rules = append(rules, allow("socket", is(0, family), masked(1, typeMask, socketDgram), is(2, protocol)))
			}
		default:
			rules = append(rules, refuse("socket", errNoFamily, is(0, family)))
		}
	}
	for protocol := uint64(netlinkRoute + 1); protocol <= lastNetlink; protocol++ {
		rules = append(rules, refuse("socket", errNoProtocol, is(0, familyNetlink), is(2, protocol)))
	}
	return rules
}

// systemCalls is the profile of every sandbox, and of the online container.
func systemCalls() profile {
	p := profile{DefaultAction: actionErrno, ArchMap: []archMap{{"SCMP_ARCH_X86_64"}}}
	for _, group := range allowed {
		p.Syscalls = append(p.Syscalls, callRule{Names: slices.Clone(group.calls), Action: actionAllow})
	}
	p.Syscalls = append(p.Syscalls, conditional()...)
	p.Syscalls = append(p.Syscalls, callRule{Names: slices.Clone(missing), Action: actionErrno, ErrnoRet: errNoCall})
	return p
}

// seccompOption hands the profile to the engine, as text, so that a remote one has it, too.
var seccompOption = sync.OnceValue(func() string {
	text, err := json.Marshal(systemCalls())
	if err != nil {
		panic("docker: writing the seccomp profile: " + err.Error()) // It holds texts and numbers.
	}
	return "seccomp=" + string(text)
})
