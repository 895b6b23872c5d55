package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"

	"ampoule/builder/sandbox"
)

// reportBytes bounds what is read of a sandbox's report about itself.
const reportBytes = 64 << 10

// signalHint is what helps against an engine that hands its signals on.
const signalHint = "the Docker daemon was started with signals ignored or blocked (by nohup, or in the background of a script): restart it as a service"

// daemonHint is what helps against an engine that gives more than it was asked for.
const daemonHint = "settings of the Docker daemon, or its kernel, change what a container is given: see docker info"

// imageHint is what helps against an image that lacks what a sandbox needs.
const imageHint = "the image needs the commands sleep, cat, /bin/sh and /usr/bin/env (Debian packages coreutils and dash)"

var errCannotHold = errors.New("the image cannot hold a sandbox")

// verify compares what the engine and a process inside say with what was asked for.
func (b *box) verify(ctx context.Context) error {
	state, err := b.engine.client.ContainerInspect(ctx, b.id)
	if err != nil {
		return fmt.Errorf("inspecting container: %w", err)
	}
	if err := b.checkState(state); err != nil {
		return err
	}
	r, err := b.report(ctx)
	if err != nil {
		return b.firstProcess(ctx, err)
	}
	if ignored, ok := r.bits("SigIgn"); ok && ignored&^internalSignals != 0 {
		b.resetSignals = true
		if r, err = b.report(ctx); err != nil {
			return notSealed(err, signalHint)
		}
	}
	return b.checkReport(r)
}

// firstProcess returns err, unless the container has ended.
func (b *box) firstProcess(ctx context.Context, err error) error {
	state, inspectErr := b.engine.client.ContainerInspect(ctx, b.id)
	if inspectErr != nil || state.State == nil {
		return err
	}
	if ended := firstProcess(state); ended != nil {
		return ended
	}
	return err
}

func firstProcess(c container.InspectResponse) error {
	if c.State.Running {
		return nil
	}
	return &hinted{
		kind: errCannotHold, hint: imageHint,
		cause: fmt.Errorf("its first process, sleep, ended with exit code %d %s", c.State.ExitCode, c.State.Error),
	}
}

// checkState checks the engine's description of the container.
func (b *box) checkState(c container.InspectResponse) error {
	if c.ContainerJSONBase == nil || c.State == nil || c.HostConfig == nil || c.Config == nil || c.NetworkSettings == nil {
		return notSealed(errors.New("the engine does not describe the container"), "Docker 20.10 or later is needed")
	}
	if err := firstProcess(c); err != nil {
		return err
	}
	h, limits := c.HostConfig, b.limits
	swapBound := h.MemorySwap == limits.Memory || !b.engine.swap
	for _, check := range []struct {
		ok   bool
		what string
	}{
		{!h.Privileged, "it is privileged"},
		{h.NetworkMode == b.confinement.network(), "its network mode is " + string(h.NetworkMode)},
		{b.networksFit(c.NetworkSettings), "it is connected to a network"},
		{len(h.PortBindings) == 0 && !h.PublishAllPorts, "it publishes ports"},
		{len(h.Links) == 0 && len(h.ExtraHosts) == 0, "it has links or extra hosts"},
		{slices.Equal(h.CapDrop, []string{"ALL"}), fmt.Sprintf("it dropped %v, not all capabilities", h.CapDrop)},
		{sameCapabilities(h.CapAdd, b.confinement.capabilities), fmt.Sprintf("it was given the capabilities %v", h.CapAdd)},
		{slices.Equal(h.SecurityOpt, []string{noNewPrivileges, seccompOption()}), fmt.Sprintf("its security options are %.200q", h.SecurityOpt)},
		{len(h.MaskedPaths) > 0 && len(h.ReadonlyPaths) > 0, "nothing in /proc is masked"},
		{h.IpcMode == container.IPCModePrivate, "its IPC mode is " + string(h.IpcMode)},
		{h.PidMode == "" && h.UTSMode == "" && h.UsernsMode == "", "it shares process ids, users or host name"},
		{len(c.Mounts)+len(h.Mounts)+len(h.Binds)+len(h.Tmpfs)+len(h.VolumesFrom) == 0, "it has mounts"},
		{len(h.Devices)+len(h.DeviceRequests)+len(h.DeviceCgroupRules) == 0, "it has devices"},
		{c.Config.User == b.confinement.userAndGroup() && len(h.GroupAdd) == 0, "its user is " + c.Config.User},
		{h.Init != nil && *h.Init, "it has no init"},
		{h.PidsLimit != nil && *h.PidsLimit == limits.PIDs, "its processes are not bounded"},
		{h.Memory == limits.Memory && swapBound && (h.OomKillDisable == nil || !*h.OomKillDisable), "its memory is not bounded"},
		{h.NanoCPUs == b.engine.nanoCPUs(limits), "its processors are not bounded"},
		{sameUlimits(h.Ulimits, b.engine.resources(limits).Ulimits), "its files are not bounded"},
	} {
		if !check.ok {
			return notSealed(errors.New(check.what), daemonHint)
		}
	}
	return nil
}

// sameUlimits compares limits as an engine knows them with those that are wanted.
func sameUlimits(got, want []*container.Ulimit) bool {
	return slices.EqualFunc(got, want, func(a, b *container.Ulimit) bool { return a != nil && *a == *b })
}

