package node_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/cluster/clustertest"
	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/e2e/node"
	"hawser.dev/hawser/e2e/node/nodetest"
)

// parentVar makes this test binary start a cluster with a node and Pods in the
// folder that it names, for a test that kills it.
const parentVar = "HAWSER_TEST_NODE_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentVar); dir != "" {
		if err := parent(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func parent(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
	defer cancel()
	region, err := disks.OpenRegion(filepath.Join(dir, "region"))
	if err != nil {
		return err
	}
	l, err := lab.Start(ctx, lab.Options{Region: region, Cluster: cluster.Options{
		Name: "killed", Dir: filepath.Join(dir, "cluster"), Nodes: -1,
	}})
	if err != nil {
		return err
	}
	n, err := node.Start(ctx, node.Options{Cluster: l.Cluster, Region: region})
	if err != nil {
		return err
	}
	if err := l.Apply(ctx, []byte(blockAndSubPath)); err != nil {
		return err
	}
	if err := l.Await(ctx, pods, "default", "odd", isReady); err != nil {
		return err
	}
	if _, err := n.Exec(ctx, "default", "odd", "", "bash", "-c", "echo Canberra > /a/capital"); err != nil {
		return err
	}
	fmt.Println("running")
	select {}
}

func TestNothingIsLeftOfAKilledHarness(t *testing.T) {
	nodetest.Require(t)
	dir := t.TempDir()
	if traces := tracesOf(t, dir); len(traces) > 0 {
		t.Fatalf("there are traces before the start: %q", traces)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentVar+"="+dir)
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		cmd.Process.Kill()
		t.Fatalf("the harness did not start: %v", err)
	}
	processes := descendants(t, cmd.Process.Pid)
	if text := fmt.Sprint(processes); !strings.Contains(text, "containerd-shim") || !strings.Contains(text, "sleep") {
		t.Errorf("while the node runs there are only the processes %v", processes)
	}
	for _, kind := range []string{"interface", "cgroup", "loop device", "files"} {
		if !hasTrace(tracesOf(t, dir), kind) {
			t.Errorf("no %s is seen while the node runs (%s)", kind, strings.TrimSpace(line))
		}
	}
	if hasTrace(tracesOf(t, dir), "mount") {
		t.Error("a mount of the node is seen on the host")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()

	t.Run("what only the kernel can remove is gone by itself", func(t *testing.T) {
		awaitNo(t, dir, "interface", "mount")
		for pid, name := range processes {
			awaitDead(t, pid, name)
		}
	})
	t.Run("a second start clears the rest and runs", func(t *testing.T) {
		f := start(t, newRegion(t))
		awaitNo(t, dir, "interface", "loop device", "mount", "cgroup", "files")
		f.part("a Pod", func(f fixture) {
			f.apply(client)
			f.awaitReady("client")
		})
	})
	data, err := os.ReadFile(filepath.Join(onlyDisk(t, dir), "deep", "a", "capital"))
	if err != nil || string(data) != "Canberra\n" {
		t.Errorf("the disk is to outlive the node; its file says %q, %v", data, err)
	}
}

func TestNothingIsLeftAfterStop(t *testing.T) {
	nodetest.Require(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir) // all of the cluster is in there
	t.Run("a node with a Pod that is stopped as it runs", func(t *testing.T) {
		f := start(t, newRegion(t))
		f.part("a Pod", func(f fixture) {
			f.apply(blockAndSubPath)
			f.awaitReady("odd")
		})
		if traces := tracesOf(t, dir); len(traces) < 4 {
			t.Errorf("of the running node only %q is seen", traces)
		}
	})
	if traces := tracesOf(t, dir); len(traces) > 0 {
		t.Errorf("left are %q", traces)
	}
	if left := descendants(t, os.Getpid()); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestNothingIsLeftOfAStartThatIsCancelled(t *testing.T) {
	nodetest.Require(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Run("a start with too little time", func(t *testing.T) {
		l := clustertest.StartLab(t, lab.Options{Region: newRegion(t), Cluster: cluster.Options{Nodes: -1}})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for !hasTrace(tracesOf(t, dir), "cgroup") && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		if _, err := node.Start(ctx, node.Options{Cluster: l.Cluster}); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
		if traces := tracesOf(t, dir); len(traces) > 0 {
			t.Errorf("left are %q", traces)
		}
	})
	if left := descendants(t, os.Getpid()); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// descendants returns the names of the processes that descend from one, by PID.
func descendants(t *testing.T, pid int) map[string]string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	children, names := map[string][]string{}, map[string]string{}
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		// "PID (name) state parent ...", where a name may hold anything.
		begin, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
		child, parent := strings.TrimSpace(string(stat[:begin])), strings.Fields(string(stat[end+1:]))[1]
		children[parent] = append(children[parent], child)
		names[child] = string(stat[begin+1 : end])
	}
	found, next := map[string]string{}, []string{strconv.Itoa(pid)}
	for len(next) > 0 {
		parent := next[0]
		next = append(next[1:], children[parent]...)
		for _, child := range children[parent] {
			found[child] = names[child]
		}
	}
	return found
}

// awaitDead waits until a process has ended, whether its new parent has asked for
// its status yet or not.
func awaitDead(t *testing.T, pid, name string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("process %s (%s) is left", pid, name)
			return
		}
	}
}

// onlyDisk returns the data of the one disk with a file system.
func onlyDisk(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "region/disks/*/data"))
	if err != nil || len(found) != 1 {
		t.Fatalf("there are %q, %v; want one disk", found, err)
	}
	return found[0]
}

func hasTrace(traces []string, kind string) bool {
	for _, trace := range traces {
		if strings.HasPrefix(trace, kind+" ") {
			return true
		}
	}
	return false
}

// awaitNo waits until there are no traces of these kinds.
func awaitNo(t *testing.T, dir string, kinds ...string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		traces := tracesOf(t, dir)
		left := false
		for _, kind := range kinds {
			left = left || hasTrace(traces, kind)
		}
		if !left {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left are %q", traces)
		}
	}
}

// tracesOf returns whatever this machine has of a node whose cluster and region
// lie in dir, apart from processes: its interface, cgroups, mounts, loop devices
// and files. Others may run nodes meanwhile, so all is found by what leads to dir.
func tracesOf(t *testing.T, dir string) []string {
	t.Helper()
	var traces []string
	note := func(kind, format string, args ...any) {
		traces = append(traces, kind+" "+fmt.Sprintf(format, args...))
	}
	glob := func(pattern string) []string {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}

	for _, mount := range lines(t, "/proc/self/mountinfo") {
		if strings.Contains(mount, dir) {
			note("mount", "%s", mount)
		}
	}
	for _, backing := range glob("/sys/block/loop*/loop/backing_file") {
		if file, _ := os.ReadFile(backing); strings.HasPrefix(string(file), dir) {
			note("loop device", "%s of %s", backing, file)
		}
	}
	for _, file := range glob("/run/hawser-e2e/*") {
		var left struct{ Cgroup, Dir, Link string }
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal(data, &left) != nil || !strings.HasPrefix(left.Dir, dir) {
			continue
		}
		note("record", "%s", data)
		for kind, paths := range map[string][]string{
			"interface": glob("/sys/class/net/" + left.Link),
			"cgroup":    append(glob("/sys/fs/cgroup/*/"+left.Cgroup), glob("/sys/fs/cgroup/"+left.Cgroup)...),
			"files":     glob(left.Dir),
		} {
			for _, path := range paths {
				note(kind, "%s", path)
			}
		}
	}
	return traces
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}
