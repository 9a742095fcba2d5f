package boot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// Nodes of device paths, built by UEFI 2.10 section 10.3.
func node(kind, sub byte, data ...byte) []byte {
	return append([]byte{kind, sub, byte(4 + len(data)), 0}, data...)
}

var (
	end      = node(0x7f, 0xff)
	pci      = node(1, 1, 0, 2)
	acpi     = node(2, 1, 0xd0, 0x41, 3, 0xa, 0, 0, 0, 0)
	mac      = node(3, 11, make([]byte, 33)...)
	ipv4     = node(3, 12, make([]byte, 23)...)
	ipv6     = node(3, 13, make([]byte, 56)...)
	uri      = node(3, 24, []byte("http://x/boot.efi")...)
	iscsi    = node(3, 19, make([]byte, 18)...)
	usb      = node(3, 5, 1, 0)
	sata     = node(3, 18, 0, 0, 0xff, 0xff, 0, 0)
	nvme     = node(3, 23, make([]byte, 12)...)
	hd       = node(4, 1, make([]byte, 38)...)
	cdrom    = node(4, 2, make([]byte, 20)...)
	file     = node(4, 4, '\\', 0, 'g', 0, 0, 0)
	firmware = node(4, 6, make([]byte, 16)...)
)

func join(nodes ...[]byte) (path []byte) {
	for _, n := range nodes {
		path = append(path, n...)
	}
	return path
}

func loadOption(attributes uint32, description string, path []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, attributes)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(path)))
	for _, r := range description + "\x00" {
		b = binary.LittleEndian.AppendUint16(b, uint16(r))
	}
	return append(append(b, path...), "optional data"...)
}

var (
	debian = loadOption(1, "debian", join(acpi, pci, sata, hd, file, end))
	pxe    = loadOption(1, "UEFI PXEv4", join(acpi, pci, mac, ipv4, end))
	dvd    = loadOption(1, "UEFI DVD", join(acpi, pci, sata, cdrom, end))
)

func TestClassify(t *testing.T) {
	for _, test := range []struct {
		path []byte
		want class
	}{
		{join(acpi, pci, sata, hd, file, end), disk}, {join(hd, file, end), disk}, {join(acpi, pci, nvme, hd, file, end), disk},
		{join(acpi, pci, mac, end), network}, {join(acpi, pci, mac, ipv4, end), network}, {join(mac, ipv6, uri, end), network}, {join(uri, end), network},
		{join(mac, ipv4, iscsi, hd, file, end), network}, {join(iscsi, hd, end), remoteDisk},
		{join(hd, node(0x7f, 1), mac, end), network}, {join(mac, node(0x7f, 1), hd, end), network},
		{join(pci, usb, hd, end), removable}, {join(pci, sata, cdrom, end), removable},
		{join(acpi, pci, sata, end), unclear}, {join(firmware, end), unclear}, {join(end, hd), unclear}, {join(hd, end, mac), disk},
		{join(node(5, 1, 2, 0, 0, 0), end), disk}, {join(node(5, 1, 0x80, 0, 0, 0), end), network}, {join(node(5, 1, 6, 0, 0, 0), end), network},
		{join(node(5, 1, 3, 0, 0, 0), end), removable}, {join(node(5, 1), end), unclear}, {join(node(5, 1, 0xff, 0), end), unclear},
	} {
		if got, err := classify(test.path); got != test.want || err != nil {
			t.Errorf("% x: %v %v, want %v", test.path, got, err, test.want)
		}
	}
	for _, path := range [][]byte{nil, hd, {4}, {4, 1, 3, 0}, {4, 1, 200, 0, 1}, join(hd, node(0x7f, 1))} {
		if _, err := classify(path); !errors.Is(err, errOption) {
			t.Errorf("% x: %v", path, err)
		}
	}
}

func number(n uint16) *uint16 { return &n }

