// Command dns is CoreDNS with the plugins that a cluster of the tests needs.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

// init gives the order in which the plugins see a query.
func init() {
	dnsserver.Directives = []string{"errors", "health", "ready", "kubernetes"}
}

func main() { coremain.Run() }
