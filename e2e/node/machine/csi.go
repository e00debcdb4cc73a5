package machine

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"hawser.dev/hawser/e2e/disks"
)

// serveDisks serves the CSI driver's node service and registers it with kubelet.
// The controller service of the same region, and of the same driver, is served
// on the host: mounts have to be made in here.
func (n *inside) serveDisks() error {
	if n.Region == "" {
		return nil
	}
	region, err := disks.OpenRegion(n.Region)
	if err != nil {
		return err
	}
	folder := filepath.Join(n.KubeletDir, "plugins", n.Driver)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	server, err := disks.Serve(region, disks.Options{
		Socket:  filepath.Join(folder, "csi.sock"),
		Cluster: n.Cluster,
		Driver:  n.Driver,
		Node:    n.Name,
		Zone:    n.Zone,
		Mounter: &mounter{open: map[string]*os.File{}},
		Log:     slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return err
	}
	_, err = server.Register(filepath.Join(n.KubeletDir, "plugins_registry"))
	return err
}

// mounter is a BindMounter whose loop devices end with this process: each frees
// itself when nobody has it open, and this process has it open.
type mounter struct {
	disks.BindMounter

	mu   sync.Mutex
	open map[string]*os.File // device by image
}

// AttachDevice implements disks.Mounter.
func (m *mounter) AttachDevice(image string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	device, err := m.BindMounter.AttachDevice(image)
	if err != nil || m.open[image] != nil {
		return device, err
	}
	file, err := os.Open(device)
	if err == nil {
		err = setAutoclear(file)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("tie device %s to the node: %w", device, err), m.BindMounter.DetachDevice(image))
	}
	m.open[image] = file
	return device, nil
}

func setAutoclear(device *os.File) error {
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	if err != nil {
		return err
	}
	info.Flags |= unix.LO_FLAGS_AUTOCLEAR
	return unix.IoctlLoopSetStatus64(int(device.Fd()), info)
}

// DetachDevice implements disks.Mounter. The device is free when the last one who
// has it open closes it, which should be this process.
func (m *mounter) DetachDevice(image string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.BindMounter.DetachDevice(image)
	if file := m.open[image]; file != nil {
		delete(m.open, image)
		err = errors.Join(err, file.Close())
	}
	return err
}
