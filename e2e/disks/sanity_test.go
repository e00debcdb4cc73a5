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

// accessTypeVariable makes a child process of the test run the suite with one
// type of volume: ginkgo runs a suite once per process.
const accessTypeVariable = "HAWSER_SANITY_ACCESS_TYPE"

func TestDriverPassesTheSanitySuite(t *testing.T) {
	if accessType := os.Getenv(accessTypeVariable); accessType != "" {
		runSanity(t, accessType)
		return
	}
	for _, accessType := range []string{"mount", "block"} {
		t.Run(accessType, func(t *testing.T) {
			if _, err := os.Stat("/dev/loop-control"); err != nil && accessType == "block" && disks.CanMount() {
				t.Skipf("no loop devices here: %v", err)
			}
			child := exec.Command(os.Args[0], "-test.run=^TestDriverPassesTheSanitySuite$", "-test.v", "-ginkgo.no-color")
			child.Env = append(os.Environ(), accessTypeVariable+"="+accessType)
			output, err := child.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			for line := range strings.SplitSeq(string(output), "\n") {
				if _, skipped, ok := strings.Cut(line, "Skipped: "); ok {
					t.Log("not run:", skipped)
				} else if strings.HasPrefix(line, "Ran ") || strings.HasPrefix(line, "SUCCESS") {
					t.Log(line)
				}
			}
		})
	}
}

func runSanity(t *testing.T, accessType string) {
	dir := t.TempDir()
	region, err := disks.OpenRegion(filepath.Join(dir, "region"))
	if err != nil {
		t.Fatal(err)
	}
	socket := newSocket(t)
	server, err := disks.Serve(region, disks.Options{
		Socket:  socket,
		Cluster: "sanity",
		Node:    "node-0",
		Zone:    "zone-a",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()

	config := sanity.NewTestConfig()
	config.Address = socket
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
