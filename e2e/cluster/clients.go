package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

const (
	adminUser   = "admin"
	adminsGroup = "system:masters" // may do anything, whatever RBAC says
	ownAgent    = "hawser-e2e"     // of what this package itself asks for
)

// prepareClients makes the credentials of the admin and this package's clients.
func (c *Cluster) prepareClients() (err error) {
	if c.admin, err = c.UserConfig(adminUser, adminsGroup); err != nil {
		return err
	}
	if _, err = c.UserKubeconfig(adminUser, adminsGroup); err != nil {
		return err
	}
	own := c.RESTConfig(ownAgent)
	if c.typed, err = kubernetes.NewForConfig(own); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if c.dynamic, err = dynamic.NewForConfig(own); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	c.mapper, err = newMapper(own)
	return err
}

// RESTConfig returns a configuration of the cluster's admin, which names itself
// userAgent to the audit log and has no rate limit. It is the caller's to change.
func (c *Cluster) RESTConfig(userAgent string) *rest.Config {
	config := rest.CopyConfig(c.admin)
	config.UserAgent = userAgent
	return config
}

// UserConfig returns a configuration of a user in the given groups (and in
// system:authenticated). The user may do what RBAC grants to them, which is
// next to nothing at first.
func (c *Cluster) UserConfig(user string, groups ...string) (*rest.Config, error) {
	cert, key, err := c.pki.client(user, groups)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            "https://" + c.ports.apiServer.address(),
		TLSClientConfig: rest.TLSClientConfig{CAData: c.pki.ca, CertData: cert, KeyData: key},
		QPS:             -1,
	}, nil
}

// Kubeconfig returns the path of the admin's kubeconfig. Its context is named
// for the cluster.
func (c *Cluster) Kubeconfig() string { return c.kubeconfigFile(adminUser) }

// UserKubeconfig writes a kubeconfig of a user, as UserConfig has it, into the
// cluster's folder and returns its path.
func (c *Cluster) UserKubeconfig(user string, groups ...string) (string, error) {
	config, err := c.UserConfig(user, groups...)
	if err != nil {
		return "", err
	}
	file := c.kubeconfigFile(strings.ReplaceAll(user, string(filepath.Separator), "-"))
	if err := clientcmd.WriteToFile(kubeconfig(c.opts.Name, user, config), file); err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return file, nil
}

func kubeconfig(cluster, user string, config *rest.Config) api.Config {
	return api.Config{
		Clusters: map[string]*api.Cluster{cluster: {
			Server:                   config.Host,
			CertificateAuthorityData: config.CAData,
		}},
		AuthInfos: map[string]*api.AuthInfo{user: {
			ClientCertificateData: config.CertData,
			ClientKeyData:         config.KeyData,
		}},
		Contexts:       map[string]*api.Context{cluster: {Cluster: cluster, AuthInfo: user}},
		CurrentContext: cluster,
	}
}

// UID returns what identifies the cluster: the uid of namespace kube-system.
func (c *Cluster) UID(ctx context.Context) (string, error) {
	namespace, err := c.typed.CoreV1().Namespaces().Get(ctx, "kube-system", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get the uid of namespace kube-system: %w", err)
	}
	return string(namespace.UID), nil
}

// writeConfiguration writes the files that components read, besides the pki.
func (c *Cluster) writeConfiguration() error {
	for user, groups := range map[string][]string{
		controllerManager:  nil, // RBAC knows the user system:kube-controller-manager
		scheduler:          nil,
		kwok:               {adminsGroup},
		snapshotController: {adminsGroup},
		csiSnapshotter:     {adminsGroup},
		csiProvisioner:     {adminsGroup},
		csiAttacher:        {adminsGroup},
	} {
		if err := c.writeComponentKubeconfig(user, groups); err != nil {
			return err
		}
	}
	for _, name := range []string{"kwok-stages.yaml", "audit-policy.yaml"} {
		if err := os.WriteFile(c.file(name), embedded(name), 0o644); err != nil {
			return fmt.Errorf("write the configuration: %w", err)
		}
	}
	return nil
}

// writeComponentKubeconfig gives a component its file. Those that RBAC has a
// role for are called by the user name that the role is bound to.
func (c *Cluster) writeComponentKubeconfig(component string, groups []string) error {
	user := component
	if len(groups) == 0 {
		user = "system:" + component
	}
	config, err := c.UserConfig(user, groups...)
	if err != nil {
		return err
	}
	if err := clientcmd.WriteToFile(kubeconfig(c.opts.Name, user, config), c.kubeconfigFile(component)); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", component, err)
	}
	return nil
}
