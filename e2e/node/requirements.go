package node

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"hawser.dev/hawser/e2e/disks"
)

// Requirements says, all at once, what this machine lacks that a node needs and
// that Install can't get.
func Requirements() error {
	var missing []string
	if os.Geteuid() != 0 || !disks.CanMount() {
		missing = append(missing, "root with the right to mount and to make namespaces (CAP_SYS_ADMIN)")
	}
	for _, program := range []struct{ name, from string }{
		{"apt-get", "Debian"}, {"dpkg-deb", "Debian"}, {"ip", "Debian's package iproute2"}, {"losetup", "Debian's package mount"},
	} {
		if _, err := exec.LookPath(program.name); err != nil {
			missing = append(missing, program.name+" of "+program.from)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("a node that runs Pods needs %s", strings.Join(missing, "; and "))
	}
	return nil
}
