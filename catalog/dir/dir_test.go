package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

func TestBucketKeepsTheContract(t *testing.T) {
	folder := t.TempDir()
	catalogtest.TestBucket(t, func(t *testing.T) catalog.Bucket { return open(t, folder) })
}

func open(t *testing.T, folder string) *Bucket {
	t.Helper()
	bucket, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	return bucket
}

func mustCreate(t *testing.T, b *Bucket, key, data string) {
	t.Helper()
	if err := b.Create(t.Context(), key, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func keys(t *testing.T, listing iter.Seq2[catalog.Object, error]) []string {
	t.Helper()
	var all []string
	for object, err := range listing {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, object.Key)
	}
	return all
}

// tree returns the paths of all files and folders below folder, with modes.
func tree(t *testing.T, folder string) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := entry.Info()
		all = append(all, fmt.Sprintf("%v %s", info.Mode(), name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestOpenRefusesWhatIsNoFolder(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	_, err := Open(absent)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), absent) || !strings.Contains(err.Error(), "mount") {
		t.Errorf("Open of an absent folder: %v, want the folder and the remedy", err)
	}
	if _, err := os.Stat(absent); err == nil {
		t.Error("Open created the folder")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open of a file: %v, want an error that names it", err)
	}
}

func TestAFolderThatWentAwayIsNoEmptyCatalog(t *testing.T) {
	for name, away := range map[string]func(t *testing.T, folder string){
		"removed": func(t *testing.T, folder string) {
			if err := os.RemoveAll(folder); err != nil {
				t.Fatal(err)
			}
		},
		"replaced by an empty one": func(t *testing.T, folder string) {
			if err := errors.Join(os.Rename(folder, folder+"-before"), os.Mkdir(folder, 0o700)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "catalog")
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			bucket := open(t, folder)
			away(t, folder)

			_, getErr := bucket.Get(t.Context(), "absent", 1)
			var listErr error
			for _, err := range bucket.List(t.Context(), "") {
				listErr = err
			}
			for call, err := range map[string]error{
				"Get": getErr, "List": listErr,
				"Create": bucket.Create(t.Context(), "new", nil),
				"Delete": bucket.Delete(t.Context(), "absent"),
			} {
				if err == nil || errors.Is(err, catalog.ErrNotExist) || !strings.Contains(err.Error(), folder) {
					t.Errorf("%s: %v, want an error that names the folder and is not ErrNotExist", call, err)
				}
			}
		})
	}
}

func TestSymbolicLinksLeadNowhere(t *testing.T) {
	folder, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	bucket := open(t, folder)
	mustCreate(t, bucket, "object", "data")
	for name, target := range map[string]string{
		"file": filepath.Join(outside, "secret"), "folder": outside, "inside": "object",
		"up": filepath.Join("..", filepath.Base(outside)),
	} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"file", "folder/secret", "up/secret", "inside"} {
		if data, err := bucket.Get(t.Context(), key, 100); err == nil {
			t.Errorf("Get(%s) = %q", key, data)
		}
		if err := bucket.Delete(t.Context(), key); err == nil {
			t.Errorf("Delete(%s) succeeded", key)
		}
	}
	for _, key := range []string{"file", "folder/new", "up/new", "inside"} {
		if err := bucket.Create(t.Context(), key, nil); err == nil || errors.Is(err, catalog.ErrExist) {
			t.Errorf("Create(%s): %v, want an error that is not ErrExist", key, err)
		}
	}
	if diff := cmp.Diff([]string{"-rw------- secret"}, tree(t, outside)); diff != "" {
		t.Errorf("outside the bucket (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"object"}, keys(t, bucket.List(t.Context(), ""))); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	folder := t.TempDir()
	mustCreate(t, open(t, folder), "a/b/object", "data")
	want := []string{"drwx------ a", "drwx------ a/b", "-rw------- a/b/object", "drwx------ tmp~"}
	if diff := cmp.Diff(want, tree(t, folder)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestOnlyObjectsAreListed(t *testing.T) {
	folder := t.TempDir()
	bucket := open(t, folder)
	mustCreate(t, bucket, "a/object", "data")
	for _, name := range []string{"lost+found", "a/with space", "a/editor~"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"a/object"}, keys(t, bucket.List(t.Context(), ""))); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
}

func TestOldTemporaryFilesAreRemoved(t *testing.T) {
	folder := t.TempDir()
	temp := filepath.Join(folder, tempFolder)
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"old": tempAge + time.Minute, "young": tempAge - time.Hour} {
		file, at := filepath.Join(temp, name), time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(file, []byte("half"), 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	bucket := open(t, folder)
	if listed := keys(t, bucket.List(t.Context(), "")); listed != nil {
		t.Errorf("listed %v", listed)
	}
	mustCreate(t, bucket, "object", "data")
	if diff := cmp.Diff([]string{"-rw------- young"}, tree(t, temp)); diff != "" {
		t.Errorf("temporary files (-want +got):\n%s", diff)
	}
}

func TestDeleteRemovesTheFoldersItEmpties(t *testing.T) {
	folder := t.TempDir()
	bucket := open(t, folder)
	mustCreate(t, bucket, "a/stays", "")
	mustCreate(t, bucket, "a/b/c/object", "")
	if err := bucket.Delete(t.Context(), "a/b/c/object"); err != nil {
		t.Fatal(err)
	}
	want := []string{"drwx------ a", "-rw------- a/stays", "drwx------ tmp~"}
	if diff := cmp.Diff(want, tree(t, folder)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestCreateSurvivesTheRemovalOfItsFolder(t *testing.T) {
	folder := t.TempDir()
	var workers sync.WaitGroup
	for worker := range 8 {
		bucket := open(t, folder)
		workers.Go(func() {
			for i := range 50 {
				key := fmt.Sprintf("a/b/%d/%d-%d", i%2, worker, i)
				if err := bucket.Create(t.Context(), key, nil); err != nil {
					t.Errorf("Create while others empty the folder: %v", err)
				}
				if err := bucket.Delete(t.Context(), key); err != nil {
					t.Errorf("Delete: %v", err)
				}
			}
		})
	}
	workers.Wait()
}

func TestANameThatIsTakenByAFolderIsAnError(t *testing.T) {
	bucket := open(t, t.TempDir())
	mustCreate(t, bucket, "a/object", "data")
	for _, key := range []string{"a", "a/object/below"} {
		if err := bucket.Create(context.Background(), key, nil); err == nil || errors.Is(err, catalog.ErrExist) {
			t.Errorf("Create(%s): %v, want an error that is not ErrExist", key, err)
		}
	}
}
