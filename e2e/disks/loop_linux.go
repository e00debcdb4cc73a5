package disks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// loopDevices are the block devices of raw block disks. The kernel remembers a
// name with each device; ours is a hash of the image's path, so that a device
// is found again by any process, and also after its image was removed.
type loopDevices struct{}

func loopName(image string) string { return "hawser-disk-" + shortHash(image) }

// AttachDevice implements Mounter.
func (loopDevices) AttachDevice(image string) (string, error) {
	device, err := findLoop(loopName(image))
	if device != "" || err != nil {
		return device, err
	}
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	for {
		device, err := configureFreeLoop(file, loopName(image))
		if errors.Is(err, unix.EBUSY) {
			continue // somebody else took the free one first
		}
		if err != nil {
			return "", fmt.Errorf("attach a loop device to %s: %w", image, err)
		}
		return device, nil
	}
}

func configureFreeLoop(image *os.File, name string) (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", err
	}
	path := fmt.Sprintf("/dev/loop%d", number)
	loop, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer loop.Close()
	config := unix.LoopConfig{Fd: uint32(image.Fd())}
	copy(config.Info.File_name[:], name)
	return path, unix.IoctlLoopConfigure(int(loop.Fd()), &config)
}

// ResizeDevice implements Mounter.
func (loopDevices) ResizeDevice(image string) error {
	return onLoop(image, unix.LOOP_SET_CAPACITY)
}

// DetachDevice implements Mounter.
func (loopDevices) DetachDevice(image string) error {
	return onLoop(image, unix.LOOP_CLR_FD)
}

// onLoop calls an ioctl without argument on the device of an image, if there
// is one.
func onLoop(image string, request uint) error {
	device, err := findLoop(loopName(image))
	if device == "" || err != nil {
		return err
	}
	loop, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer loop.Close()
	if err := unix.IoctlSetInt(int(loop.Fd()), request, 0); err != nil {
		return fmt.Errorf("loop device %s of %s: %w", device, image, err)
	}
	return nil
}

// findLoop returns the path of the device of a name, "" if there is none.
func findLoop(name string) (string, error) {
	inUse, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return "", err
	}
	for _, folder := range inUse {
		device := filepath.Join("/dev", filepath.Base(filepath.Dir(folder)))
		loop, err := os.Open(device)
		if err != nil {
			continue // it went away meanwhile
		}
		info, err := unix.IoctlLoopGetStatus64(int(loop.Fd()))
		loop.Close()
		if err == nil && unix.ByteSliceToString(info.File_name[:]) == name {
			return device, nil
		}
	}
	return "", nil
}
