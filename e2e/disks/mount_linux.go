package disks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Mounter shows a disk's folder or device at the places where kubelet wants it.
type Mounter interface {
	// Bind shows source at target. Both exist and are of one kind. options are
	// mount options, as ro or noatime; unknown ones are refused.
	Bind(source, target string, options []string) error

	// Bound says whether something is shown at target.
	Bound(target string) (bool, error)

	// Unbind ends a Bind, so that target is what it was before. It is no
	// error if nothing is shown there.
	Unbind(target string) error

	// AttachDevice returns the path of a block device over a disk's image,
	// the same one while it is attached.
	AttachDevice(image string) (string, error)

	// ResizeDevice lets an attached device follow the size of its image.
	ResizeDevice(image string) error

	// DetachDevice ends AttachDevice. It is no error if there is none.
	DetachDevice(image string) error
}

func defaultMounter() Mounter {
	if CanMount() {
		return BindMounter{}
	}
	return LinkMounter{}
}

// CanMount says whether this process may mount: root may not in every container.
func CanMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// BindMounter makes bind mounts and loop devices, for which CanMount must hold.
type BindMounter struct{ loopDevices }

var mountFlags = map[string]uintptr{
	"rw": 0, "defaults": 0, "relatime": unix.MS_RELATIME,
	"ro": unix.MS_RDONLY, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME,
	"nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "nosuid": unix.MS_NOSUID, "sync": unix.MS_SYNCHRONOUS,
}

// Bind implements Mounter. A bind mount takes its options only when it is
// mounted again.
func (BindMounter) Bind(source, target string, options []string) error {
	flags, err := flagsOf(options)
	if err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	if flags == 0 {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|flags, ""); err != nil {
		return errors.Join(
			fmt.Errorf("mount %s with options %s: %w", target, strings.Join(options, ","), err),
			unix.Unmount(target, 0))
	}
	return nil
}

func flagsOf(options []string) (uintptr, error) {
	var flags uintptr
	for _, option := range options {
		flag, ok := mountFlags[option]
		if !ok {
			return 0, status.Errorf(codes.InvalidArgument, "mount option %q is unknown", option)
		}
		flags |= flag
	}
	return flags, nil
}

// Bound implements Mounter.
func (BindMounter) Bound(target string) (bool, error) {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, target, unix.AT_SYMLINK_NOFOLLOW, 0, &stat)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a mount at %s: %w", target, err)
	}
	if stat.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return false, errors.New("the kernel can't tell mounts; it takes 5.8 or newer")
	}
	return stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// Unbind implements Mounter.
func (m BindMounter) Unbind(target string) error {
	bound, err := m.Bound(target)
	if err != nil || !bound {
		return err
	}
	if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// LinkMounter stands in where we may not mount: it sets the target aside and puts
// a symbolic link in its place. Options are checked but have no effect, and a
// device is the image itself.
type LinkMounter struct{}

// Bind implements Mounter.
func (LinkMounter) Bind(source, target string, options []string) error {
	if _, err := flagsOf(options); err != nil {
		return err
	}
	if err := os.Rename(target, aside(target)); err != nil {
		return err
	}
	return os.Symlink(source, target)
}

// Bound implements Mounter.
func (LinkMounter) Bound(target string) (bool, error) {
	info, err := os.Lstat(target)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Mode().Type() == os.ModeSymlink, err
}

// Unbind implements Mounter.
func (m LinkMounter) Unbind(target string) error {
	bound, err := m.Bound(target)
	if err != nil || !bound {
		return err
	}
	if err := os.Remove(target); err != nil {
		return err
	}
	return os.Rename(aside(target), target)
}

// AttachDevice implements Mounter.
func (LinkMounter) AttachDevice(image string) (string, error) { return image, nil }

// ResizeDevice implements Mounter.
func (LinkMounter) ResizeDevice(string) error { return nil }

// DetachDevice implements Mounter.
func (LinkMounter) DetachDevice(string) error { return nil }

func aside(target string) string {
	return filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".aside")
}
