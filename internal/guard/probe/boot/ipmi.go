package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
)

// ErrNoBMC: the kernel knows no interface to a management controller, and the
// firmware's tables name none.
var ErrNoBMC = errors.New("no management controller")

// The answer to Get System Boot Options, parameter 5 (IPMI 2.0 section 28.13):
//
//	0  completion code, 0: done
//	1  bits 0-3 version, 1
//	2  bit 7 the parameter is invalid or locked; bits 0-6 its number, 5
//	3  boot flags: bit 7 valid, bit 6 for all boots and not only the next, bit 5 EFI
//	4  bits 2-5 device: 0 none, 1 PXE, 2 disk, 5 CD, 6 setup, 7-11 remote media
//	5, 6, 7  more flags
//
// parseBootFlags says what they mean for the next boot.
func parseBootFlags(b []byte) (fact.Verdict, string) {
	switch {
	case len(b) < 1:
		return fact.Unknown, "the BMC gave an empty answer"
	case b[0] != 0: //check:boot-ipmi-completion
		return fact.Unknown, fmt.Sprintf("the BMC refuses to tell its boot flags: completion code %#x", b[0])
	case len(b) < 8 || b[1]&0x0f != 1 || b[2]&0x7f != 5: //check:boot-ipmi-malformed
		return fact.Unknown, fmt.Sprintf("the BMC's boot flags are not understood: % x", b[:min(len(b), 16)])
	case b[2]&0x80 != 0: //check:boot-ipmi-locked
		return fact.Unknown, "the BMC's boot flags are being changed"
	}
	device := b[4] >> 2 & 0x0f
	if b[3]&0x80 != 0 && device != 0 { //check:boot-ipmi-override
		return fact.Active, fmt.Sprintf("the BMC overrides the next boot: device %d (1: PXE, 2: disk, 5: CD, 6: setup, 7-11: remote media)", device)
	}
	return fact.Clear, "the BMC overrides nothing"
}

func (p Probe) bmc(ctx context.Context) fact.Fact {
	const subject = "bmc"
	ask := p.IPMI
	if ask == nil {
		ask = p.askBMC
	}
	answer, err := ask(ctx)
	if errors.Is(err, ErrNoBMC) {
		return told(subject, fact.Clear, "no management controller is known to the kernel or the firmware's tables")
	}
	if err != nil {
		return told(subject, fact.Unknown, "the BMC's boot flags: %v", err)
	}
	v, why := parseBootFlags(answer)
	return told(subject, v, "%s", why)
}

// bmcSigns are entries of a machine that has a BMC: SMBIOS type 38 and the ACPI
// device IPI0001. Without a driver it cannot be asked.
var bmcSigns = []string{"sys/firmware/dmi/entries/38-*", "sys/bus/acpi/devices/IPI0001:*", "sys/class/ipmi/*"}

// askBMC sends the question through the kernel's device.
func (p Probe) askBMC(ctx context.Context) ([]byte, error) {
	for _, name := range []string{"dev/ipmi0", "dev/ipmi/0", "dev/ipmidev/0"} {
		fd, err := unix.Open(p.path(name), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		defer func() { _ = unix.Close(fd) }()
		return transact(ctx, fd)
	}
	for _, pattern := range bmcSigns { // constants: no bad pattern among them
		if found, _ := filepath.Glob(p.path(pattern)); len(found) > 0 { //check:boot-bmc-without-driver
			return nil, fmt.Errorf("there is a management controller (%s) and no /dev/ipmi0: modprobe ipmi_si ipmi_devintf", pattern)
		}
	}
	return nil, ErrNoBMC
}

// Structures and numbers of include/uapi/linux/ipmi.h, for 64-bit machines.
type ipmiMsg struct {
	netFn, cmd byte
	dataLen    uint16
	data       *byte
}

type ipmiReq struct {
	addr    *byte
	addrLen uint32
	msgID   int
	msg     ipmiMsg
}

type ipmiRecv struct {
	recvType int32
	addr     *byte
	addrLen  uint32
	msgID    int
	msg      ipmiMsg
}

const (
	ipmiSend    = 2<<30 | 40<<16 | 'i'<<8 | 13 // IPMICTL_SEND_COMMAND
	ipmiReceive = 3<<30 | 48<<16 | 'i'<<8 | 11 // IPMICTL_RECEIVE_MSG_TRUNC

	netFnChassis   = 0
	getBootOptions = 9
	bootFlags      = 5
	responseType   = 1 // IPMI_RESPONSE_RECV_TYPE
	questionID     = 1
	bmcPatience    = time.Second
)

// transact asks and waits. The address is that of the system interface: type
// 0x0c (4 bytes), channel 0x0f (2), logical unit 0.
func transact(ctx context.Context, fd int) ([]byte, error) {
	addr := [8]byte{0x0c, 0, 0, 0, 0x0f, 0, 0, 0}
	question := [3]byte{bootFlags, 0, 0}
	req := ipmiReq{addr: &addr[0], addrLen: 8, msgID: questionID, msg: ipmiMsg{netFn: netFnChassis, cmd: getBootOptions, dataLen: 3, data: &question[0]}}
	if err := ioctl(fd, ipmiSend, unsafe.Pointer(&req)); err != nil {
		return nil, err
	}
	runtime.KeepAlive(&req)
	deadline := time.Now().Add(bmcPatience)
	for ctx.Err() == nil && time.Now().Before(deadline) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a file descriptor
		if n, err := unix.Poll(poll, 50); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, os.NewSyscallError("poll", err)
		} else if n <= 0 {
			continue
		}
		answer, done, err := receive(fd)
		if err != nil || done {
			return answer, err
		}
	}
	return nil, fmt.Errorf("no answer within %v", bmcPatience)
}

func receive(fd int) (answer []byte, done bool, err error) {
	var addr [32]byte
	var data [64]byte
	recv := ipmiRecv{addr: &addr[0], addrLen: uint32(len(addr)), msg: ipmiMsg{data: &data[0], dataLen: uint16(len(data))}}
	if err := ioctl(fd, ipmiReceive, unsafe.Pointer(&recv)); err != nil {
		return nil, false, err
	}
	runtime.KeepAlive(&recv)
	if recv.recvType != responseType || recv.msgID != questionID {
		return nil, false, nil // an event, or somebody else's
	}
	return data[:min(int(recv.msg.dataLen), len(data))], true, nil
}

func ioctl(fd int, number uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), number, uintptr(arg)); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
