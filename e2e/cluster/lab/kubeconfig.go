package lab

import (
	"maps"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// MergeKubeconfigs writes a kubeconfig with the admin's context of each lab, by
// which the lab is named. The first is the current one.
func MergeKubeconfigs(file string, labs ...*Lab) error {
	merged := api.NewConfig()
	for _, l := range labs {
		one, err := clientcmd.LoadFromFile(l.Kubeconfig())
		if err != nil {
			return err
		}
		for _, user := range one.AuthInfos { // they have all the same name
			merged.AuthInfos[l.Name()] = user
		}
		for name, context := range one.Contexts {
			context.AuthInfo = l.Name()
			merged.Contexts[name] = context
		}
		maps.Copy(merged.Clusters, one.Clusters)
	}
	merged.CurrentContext = labs[0].Name()
	return clientcmd.WriteToFile(*merged, file)
}
