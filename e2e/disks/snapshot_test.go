package disks_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"hawser.dev/hawser/e2e/disks"
)

func write(t testing.TB, region *disks.Region, disk, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(region.DataDir(disk), name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, region *disks.Region, handle, name string) string {
	t.Helper()
	return string(must[[]byte](t)(os.ReadFile(filepath.Join(region.DataDir(handle), name))))
}

func TestSnapshotHoldsTheBytesOfItsMoment(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east"})
	disk := create(t, c, createRequest("data"))
	write(t, region, disk, "capital", "Canberra")
	write(t, region, disk, "dropped", "soon")

	cut := snapshot(t, c, "before", disk)
	write(t, region, disk, "capital", "Sydney")
	write(t, region, disk, "added", "later")
	if err := os.Remove(filepath.Join(region.DataDir(disk), "dropped")); err != nil {
		t.Fatal(err)
	}

	restored := create(t, c, restoreRequest("restored", cut.GetSnapshotId(), gib))
	if got := read(t, region, restored, "capital") + " " + read(t, region, restored, "dropped"); got != "Canberra soon" {
		t.Errorf("the restored disk says %q", got)
	}
	if _, err := os.Stat(filepath.Join(region.DataDir(restored), "added")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the restored disk has a file of after the snapshot: %v", err)
	}
	if again := snapshot(t, c, "before", disk); again.GetCreationTime().AsTime() != cut.GetCreationTime().AsTime() {
		t.Error("a repeated create took the snapshot again")
	}
	if region := must[disks.Snapshot](t)(region.Snapshot(cut.GetSnapshotId())); region.Torn {
		t.Error("the snapshot of a disk at rest is torn")
	}
}

func TestSnapshotOutlivesItsDisk(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east"})
	disk := create(t, c, createRequest("data"))
	write(t, region, disk, "capital", "Canberra")
	cut := snapshot(t, c, "before", disk)
	if err := region.DestroyDisk(disk); err != nil {
		t.Fatal(err)
	}
	if again := snapshot(t, c, "before", disk); again.GetSnapshotId() != cut.GetSnapshotId() {
		t.Error("a repeated create doesn't find the snapshot of a lost disk")
	}
	restored := create(t, c, restoreRequest("restored", cut.GetSnapshotId(), gib))
	if got := read(t, region, restored, "capital"); got != "Canberra" {
		t.Errorf("the restored disk says %q", got)
	}
}

func TestRestore(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east"})
	disk := create(t, c, createRequest("data"))
	cut := snapshot(t, c, "cut", disk)
	if cut.GetSizeBytes() != gib {
		t.Fatalf("the snapshot has %d bytes", cut.GetSizeBytes())
	}
	block := restoreRequest("block", cut.GetSnapshotId(), gib)
	block.VolumeCapabilities = []*csi.VolumeCapability{blockCapability()}
	for _, test := range []struct {
		name string
		req  *csi.CreateVolumeRequest
		code codes.Code
		size int64
	}{
		{"to the same size", restoreRequest("same", cut.GetSnapshotId(), gib), codes.OK, gib},
		{"to a larger size", restoreRequest("larger", cut.GetSnapshotId(), 3*gib), codes.OK, 3 * gib},
		{"to no size in particular", restoreRequest("any", cut.GetSnapshotId(), 0), codes.OK, gib},
		{"to a smaller size is refused", restoreRequest("smaller", cut.GetSnapshotId(), gib/2), codes.OutOfRange, 0},
		{"of files to a raw block disk is refused", block, codes.InvalidArgument, 0},
		{"of a snapshot that is not there is refused", restoreRequest("absent", "snap-0123456789abcdef", gib), codes.NotFound, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, err := c.CreateVolume(t.Context(), test.req)
			expectCode(t, err, test.code)
			if got := response.GetVolume().GetCapacityBytes(); got != test.size {
				t.Errorf("it has %d bytes, want %d", got, test.size)
			}
		})
	}
}

// file is what a copy has to preserve of a file.
type file struct {
	Mode     os.FileMode
	UID, GID uint32
	Modified time.Time
	Content  string // of a file, or target of a symbolic link
	Blocks   bool   // less space than size
	Links    uint64
}

