package disks_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/testing/protocmp"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"hawser.dev/hawser/e2e/disks"
)

func TestKubeletLearnsOfTheDriver(t *testing.T) {
	dir := must[string](t)(os.MkdirTemp("", "csi-")) // the path of a socket must be short
	t.Cleanup(func() { os.RemoveAll(dir) })
	region, socket, registry := newRegion(t), filepath.Join(dir, "csi.sock"), filepath.Join(dir, "registry")
	server, err := disks.Serve(region, disks.Options{Socket: socket, Cluster: "east", Node: "node-0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	stop, err := server.Register(registry)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Register(registry); err == nil {
		t.Error("it registers twice")
	}

	found := must[[]string](t)(filepath.Glob(filepath.Join(registry, "*")))
	if len(found) != 1 {
		t.Fatalf("kubelet finds %q, want one socket", found)
	}
	conn, err := grpc.NewClient("unix:"+found[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	kubelet := registration.NewRegistrationClient(conn)
	info, err := kubelet.GetInfo(t.Context(), &registration.InfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := &registration.PluginInfo{Type: "CSIPlugin", Name: disks.DefaultDriver, Endpoint: socket, SupportedVersions: []string{"1.0.0"}}
	if diff := cmp.Diff(want, info, protocmp.Transform()); diff != "" {
		t.Errorf("what kubelet is told (-want +got):\n%s", diff)
	}
	if _, err := kubelet.NotifyRegistrationStatus(t.Context(), &registration.RegistrationStatus{PluginRegistered: true}); err != nil {
		t.Error(err)
	}

	stop()
	if left := must[[]string](t)(filepath.Glob(filepath.Join(registry, "*"))); len(left) > 0 {
		t.Errorf("%q is left after the end", left)
	}
}