// networksFit reports whether a container is connected as its confinement says.
func (b *box) networksFit(n *container.NetworkSettings) bool {
	if b.confinement.online {
		return true
	}
	for name := range n.Networks {
		if name != string(b.confinement.network()) {
			return false
		}
	}
	return true
}

// sameCapabilities compares two sets of names, with or without "CAP_".
func sameCapabilities(got, want []string) bool {
	names := make([]string, 0, len(got))
	for _, name := range got {
		names = append(names, strings.TrimPrefix(name, "CAP_"))
	}
	slices.Sort(names)
	return slices.Equal(names, slices.Sorted(slices.Values(want)))
}

// report is what a process sees of itself: how the profile answers it, the fields of
// /proc/self/status, and the names in /proc/net/dev.
type report struct {
	profile    string
	status     map[string]string
	interfaces []string
}

// selfReport asks for a process that nobody has, which the profile answers (see [nobody]), and
// shows the rest of a report.
var selfReport = []string{"/bin/sh", "-c", fmt.Sprintf("kill -0 %d 2>&1; exec cat /proc/self/status /proc/net/dev", nobody)}

// report runs a process in the sandbox and reads what it says of itself.
func (b *box) report(ctx context.Context) (report, error) {
	var out, errOut bytes.Buffer
	step := sandbox.Step{
		Args:   selfReport,
		Stdout: &limited{w: &out, left: reportBytes},
		Stderr: &limited{w: &errOut, left: reportBytes},
	}
	args, err := b.commandLine(step)
	if err != nil {
		return report{}, err
	}
	code, err := b.exec(ctx, args, step)
	if err != nil {
		return report{}, fmt.Errorf("reading the sandbox's report: %w", err)
	}
	if code != 0 {
		message := strings.TrimSpace(out.String() + errOut.String())
		return report{}, &hinted{
			kind: errCannotHold, cause: fmt.Errorf("%s: exit code %d: %s", strings.Join(args, " "), code, message),
			hint: imageHint,
		}
	}
	return parseReport(out.String()), nil
}

// parseReport reads an answer of kill, /proc/self/status and /proc/net/dev (proc(5)).
func parseReport(text string) report {
	answer, text, _ := strings.Cut(text, "Name:")
	r := report{profile: strings.TrimSpace(answer), status: map[string]string{}}
	status, devices, _ := strings.Cut(text, "Inter-|")
	for line := range strings.Lines(status) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			r.status[key] = strings.Join(strings.Fields(value), " ")
		}
	}
	for line := range strings.Lines(devices) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			r.interfaces = append(r.interfaces, strings.TrimSpace(name))
		}
	}
	return r
}

// bits reads a field that is a mask in hexadecimal.
func (r report) bits(key string) (uint64, bool) {
	n, err := strconv.ParseUint(r.status[key], 16, 64)
	return n, err == nil
}

// internalSignals are signals 32 and 33, which the C library keeps for itself (nptl(7)):
// no program can set them through it, and it sets them before it uses them. glibc's
// posix_spawn, and so whatever make starts, leaves them ignored or blocked.
const internalSignals = 1<<31 | 1<<32

// revokedText is how C libraries tell [revoked].
const revokedText = "Key has been revoked"

// checkReport checks what a process says of itself. A field that is missing is refused.
func (b *box) checkReport(r report) error {
	for _, key := range []string{"SigIgn", "SigBlk"} {
		if mask, ok := r.bits(key); !ok || mask&^internalSignals != 0 {
			return notSealed(fmt.Errorf("a step starts with %s %q", key, r.status[key]), signalHint)
		}
	}
	allowed := capabilityMask(b.confinement.capabilities)
	for _, key := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if mask, ok := r.bits(key); !ok || mask&^allowed != 0 {
			return notSealed(fmt.Errorf("a step starts with %s %q", key, r.status[key]), daemonHint)
		}
	}
	wanted := map[string]string{
		"NoNewPrivs": "1",
		"Seccomp":    "2", // SECCOMP_MODE_FILTER
		"Uid":        fourTimes(b.confinement.user),
		"Gid":        fourTimes(b.confinement.user),
	}
	for key, want := range wanted {
		if r.status[key] != want {
			return notSealed(fmt.Errorf("a step starts with %s %q, not %q", key, r.status[key], want), daemonHint)
		}
	}
	if !strings.HasSuffix(r.profile, revokedText) {
		return notSealed(fmt.Errorf("the seccomp profile is not in force: a probe of it was answered by %.200q", r.profile), daemonHint)
	}
	if groups := r.status["Groups"]; groups != "" && groups != strconv.Itoa(b.confinement.user) {
		return notSealed(fmt.Errorf("a step starts with the groups %q", groups), daemonHint)
	}
	if !b.confinement.online && !slices.Equal(r.interfaces, []string{"lo"}) {
		return notSealed(fmt.Errorf("a step sees the network interfaces %q", r.interfaces), daemonHint)
	}
	return nil
}

// fourTimes is how /proc/self/status writes a user that is real, effective, saved
// and of the file system.
func fourTimes(id int) string {
	return strings.TrimSpace(strings.Repeat(strconv.Itoa(id)+" ", 4))
}

// capabilityNumbers are from linux/capability.h.
var capabilityNumbers = map[string]uint{"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "SETGID": 6, "SETUID": 7}

func capabilityMask(names []string) uint64 {
	var mask uint64
	for _, name := range names {
		mask |= 1 << capabilityNumbers[name]
	}
	return mask
}