func filesOf(t *testing.T, folder string) map[string]file {
	t.Helper()
	files := map[string]file{}
	err := filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info := must[os.FileInfo](t)(os.Lstat(path))
		inode := info.Sys().(*syscall.Stat_t)
		f := file{Mode: info.Mode(), UID: inode.Uid, GID: inode.Gid, Modified: info.ModTime()}
		switch {
		case info.Mode().IsRegular():
			f.Content = string(must[[]byte](t)(os.ReadFile(path)))
			f.Blocks, f.Links = inode.Blocks*512 < info.Size(), uint64(inode.Nlink)
		case info.Mode().Type() == os.ModeSymlink:
			f.Content = must[string](t)(os.Readlink(path))
		}
		files[strings.TrimPrefix(path, folder)] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestCopiesPreserveFiles(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east"})
	disk := create(t, c, createRequest("data"))
	fillWithOddFiles(t, region.DataDir(disk))
	want := filesOf(t, region.DataDir(disk))

	cut := snapshot(t, c, "cut", disk)
	if diff := cmp.Diff(want, filesOf(t, region.DataDir(cut.GetSnapshotId()))); diff != "" {
		t.Errorf("the snapshot differs (-disk +snapshot):\n%s", diff)
	}
	for name, req := range map[string]*csi.CreateVolumeRequest{
		"restored": restoreRequest("restored", cut.GetSnapshotId(), gib),
		"cloned":   cloneRequest("cloned", disk),
	} {
		if diff := cmp.Diff(want, filesOf(t, region.DataDir(create(t, c, req)))); diff != "" {
			t.Errorf("the %s disk differs (-disk +copy):\n%s", name, diff)
		}
	}
}

// fillWithOddFiles makes one file of each kind in which a copy could fail.
func fillWithOddFiles(t *testing.T, folder string) {
	t.Helper()
	in := func(name string) string { return filepath.Join(folder, name) }
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Mkdir(in("mysql"), 0o755))
	check(os.WriteFile(in("mysql/ibdata1"), []byte("rows"), 0o640))
	check(os.WriteFile(in("empty"), nil, 0o600))
	check(os.WriteFile(in("unreadable name \n*"), []byte("odd"), 0o444))
	check(os.Link(in("mysql/ibdata1"), in("hard")))
	check(os.Symlink("mysql/nowhere", in("dangling")))
	check(syscall.Mkfifo(in("fifo"), 0o620))
	sparse := must[*os.File](t)(os.Create(in("sparse")))
	check(errors.Join(
		func() error { _, err := sparse.WriteAt([]byte("middle"), 1<<20); return err }(),
		sparse.Truncate(4<<20), sparse.Close()))
	check(os.WriteFile(in("setuid"), []byte("#!"), 0o700))
	check(os.Chmod(in("setuid"), 0o755|os.ModeSetuid))
	if os.Geteuid() == 0 {
		check(os.Chown(in("mysql"), 999, 998))
		check(os.Lchown(in("dangling"), 999, 998))
	}
	old := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	check(os.Chtimes(in("mysql/ibdata1"), old, old))
	check(os.Chmod(in("mysql"), 0o550|os.ModeSetgid))
	check(os.Chtimes(in("mysql"), old, old))
	t.Cleanup(func() { makeRemovable(filepath.Dir(filepath.Dir(filepath.Dir(folder)))) })
}

// makeRemovable gives folders their write permission back, for the clean-up of
// a test without root.
func makeRemovable(folder string) {
	filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if entry != nil && entry.IsDir() {
			os.Chmod(path, 0o700)
		}
		return nil
	})
}

