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
	for program, from := range map[string]string{"apt-get": "Debian", "dpkg-deb": "Debian", "ip": "Debian's package iproute2"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program+", of "+from)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("a node that runs Pods needs %s", strings.Join(missing, "; and "))
	}
	return nil
}
