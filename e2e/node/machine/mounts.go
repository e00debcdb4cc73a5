package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// OwnFolders are those that a node has its own of: what the host has there can't
// be seen from it.
var OwnFolders = []string{"/run", "/var/lib", "/var/log"}

// mountAll makes the mount namespace, which is still a copy of the host's, that
// of a machine.
func mountAll(c Config) error {
	for _, dir := range []string{c.lib(), c.log()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE}, // nothing gets back to the host,
		{"", "/", "", unix.MS_REC | unix.MS_SHARED},  // but from kubelet to the containers
		{"proc", "/proc", "proc", 0},
		{"run", "/run", "tmpfs", 0},
		{c.lib(), "/var/lib", "", unix.MS_BIND},
		{c.log(), "/var/log", "", unix.MS_BIND},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.source, m.target, err)
		}
	}
	return coverSysctls()
}

// sysctls are those of the whole host that kubelet wants to have set
// (setupKernelTunables in pkg/kubelet/cm/container_manager_linux.go).
var sysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// coverSysctls shows kubelet files that say what it wants to read, so that it
// leaves the host's settings alone.
func coverSysctls() error {
	for name, value := range sysctls {
		cover := filepath.Join("/run/hawser", "sysctl-"+strings.ReplaceAll(name, "/", "-"))
		if err := os.MkdirAll(filepath.Dir(cover), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(cover, []byte(value+"\n"), 0o600); err != nil {
			return err
		}
		if err := unix.Mount(cover, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cover sysctl %s: %w", name, err)
		}
	}
	return nil
}