func TestNext(t *testing.T) {
	options := map[uint16]option{
		1: {active: true, class: disk}, 2: {active: true, class: network}, 3: {active: true, class: removable},
		4: {class: network}, 5: {active: true, application: true, class: unclear}, 6: {active: true, class: disk}, 7: {active: true},
	}
	for name, test := range map[string]struct {
		e    efiBoot
		want fact.Verdict
	}{
		"as now":                {efiBoot{current: number(1), order: []uint16{1, 2}}, fact.Clear},
		"after inactive, apps":  {efiBoot{current: number(1), order: []uint16{4, 5, 99, 1}}, fact.Clear},
		"OsIndications zero":    {efiBoot{current: number(1), order: []uint16{1}, indications: make([]byte, 8)}, fact.Clear},
		"network first":         {efiBoot{current: number(1), order: []uint16{2, 1}}, fact.Active},
		"network as now":        {efiBoot{current: number(2), order: []uint16{2, 1}}, fact.Active},
		"BootNext network":      {efiBoot{current: number(1), order: []uint16{1}, bootNext: number(2)}, fact.Active},
		"BootNext disk":         {efiBoot{current: number(1), order: []uint16{1}, bootNext: number(1)}, fact.Active},
		"BootNext missing":      {efiBoot{current: number(1), order: []uint16{1}, bootNext: number(77)}, fact.Active},
		"firmware's menu":       {efiBoot{current: number(1), order: []uint16{1}, indications: []byte{1, 0, 0, 0, 0, 0, 0, 0}}, fact.Active},
		"BootCurrent missing":   {efiBoot{order: []uint16{1}}, fact.Unknown},
		"another disk first":    {efiBoot{current: number(1), order: []uint16{6, 1}}, fact.Unknown},
		"removable first":       {efiBoot{current: number(1), order: []uint16{3, 1}}, fact.Unknown},
		"removable as now":      {efiBoot{current: number(3), order: []uint16{3}}, fact.Unknown},
		"unclear as now":        {efiBoot{current: number(7), order: []uint16{7}}, fact.Unknown},
		"no order":              {efiBoot{current: number(1)}, fact.Unknown},
		"only inactive entries": {efiBoot{current: number(1), order: []uint16{4}}, fact.Unknown},
	} {
		test.e.options = options
		if got, why := test.e.next(); got != test.want || why == "" {
			t.Errorf("%s: %s %s, want %s", name, got, why, test.want)
		}
	}
}

// machine is a directory that stands for / of a machine that restarts from its disk.
func machine(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, varsDir+"BootOrder"+global, "\x07\x00\x00\x00\x01\x00\x02\x00")
	put(t, root, varsDir+"BootCurrent"+global, "\x06\x00\x00\x00\x01\x00")
	put(t, root, varsDir+"Boot0001"+global, "\x07\x00\x00\x00"+string(debian))
	put(t, root, varsDir+"Boot0002"+global, "\x07\x00\x00\x00"+string(pxe))
	put(t, root, varsDir+"Boot000A"+global, "\x07\x00\x00\x00"+string(dvd))
	put(t, root, "sys/kernel/kexec_loaded", "0\n")
	put(t, root, "proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet\n")
	put(t, root, "proc/self/mountinfo", "1 1 0:2 / / rw shared:1 - rootfs rootfs rw\n22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n23 22 0:3 / /proc rw - proc proc rw\n")
	put(t, root, "boot/grub/grubenv", grubHeader+"saved_entry=0\nnext_entry=\n"+strings.Repeat("#", 900))
	return root
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func verdict(t *testing.T, p Probe) (worst fact.Verdict, facts []fact.Fact) {
	t.Helper()
	facts = p.Look(t.Context(), probe.Question{Operation: operation.Reboot})
	if len(facts) != 6 {
		t.Fatalf("%d facts", len(facts))
	}
	worst = fact.Clear
	for _, f := range facts {
		if f.Kind != fact.NextBoot || f.Summary == "" || f.Subject == "" {
			t.Errorf("%+v", f)
		}
		if f.Verdict != fact.Clear && worst != fact.Active {
			worst = f.Verdict
		}
	}
	return worst, facts
}

