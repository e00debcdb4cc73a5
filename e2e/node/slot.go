package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"hawser.dev/hawser/e2e/node/machine"
)

// slotsDir has a file per slot, for all users of this machine. It is as
// short-lived as what the files speak of: a restart empties it.
const slotsDir = "/run/hawser-e2e"

// slots is how many nodes can run on one machine at once: one per network of
// 10.240.0.0/16.
const slots = 256

// A slot is a number that no other node on this machine has, and the addresses
// and names that follow from it. It is held by a lock, which the kernel takes
// back when its holder dies; the file says what a dead holder has left behind.
type slot struct {
	number int
	file   *os.File
}

// leftovers are what the kernel does not remove when a node's processes die.
type leftovers struct {
	Cgroup     string `json:"cgroup"`
	Dir        string `json:"dir"` // of the node's files
	Link       string `json:"link"`
	KubeletDir string `json:"kubeletDir"` // by which loop devices are known
}

// takeSlot takes the first free slot whose addresses nobody uses. On its way it
// clears up after the dead holders of all others.
func takeSlot() (*slot, error) {
	if err := os.MkdirAll(slotsDir, 0o700); err != nil {
		return nil, err
	}
	if err := sweep(); err != nil {
		return nil, err
	}
	used, err := usedAddresses()
	if err != nil {
		return nil, err
	}
	for number := range slots {
		s := &slot{number: number}
		if overlaps(s.subnet(), used) {
			continue
		}
		file, err := lockFile(filepath.Join(slotsDir, fmt.Sprint(number)))
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("take a place for a node: %w", err)
		}
		s.file = file
		return s, nil
	}
	return nil, errors.New("no network of 10.240.0.0/16 is free for a node")
}

// sweep removes what killed holders of slots have left behind.
func sweep() error {
	files, err := filepath.Glob(filepath.Join(slotsDir, "*"))
	if err != nil {
		return err
	}
	for _, name := range files {
		file, err := lockFile(name)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue // its holder lives
		}
		if err != nil {
			return err
		}
		err = (&slot{file: file}).clear()
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("clear up after a node that was killed (%s): %w", name, err)
		}
	}
	return nil
}

// record notes what there will be to remove, before it is there.
func (s *slot) record(l leftovers) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = s.file.WriteAt(data, 0)
	return err
}

// patience is how long the processes of a killed node may take to die.
const patience = 20 * time.Second

// clear removes what the slot's record names.
func (s *slot) clear() error {
	data, err := os.ReadFile(s.file.Name())
	if err != nil || len(data) == 0 {
		return err
	}
	var l leftovers
	if err := json.Unmarshal(data, &l); err != nil {
		return err
	}
	if l.Cgroup == "" || l.Dir == "" || l.Link == "" || l.KubeletDir == "" {
		return fmt.Errorf("the record %s is incomplete", data)
	}
	// Without processes the cgroups can be removed, and mounts are gone.
	if err := machine.RemoveCgroups(l.Cgroup, patience); err != nil {
		return err
	}
	if err := machine.DetachLoops(l.KubeletDir); err != nil {
		return err
	}
	if err := awaitGone(filepath.Join("/sys/class/net", l.Link)); err != nil {
		return err
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return err
	}
	return s.file.Truncate(0)
}

// awaitGone waits until the kernel has removed an interface, which it does some
// time after the last process of a network has ended.
func awaitGone(path string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is still there", path)
		}
	}
}

// release clears up and gives the slot to others.
func (s *slot) release() error {
	return errors.Join(s.clear(), s.file.Close())
}

// subnet is what all addresses of the slot are from.
func (s *slot) subnet() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 240, byte(s.number), 0}), 24)
}

func (s *slot) network() machine.Network {
	address := func(last int) string { return fmt.Sprintf("10.240.%d.%d", s.number, last) }
	return machine.Network{
		Link: fmt.Sprintf("hawser%d", s.number),
		Host: address(1),
		Node: address(2),
		Pods: address(128) + "/25",
	}
}

// usedAddresses returns the networks that this machine is in.
func usedAddresses() ([]netip.Prefix, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var used []netip.Prefix
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			used = append(used, prefix.Masked())
		}
	}
	return used, nil
}

// overlaps tells whether a network of ours would take addresses from one in use.
// Large ones don't count: all of 10.0.0.0/8 is seldom needed while tests run.
func overlaps(subnet netip.Prefix, used []netip.Prefix) bool {
	for _, other := range used {
		if other.Bits() > 8 && subnet.Overlaps(other) {
			return true
		}
	}
	return false
}