// A writer that writes a number to one file and then to another stands for an
// application whose files depend on each other. The files between them make the
// copy take long enough to be overtaken.
func TestSnapshotOfABusyDiskIsOfOneMomentOrSaysThatItIsNot(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east"})
	disk := create(t, c, createRequest("data"))
	write(t, region, disk, "1-first", "0")
	write(t, region, disk, "3-second", "0")
	for i := range 40 {
		write(t, region, disk, fmt.Sprint("2-between-", i), "text")
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rand.IntN(100)) * time.Millisecond):
				write(t, region, disk, "1-first", strconv.Itoa(n))
				write(t, region, disk, "3-second", strconv.Itoa(n))
			}
		}
	})
	whole := 0
	for i := range 20 {
		cut := snapshot(t, c, fmt.Sprint("cut-", i), disk)
		if must[disks.Snapshot](t)(region.Snapshot(cut.GetSnapshotId())).Torn {
			continue
		}
		whole++
		first, second := read(t, region, cut.GetSnapshotId(), "1-first"), read(t, region, cut.GetSnapshotId(), "3-second")
		// os.WriteFile truncates first: an empty file is a moment too.
		if number(second) > number(first) && first != "" {
			t.Errorf("snapshot %d: the second file is ahead of the first: %q, %q", i, first, second)
		}
		if first != "" && second != "" && number(first)-number(second) > 1 {
			t.Errorf("snapshot %d: the second file is behind by more than one write: %q, %q", i, first, second)
		}
	}
	close(stop)
	writer.Wait()
	t.Logf("%d of 20 snapshots under writes are of one moment", whole)
	if must[disks.Snapshot](t)(region.Snapshot(snapshot(t, c, "quiet", disk).GetSnapshotId())).Torn {
		t.Error("the snapshot is torn although the writer has stopped")
	}
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

func TestRacingCreatesOfOneNameMakeOneThing(t *testing.T) {
	region := newRegion(t)
	_, east := serve(t, region, disks.Options{Cluster: "east"})
	_, west := serve(t, region, disks.Options{Cluster: "west"})
	disk := create(t, east, createRequest("data"))
	write(t, region, disk, "capital", "Canberra")
	var all sync.WaitGroup
	for i := range 16 {
		c := []client{east, west}[i%2]
		all.Go(func() {
			response, err := c.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "cut", SourceVolumeId: disk})
			if err != nil {
				t.Error(err)
				return
			}
			restored, err := c.CreateVolume(t.Context(), restoreRequest("restored", response.GetSnapshot().GetSnapshotId(), gib))
			if err != nil {
				t.Error(err)
				return
			}
			if got := read(t, region, restored.GetVolume().GetVolumeId(), "capital"); got != "Canberra" {
				t.Errorf("the disk was to be had before it was whole: %q", got)
			}
		})
	}
	all.Wait()
	if n := len(must[[]disks.Snapshot](t)(region.Snapshots())); n != 1 {
		t.Errorf("%d snapshots, want 1", n)
	}
	if n := len(must[[]disks.Disk](t)(region.Disks())); n != 2 {
		t.Errorf("%d disks, want 2", n)
	}
}

func TestCreatesAndDeletesOfOneNameNeverCollide(t *testing.T) {
	region := newRegion(t)
	_, east := serve(t, region, disks.Options{Cluster: "east"})
	_, west := serve(t, region, disks.Options{Cluster: "west"})
	var all sync.WaitGroup
	for i := range 8 {
		c := []client{east, west}[i%2]
		all.Go(func() {
			for range 25 {
				created, err := c.CreateVolume(t.Context(), createRequest("data"))
				if err != nil {
					t.Error(err)
					return
				}
				_, err = c.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: created.GetVolume().GetVolumeId()})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	expectEmpty(t, region)
}

func TestDisksAppearWhole(t *testing.T) {
	const files, copies = 40, 10
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east"})
	disk := create(t, c, createRequest("data"))
	for i := range files {
		write(t, region, disk, fmt.Sprint("file-", i), "text")
	}
	done := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			for _, disk := range must[[]disks.Disk](t)(region.Disks()) {
				entries, err := os.ReadDir(region.DataDir(disk.Handle))
				if err != nil || len(entries) != files {
					t.Errorf("disk %s appears with %d of %d files: %v", disk.Name, len(entries), files, err)
					return
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range copies {
		create(t, c, cloneRequest(fmt.Sprint("copy-", i), disk))
	}
	close(done)
	watcher.Wait()
}