func TestMachine(t *testing.T) {
	flags := func(b ...byte) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) { return b, nil }
	}
	for name, test := range map[string]struct {
		change func(root string, p *Probe)
		want   fact.Verdict
	}{
		"as now":                {func(string, *Probe) {}, fact.Clear},
		"BootNext":              {func(r string, _ *Probe) { put(t, r, varsDir+"BootNext"+global, "\x07\x00\x00\x00\x02\x00") }, fact.Active},
		"BootNext cut off":      {func(r string, _ *Probe) { put(t, r, varsDir+"BootNext"+global, "\x07\x00\x00\x00\x02") }, fact.Unknown},
		"BootNext empty":        {func(r string, _ *Probe) { put(t, r, varsDir+"BootNext"+global, "\x07\x00\x00\x00") }, fact.Unknown},
		"BootNext no bytes":     {func(r string, _ *Probe) { put(t, r, varsDir+"BootNext"+global, "") }, fact.Unknown},
		"network first":         {func(r string, _ *Probe) { put(t, r, varsDir+"BootOrder"+global, "\x07\x00\x00\x00\x02\x00\x01\x00") }, fact.Active},
		"medium first":          {func(r string, _ *Probe) { put(t, r, varsDir+"BootOrder"+global, "\x07\x00\x00\x00\x0a\x00\x01\x00") }, fact.Unknown},
		"bad option":            {func(r string, _ *Probe) { put(t, r, varsDir+"Boot0002"+global, "\x07\x00\x00\x00\x01\x00") }, fact.Unknown},
		"no variables":          {func(r string, _ *Probe) { rm(t, r, varsDir) }, fact.Unknown},
		"no variables, assumed": {func(r string, p *Probe) { rm(t, r, varsDir); p.AssumeDisk = true }, fact.Unknown},
		"unreadable": {func(r string, _ *Probe) {
			rm(t, r, varsDir+"BootOrder"+global)
			mkdir(t, r, varsDir+"BootOrder"+global)
		}, fact.Unknown},
		"no EFI":          {func(r string, _ *Probe) { rm(t, r, efiDir) }, fact.Unknown},
		"no EFI, assumed": {func(r string, p *Probe) { rm(t, r, efiDir); p.AssumeDisk = true }, fact.Clear},
		"assumed, BootNext": {func(r string, p *Probe) {
			put(t, r, varsDir+"BootNext"+global, "\x07\x00\x00\x00\x02\x00")
			p.AssumeDisk = true
		}, fact.Active},
		"assumed, kexec": {func(r string, p *Probe) {
			rm(t, r, efiDir)
			p.AssumeDisk = true
			put(t, r, "sys/kernel/kexec_loaded", "1\n")
		}, fact.Active},
		"systemd-boot": {func(r string, _ *Probe) {
			put(t, r, varsDir+"LoaderEntryOneShot"+systemd, "\x07\x00\x00\x00x\x00\x00\x00")
		}, fact.Active},
		"systemd-boot empty": {func(r string, _ *Probe) { put(t, r, varsDir+"LoaderEntryOneShot"+systemd, "\x07\x00\x00\x00\x00\x00") }, fact.Clear},
		"kexec":              {func(r string, _ *Probe) { put(t, r, "sys/kernel/kexec_loaded", "1\n") }, fact.Active},
		"kexec unclear":      {func(r string, _ *Probe) { put(t, r, "sys/kernel/kexec_loaded", "") }, fact.Unknown},
		"no kexec":           {func(r string, _ *Probe) { rm(t, r, "sys/kernel") }, fact.Clear},
		"GRUB":               {func(r string, _ *Probe) { put(t, r, "boot/grub/grubenv", grubHeader+"next_entry=Installer\n###") }, fact.Active},
		"GRUB, old": {func(r string, _ *Probe) {
			put(t, r, "boot/grub2/grubenv", grubHeader+"saved_entry=2\nprev_saved_entry=0\n###")
		}, fact.Active},
		"GRUB on the ESP": {func(r string, _ *Probe) { put(t, r, "boot/efi/EFI/x/grubenv", grubHeader+"next_entry=2\n###") }, fact.Active},
		"GRUB unclear":    {func(r string, _ *Probe) { put(t, r, "boot/grub/grubenv", "next=2\n###") }, fact.Unknown},
		"GRUB garbage":    {func(r string, _ *Probe) { put(t, r, "boot/grub/grubenv", grubHeader+"next_ent\x00ry\n###") }, fact.Unknown},
		"no GRUB":         {func(r string, _ *Probe) { rm(t, r, "boot") }, fact.Clear},
		"nextroot":        {func(r string, _ *Probe) { mkdir(t, r, "run/nextroot") }, fact.Active},
		"no cmdline":      {func(r string, _ *Probe) { rm(t, r, "proc/cmdline") }, fact.Unknown},
		"cmdline unreadable": {func(r string, _ *Probe) {
			rm(t, r, "proc/cmdline")
			mkdir(t, r, "proc/cmdline")
		}, fact.Unknown},
		"no mounts": {func(r string, _ *Probe) { rm(t, r, "proc/self") }, fact.Unknown},
		"PXE flag":  {func(_ string, p *Probe) { p.IPMI = flags(0, 1, 5, 0x80, 4, 0, 0, 0) }, fact.Active},
		"no flag":   {func(_ string, p *Probe) { p.IPMI = flags(0, 1, 5, 0, 0, 0, 0, 0) }, fact.Clear},
		"BMC error": {func(_ string, p *Probe) {
			p.IPMI = func(context.Context) ([]byte, error) { return nil, os.ErrPermission }
		}, fact.Unknown},
		"BMC device is none": {func(r string, _ *Probe) { put(t, r, "dev/ipmi0", "") }, fact.Unknown},
		"BMC without driver": {func(r string, _ *Probe) { mkdir(t, r, "sys/bus/acpi/devices/IPI0001:00") }, fact.Unknown},
	} {
		root := machine(t)
		p := Probe{Root: root}
		test.change(root, &p)
		if got, facts := verdict(t, p); got != test.want {
			t.Errorf("%s: %s, want %s: %v", name, got, test.want, facts)
		}
	}
}

