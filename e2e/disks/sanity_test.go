package disks_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"hawser.dev/hawser/e2e/disks"
)

// accessTypeVariable tells a child process of the test which kind of volume
// to run the suite with: ginkgo runs one suite per process.
const accessTypeVariable = "HAWSER_SANITY_ACCESS_TYPE"

func TestDriverPassesTheSanitySuiteWithFilesystemVolumes(t *testing.T) {
	accessType := os.Getenv(accessTypeVariable)
	if accessType == "" {
		accessType = "mount"
	}
	runSanity(t, accessType)
}

func TestDriverPassesTheSanitySuiteWithBlockVolumes(t *testing.T) {
	if os.Geteuid() == 0 {
		if _, err := os.Stat("/dev/loop-control"); err != nil {
			t.Skipf("no loop devices here: %v", err)
		}
	}
	child := exec.Command(os.Args[0], "-test.run=^TestDriverPassesTheSanitySuiteWithFilesystemVolumes$", "-test.v")
	child.Env = append(os.Environ(), accessTypeVariable+"=block")
	output, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for line := range strings.Lines(string(output)) {
		if strings.Contains(line, "Specs in") || strings.Contains(line, "Skipped") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

func runSanity(t *testing.T, accessType string) {
	dir := t.TempDir()
	region, err := disks.OpenRegion(filepath.Join(dir, "region"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := disks.Serve(region, disks.Options{
		Socket:  filepath.Join(dir, "csi.sock"),
		Cluster: "sanity",
		Node:    "node-0",
		Zone:    "zone-a",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()

	config := sanity.NewTestConfig()
	config.Address = filepath.Join(dir, "csi.sock")
	config.TargetPath = filepath.Join(dir, "target")
	config.StagingPath = filepath.Join(dir, "staging")
	config.TestVolumeAccessType = accessType
	config.TestVolumeMutableParameters = map[string]string{"tier": "fast"}
	ginkgo.ReportAfterSuite("name what was skipped", func(report ginkgo.Report) {
		for _, spec := range report.SpecReports {
			if spec.State.Is(types.SpecStateSkipped|types.SpecStatePending) && spec.LeafNodeText != "" {
				t.Log("Skipped:", spec.FullText())
			}
		}
	})
	sanity.Test(t, config)
	expectEmpty(t, region)
}

// expectEmpty fails unless everything that was made in the region is gone.
func expectEmpty(t *testing.T, region *disks.Region) {
	t.Helper()
	for _, folder := range []string{"disks", "snapshots", "locks", "tmp"} {
		entries, err := os.ReadDir(filepath.Join(region.Dir(), folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			t.Errorf("left behind in the region: %s/%s", folder, entry.Name())
		}
	}
}
