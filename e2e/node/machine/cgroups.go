package machine

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cgroupMounts returns where this machine's cgroup hierarchies are: one with
// version 2, many with version 1.
func cgroupMounts() ([]string, error) {
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	var found []string
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 2 && (fields[2] == "cgroup" || fields[2] == "cgroup2") {
			found = append(found, fields[1])
		}
	}
	return found, lines.Err()
}

// makeCgroups creates a cgroup in every hierarchy, which kubelet does not do for
// its root, and hands it the controllers of version 2.
func makeCgroups(name string) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return fmt.Errorf("make cgroup %s: %w", name, err)
	}
	for _, mount := range mounts {
		dir := filepath.Join(mount, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make cgroup %s: %w", name, err)
		}
		for _, parent := range []string{mount, dir} {
			for _, controller := range []string{"cpu", "cpuset", "io", "memory", "pids", "hugetlb"} {
				// Only version 2 has the file, and kubelet says which ones it misses.
				os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0)
			}
		}
	}
	return nil
}

// RemoveCgroups removes a cgroup and all below it from every hierarchy, once
// their processes are gone, for which it waits at most for the given time.
func RemoveCgroups(name string, atMost time.Duration) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return fmt.Errorf("remove cgroup %s: %w", name, err)
	}
	deadline := time.Now().Add(atMost)
	for _, mount := range mounts {
		for {
			err := removeCgroup(filepath.Join(mount, name))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup %s: %w", name, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// removeCgroup removes a cgroup's folder after those in it. Its files can't be
// removed and need not be.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeCgroup(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
