package machine

import "text/template"

var corefile = template.Must(template.New("Corefile").Parse(`
cluster.local:53 in-addr.arpa:53 {
  errors
  health 127.0.0.1:8080
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig {{.}}
    ttl 1
  }
}
`))

// startCoreDNS starts cluster DNS. It listens at all addresses of the node's
// network, of which one is the Service IP that Pods ask.
func (n *inside) startCoreDNS() error {
	config := n.file(corefile.Name())
	if err := fill(corefile, config, n.CoreDNSKubeconfig); err != nil {
		return err
	}
	return n.startDaemon("coredns", n.CoreDNS, "-conf="+config)
}
