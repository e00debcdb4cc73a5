package machine

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
	"time"
)

const containerdSocket = "/run/containerd/containerd.sock"

var containerdConfig = template.Must(template.New("containerd.toml").Parse(`
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.Pause}}"
  # A container's oom_score_adj may be lowered only with CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  # A profile would stay in the host's kernel.
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{{.Debian}}/usr/sbin/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{{.Debian}}/usr/lib/cni"
    conf_dir = "{{.CNI}}"
`))

// cniConfig needs no masquerading: nothing leads from the node to elsewhere.
var cniConfig = template.Must(template.New("10-pods.conflist").Parse(`{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge",
    "bridge": "pods",
    "isGateway": true,
    "ipMasq": false,
    "ipam": {
      "type": "host-local",
      "ranges": [[{"subnet": "{{.Pods}}"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
`))

func (n *inside) startContainerd(ctx context.Context) error {
	cni := n.file("cni")
	if err := os.MkdirAll(cni, 0o755); err != nil {
		return err
	}
	if err := fill(cniConfig, filepath.Join(cni, cniConfig.Name()), n.Network); err != nil {
		return err
	}
	config := n.file(containerdConfig.Name())
	err := fill(containerdConfig, config, map[string]string{"Pause": PauseImage, "Debian": n.Debian, "CNI": cni})
	if err != nil {
		return err
	}
	// containerd finds its shim in the folder of its own binary.
	if err := n.startDaemon("containerd", filepath.Join(n.Debian, "usr/bin/containerd"), "--config="+config); err != nil {
		return err
	}
	return n.awaitSocket(ctx, containerdSocket)
}

// awaitSocket waits until somebody listens at a socket, or a daemon has ended.
func (n *inside) awaitSocket(ctx context.Context, path string) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-again.C:
		case err := <-n.ended:
			return err
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", path, context.Cause(ctx), err)
		}
	}
}

// importImage makes an image of an archive known to kubelet.
func (n *inside) importImage(ctx context.Context, archive string) error {
	ctr := exec.CommandContext(ctx, filepath.Join(n.Debian, "usr/bin/ctr"), "--namespace=k8s.io", "images", "import", archive)
	if output, err := ctr.CombinedOutput(); err != nil {
		return fmt.Errorf("import image %s: %w: %s", archive, err, output)
	}
	return nil
}

// fill writes a template's file.
func fill(t *template.Template, path string, data any) error {
	var text bytes.Buffer
	if err := t.Execute(&text, data); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}
