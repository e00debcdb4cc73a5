package objectstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"hawser.dev/hawser/e2e/tools"
)

// leaverDir is set in the process that starts a server and is then killed.
const leaverDir = "HAWSER_TEST_LEAVER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(leaverDir); dir != "" {
		server, err := Start(context.Background(), VersityGW, dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(server.process.cmd.Process.Pid)
		select {}
	}
	os.Exit(m.Run())
}

func TestAServerServesItsBucketUntilItIsStopped(t *testing.T) {
	kinds, err := Kinds()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		for name, start := range map[string]func() (*Server, error){
			"http":  func() (*Server, error) { return Start(t.Context(), kind, t.TempDir()) },
			"https": func() (*Server, error) { return StartTLS(t.Context(), kind, t.TempDir()) },
		} {
			t.Run(fmt.Sprintf("%s over %s", kind, name), func(t *testing.T) {
				server, err := start()
				if err != nil {
					t.Fatal(err)
				}
				defer server.Stop()
				client, err := server.client()
				if err != nil {
					t.Fatal(err)
				}
				data := strings.NewReader("data")
				if _, err := client.PutObject(t.Context(), server.Bucket, "object", data, data.Size(), minio.PutObjectOptions{}); err != nil {
					t.Errorf("put an object: %v", err)
				}
				server.Stop()
				if running(server.process.cmd.Process.Pid) {
					t.Error("the server runs on after Stop")
				}
			})
		}
	}
}

func TestAServerEndsWithTheProcessThatStartedIt(t *testing.T) {
	leaver := exec.Command(os.Args[0])
	leaver.Env = append(os.Environ(), leaverDir+"="+t.TempDir())
	leaver.Stderr = os.Stderr
	output, err := leaver.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := leaver.Start(); err != nil {
		t.Fatal(err)
	}
	defer leaver.Wait()
	defer leaver.Process.Kill()
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !running(pid) {
		t.Fatal("the server does not run while its parent does")
	}
	leaver.Process.Kill()
	for deadline := time.Now().Add(10 * time.Second); running(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server outlived its parent")
		}
	}
}

// running reports whether a process exists and is not merely unreaped.
func running(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestAServerThatDiesAtItsStartIsReportedWithItsLog(t *testing.T) {
	binary, err := tools.Path(t.Context(), string(VersityGW))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // without the folder that start makes for the data
	server := &Server{Kind: VersityGW, Bucket: "backups", AccessKey: "a", SecretKey: "s", dir: dir, port: "0", LogFile: dir + "/log"}
	err = server.launch(t.Context(), binary)
	if !errors.Is(err, errDied) || !strings.Contains(err.Error(), server.dataDir()) {
		t.Errorf("start without a folder for the data: %v, want errDied and what the server said", err)
	}
}

func TestKindsRefusesAServerItDoesNotKnow(t *testing.T) {
	t.Setenv(kindsVariable, "versitygw, mino")
	if kinds, err := Kinds(); err == nil || !strings.Contains(err.Error(), "mino") {
		t.Errorf("Kinds = %v, %v, want an error that names the unknown server", kinds, err)
	}
}
