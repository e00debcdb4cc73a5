package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Command is the image's program with these arguments, in a root file system
// that is the image's and no more, as the image's user. Without root on this
// machine it needs user namespaces.
func (i Image) Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	var uid, gid uint32
	if n, err := fmt.Sscanf(i.User, "%d:%d", &uid, &gid); n != 2 {
		return nil, fmt.Errorf("USER %s: want numbers, so that Kubernetes can tell that it is not root: %w", i.User, err)
	}
	cmd := exec.CommandContext(ctx, i.Entrypoint[0], append(i.Entrypoint[1:], args...)...)
	cmd.Err = nil // there may be no such program out here
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     i.Root,
		Credential: &syscall.Credential{Uid: uid, Gid: gid},
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: int(uid), HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: int(gid), HostID: os.Getegid(), Size: 1}}
		cmd.SysProcAttr.Credential.NoSetGroups = true
	}
	return cmd, nil
}
