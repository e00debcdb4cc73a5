package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// DetachLoops frees the loop devices that kubelet has made in a folder. For as
// long as a Pod uses a raw block disk, kubelet keeps the disk open by a loop
// device over it (MapBlockVolume in pkg/volume/util/util.go), which nobody frees
// if kubelet is killed. The kernel has noted the beginning of its path.
func DetachLoops(kubeletDir string) error {
	devices, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return err
	}
	for _, device := range devices {
		path := filepath.Join("/dev", filepath.Base(filepath.Dir(device)))
		file, err := os.Open(path)
		if err != nil {
			continue // it went away meanwhile
		}
		info, err := unix.IoctlLoopGetStatus64(int(file.Fd()))
		if err == nil && strings.HasPrefix(unix.ByteSliceToString(info.File_name[:]), kubeletDir+"/") {
			if err := unix.IoctlSetInt(int(file.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
				file.Close()
				return fmt.Errorf("free %s: %w", path, err)
			}
		}
		file.Close()
	}
	return nil
}
