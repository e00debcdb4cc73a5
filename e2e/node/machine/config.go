package machine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Config says what node to be. It is handed over as a file.
type Config struct {
	Name    string // of the node
	Cluster string // its name, for the region
	Dir     string // all state
	Logs    string // one log per program, and the Pods' logs
	Cgroup  string // name of the cgroup, in every hierarchy, that holds all Pods

	// KubeletDir is kubelet's, in /var/lib, and no other node's on this machine:
	// the kernel knows kubelet's loop devices by it.
	KubeletDir string

	Network   Network
	APIServer string // host:port, on the host

	Debian  string // folder with containerd, runc and the CNI plugins, unpacked
	Kubelet string // binary
	CoreDNS string // binary

	KubeletKubeconfig string
	CoreDNSKubeconfig string
	ClientCA          string // file: whom this authority has signed may ask kubelet
	Zone              string
	Images            []string // files: archives of images

	Region string // folder of the disks; "" is no CSI driver
	Driver string // its name
}

// Network are the addresses of a node.
type Network struct {
	Link string // name of the host's end of the veth pair
	Host string // IP of the host's end
	Node string // IP of the node's end, at which kubelet listens
	Pods string // CIDR
}

// Service IPs that every cluster has: cluster.Options leave no choice. The first
// is the API server's.
const (
	APIService = "10.96.0.1"
	dnsService = "10.96.0.10"
)

// PauseImage is the image of a Pod's sandbox, which must be among Images.
const PauseImage = "hawser.dev/e2e/pause:1"

// Folders of the node's own, by the names that daemons know them by, in Dir and
// in Logs.
func (c Config) lib() string { return filepath.Join(c.Dir, "lib") }
func (c Config) log() string { return filepath.Join(c.Logs, "pods-of-"+c.Name) }

// file is the path of a file of the node.
func (c Config) file(name string) string { return filepath.Join(c.Dir, name) }

// Write writes a configuration to its node's folder and returns the path.
func (c Config) Write() (string, error) {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return "", err
	}
	path := c.file("node.json")
	return path, os.WriteFile(path, data, 0o600)
}

func readConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}
