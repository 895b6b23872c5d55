package docker

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestNumbers: what is written down is what Go has of this kernel.
func TestNumbers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]int{
		"CLONE_NEWNS": {cloneNewNS, unix.CLONE_NEWNS}, "CLONE_NEWCGROUP": {cloneNewCgroup, unix.CLONE_NEWCGROUP},
		"CLONE_NEWUTS": {cloneNewUTS, unix.CLONE_NEWUTS}, "CLONE_NEWIPC": {cloneNewIPC, unix.CLONE_NEWIPC},
		"CLONE_NEWUSER": {cloneNewUser, unix.CLONE_NEWUSER}, "CLONE_NEWPID": {cloneNewPID, unix.CLONE_NEWPID},
		"CLONE_NEWNET": {cloneNewNet, unix.CLONE_NEWNET},
		"S_IFMT":       {kindMask, unix.S_IFMT}, "S_IFREG": {kindFile, unix.S_IFREG}, "S_IFIFO": {kindPipe, unix.S_IFIFO}, "S_IFSOCK": {kindSocket, unix.S_IFSOCK},
		"AF_UNIX": {familyUnix, unix.AF_UNIX}, "AF_INET": {familyIPv4, unix.AF_INET}, "AF_INET6": {familyIPv6, unix.AF_INET6}, "AF_NETLINK": {familyNetlink, unix.AF_NETLINK},
		"SOCK_STREAM": {socketStream, unix.SOCK_STREAM}, "SOCK_DGRAM": {socketDgram, unix.SOCK_DGRAM},
		"IPPROTO_TCP": {protocolTCP, unix.IPPROTO_TCP}, "IPPROTO_UDP": {protocolUDP, unix.IPPROTO_UDP}, "NETLINK_ROUTE": {netlinkRoute, unix.NETLINK_ROUTE},
		"ENOSYS": {errNoCall, int(unix.ENOSYS)}, "EPROTONOSUPPORT": {errNoProtocol, int(unix.EPROTONOSUPPORT)},
		"EAFNOSUPPORT": {errNoFamily, int(unix.EAFNOSUPPORT)}, "EKEYREVOKED": {errKeyRevoked, int(unix.EKEYREVOKED)},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %d, and %d is written", name, c[1], c[0])
		}
	}
}
