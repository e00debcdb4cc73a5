package dir

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
)

// writerFolder is set in the processes that the crash test starts.
const writerFolder = "HAWSER_TEST_WRITER_FOLDER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(writerFolder); folder != "" {
		fmt.Fprintln(os.Stderr, write(folder))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// write creates objects until it is killed, and prints the key of each once
// Create has returned. Two writers try the same keys.
func write(folder string) error {
	bucket, err := Open(folder)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		key := fmt.Sprintf("round-%s/%d/object", os.Getenv("HAWSER_TEST_ROUND"), i)
		err := bucket.Create(context.Background(), key, selfChecking(i))
		if err != nil && !errors.Is(err, catalog.ErrExist) {
			return err
		}
		fmt.Println(key)
	}
}

// selfChecking returns up to a megabyte that begins with the digest of the
// rest: the same for the same i.
func selfChecking(i int) []byte {
	random := rand.New(rand.NewPCG(uint64(i), 0))
	body := make([]byte, random.IntN(1<<20))
	rand.NewChaCha8([32]byte{byte(i)}).Read(body)
	digest := sha256.Sum256(body)
	return append(digest[:], body...)
}

func whole(data []byte) bool {
	if len(data) < sha256.Size {
		return false
	}
	digest := sha256.Sum256(data[sha256.Size:])
	return bytes.Equal(data[:sha256.Size], digest[:])
}

func TestKilledWritersLeaveOnlyWholeObjects(t *testing.T) {
	const rounds = 25
	folder := t.TempDir()
	bucket := open(t, folder)
	var objects int
	for round := range rounds {
		var acknowledged []string
		for _, keys := range killTwoWriters(t, folder, round) {
			acknowledged = append(acknowledged, keys...)
		}
		seen := map[string]bool{}
		for object, err := range bucket.List(t.Context(), fmt.Sprintf("round-%d/", round)) {
			if err != nil {
				t.Fatal(err)
			}
			data, err := bucket.Get(t.Context(), object.Key, object.Size)
			if err != nil || int64(len(data)) != object.Size || !whole(data) {
				t.Fatalf("%s is not whole after a crash: %d of %d bytes, error %v", object.Key, len(data), object.Size, err)
			}
			seen[object.Key] = true
		}
		for _, key := range acknowledged {
			if !seen[key] {
				t.Errorf("%s was created and is gone", key)
			}
		}
		objects += len(seen)
	}
	leftovers, err := os.ReadDir(folder + "/" + tempFolder)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rounds of two killed writers left %d objects and %d temporary files", rounds, objects, len(leftovers))
	if objects < rounds {
		t.Errorf("the writers made only %d objects; the test proves nothing", objects)
	}
}

// killTwoWriters runs two writers, kills them at a random moment after both
// have created an object, and returns the keys that each of them printed.
func killTwoWriters(t *testing.T, folder string, round int) [2][]string {
	t.Helper()
	var writers [2]*exec.Cmd
	var outputs [2]*bufio.Scanner
	for i := range writers {
		writers[i] = exec.Command(os.Args[0])
		writers[i].Env = append(os.Environ(), writerFolder+"="+folder, fmt.Sprintf("HAWSER_TEST_ROUND=%d", round))
		writers[i].Stderr = os.Stderr
		output, err := writers[i].StdoutPipe()
		if err == nil {
			err = writers[i].Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		outputs[i] = bufio.NewScanner(output)
	}
	var keys [2][]string
	for i, output := range outputs {
		output.Scan()
		keys[i] = append(keys[i], output.Text())
	}
	time.Sleep(rand.N(100 * time.Millisecond))
	for i, writer := range writers {
		if err := writer.Process.Kill(); err != nil {
			t.Errorf("a writer ended before it was killed: %v", err)
		}
		for outputs[i].Scan() {
			keys[i] = append(keys[i], outputs[i].Text())
		}
		writer.Wait()
	}
	return keys
}