func rm(t *testing.T, root, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, root, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestRunsFrom(t *testing.T) {
	mount := func(kind, source string) string {
		return fmt.Sprintf("22 1 8:1 / / rw shared:1 - %s %s rw\n", kind, source)
	}
	for _, test := range []struct {
		cmdline, mounts string
		want            fact.Verdict
	}{
		{"root=/dev/sda1", mount("ext4", "/dev/sda1"), fact.Clear},
		{"root=/dev/sda1 zip=1 quiet", mount("xfs", "/dev/mapper/vg-root"), fact.Clear},
		{"", mount("nfs4", "host:/x"), fact.Active},
		{"", mount("ext4", "/dev/nbd0"), fact.Active},
		{"root=/dev/nfs", mount("ext4", "/dev/sda1"), fact.Active},
		{"inst.ks=http://x", mount("ext4", "/dev/sda1"), fact.Active},
		{"ip=dhcp", mount("ext4", "/dev/sda1"), fact.Unknown},
		{"BOOTIF=01-00", mount("ext4", "/dev/sda1"), fact.Unknown},
		{"", mount("tmpfs", "tmpfs"), fact.Unknown},
		{"", mount("overlay", "overlay"), fact.Unknown},
		{"", "", fact.Unknown},
		{"", "22 1 8:1 / /home rw - ext4 /dev/sda1 rw\n", fact.Unknown},
	} {
		if got, why := runsFrom(test.cmdline, test.mounts); got != test.want {
			t.Errorf("%q %q: %s %s, want %s", test.cmdline, test.mounts, got, why, test.want)
		}
	}
}

func TestBootFlags(t *testing.T) {
	for _, test := range []struct {
		answer []byte
		want   fact.Verdict
	}{
		{[]byte{0, 1, 5, 0, 0, 0, 0, 0}, fact.Clear},
		{[]byte{0, 1, 5, 0, 4, 0, 0, 0}, fact.Clear}, // not valid
		{[]byte{0, 1, 5, 0xe0, 0, 0, 0, 0}, fact.Clear},
		{[]byte{0, 1, 5, 0x80, 1 << 2, 0, 0, 0}, fact.Active}, {[]byte{0, 1, 5, 0xc0, 1 << 2, 0, 0, 0}, fact.Active},
		{[]byte{0, 1, 5, 0x80, 2 << 2, 0, 0, 0}, fact.Active}, {[]byte{0, 1, 5, 0xa0, 11 << 2, 0, 0, 0}, fact.Active},
		{nil, fact.Unknown}, {[]byte{0}, fact.Unknown}, {[]byte{0x80, 1, 5, 0, 0, 0, 0, 0}, fact.Unknown},
		{[]byte{0, 2, 5, 0, 0, 0, 0, 0}, fact.Unknown}, {[]byte{0, 1, 4, 0, 0, 0, 0, 0}, fact.Unknown},
		{[]byte{0, 1, 0x85, 0, 0, 0, 0, 0}, fact.Unknown}, {[]byte{0, 1, 5, 0, 0, 0, 0}, fact.Unknown},
	} {
		if got, why := parseBootFlags(test.answer); got != test.want {
			t.Errorf("% x: %s %s, want %s", test.answer, got, why, test.want)
		}
	}
	if unsafe.Sizeof(ipmiReq{}) != 40 || unsafe.Sizeof(ipmiRecv{}) != 48 || ipmiSend != 0x8028690d || ipmiReceive != 0xc030690b {
		t.Error("structures are not the kernel's")
	}
}

func TestOtherOperations(t *testing.T) {
	for _, op := range operation.All {
		if op == operation.Reboot {
			continue
		}
		if facts := (Probe{}).Look(t.Context(), probe.Question{Operation: op}); len(facts) != 1 || facts[0].Verdict != fact.Clear || facts[0].Kind != fact.NextBoot {
			t.Errorf("%s: %v", op, facts)
		}
	}
}

// TestHere looks at this machine: whatever it is, it does not fail.
func TestHere(t *testing.T) {
	_, facts := verdict(t, Probe{})
	for _, f := range facts {
		t.Log(f)
	}
}

// FuzzOption: what is taken for a local disk has a node of a hard drive (or a
// BIOS one) and an end, and no node of the network.
func FuzzOption(f *testing.F) {
	f.Add(debian)
	f.Add(pxe)
	f.Add(loadOption(9, "", join(uri, end)))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parseOption(data)
		if err != nil || o.class != disk {
			return
		}
		text := string(data)
		if !strings.Contains(text, string(end[1:])) || !strings.Contains(text, "\x04\x01") && !strings.Contains(text, "\x05") {
			t.Errorf("% x is a disk", data)
		}
	})
}

