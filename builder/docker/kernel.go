package docker

// Numbers of Linux, on x86-64: of the kernel below the engine, whatever system asks it.
const (
	// Flags of clone that make namespaces (linux/sched.h).
	cloneNewNS     = 0x00020000
	cloneNewCgroup = 0x02000000
	cloneNewUTS    = 0x04000000
	cloneNewIPC    = 0x08000000
	cloneNewUser   = 0x10000000
	cloneNewPID    = 0x20000000
	cloneNewNet    = 0x40000000

	// Kinds of files (linux/stat.h).
	kindMask   = 0o170000
	kindFile   = 0o100000
	kindPipe   = 0o010000
	kindSocket = 0o140000

	// Families, types and protocols of sockets (linux/socket.h, linux/in.h, linux/netlink.h).
	familyUnix    = 1
	familyIPv4    = 2
	familyIPv6    = 10
	familyNetlink = 16
	socketStream  = 1
	socketDgram   = 2
	protocolTCP   = 6
	protocolUDP   = 17
	netlinkRoute  = 0

	// Errors (asm-generic/errno.h).
	errNoCall     = 38  // ENOSYS
	errNoProtocol = 93  // EPROTONOSUPPORT
	errNoFamily   = 97  // EAFNOSUPPORT
	errKeyRevoked = 128 // EKEYREVOKED
)