func FuzzGrub(f *testing.F) {
	f.Add([]byte(grubHeader + "next_entry=2\n###"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entry, err := parseGrub(data)
		if err == nil && !strings.HasPrefix(string(data), grubHeader) {
			t.Errorf("%q is an environment block", data)
		}
		if err == nil && entry == "" && strings.Contains(string(data), "\nnext_entry=x") {
			t.Errorf("%q has no entry", data)
		}
	})
}

func FuzzBootFlags(f *testing.F) {
	f.Add([]byte{0, 1, 5, 0x80, 4, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		v, _ := parseBootFlags(data)
		if v == fact.Clear && (len(data) < 8 || data[0] != 0 || data[3]&0x80 != 0 && data[4]&0x3c != 0) {
			t.Errorf("% x overrides nothing", data)
		}
	})
}

func FuzzRunsFrom(f *testing.F) {
	f.Add("root=/dev/sda1", "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n")
	f.Fuzz(func(t *testing.T, cmdline, mounts string) {
		if v, _ := runsFrom(cmdline, mounts); v == fact.Clear && (!strings.Contains(mounts, " - ") || strings.Contains(cmdline, "nfsroot=") && strings.HasPrefix(cmdline, "nfsroot=")) {
			t.Errorf("%q %q", cmdline, mounts)
		}
	})
}
