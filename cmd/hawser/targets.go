package main

import (
	"slices"
	"strings"

	"hawser.dev/hawser/catalog"
)

// targets are the workloads and claims that arguments such as
// statefulset/redis or pvc/data name.
type targets struct {
	workloads []catalog.Workload
	claims    []string
}

// kindNames are the words that kubectl takes for a kind.
var kindNames = map[string][]string{
	"StatefulSet":           {"statefulset", "statefulsets", "sts", "statefulset.apps", "statefulsets.apps"},
	"Deployment":            {"deployment", "deployments", "deploy", "deployment.apps", "deployments.apps"},
	"Pod":                   {"pod", "pods", "po"},
	"PersistentVolumeClaim": {"persistentvolumeclaim", "persistentvolumeclaims", "pvc"},
}

// parseTargets reads arguments of the form KIND/NAME.
func parseTargets(args []string) (targets, error) {
	var t targets
	for _, arg := range args {
		word, name, found := strings.Cut(arg, "/")
		if !found || name == "" || strings.Contains(name, "/") {
			return targets{}, usagef("%q: want KIND/NAME, such as statefulset/redis or pvc/data", arg)
		}
		kind := kindOf(word)
		switch kind {
		case "":
			return targets{}, usagef("%q: unknown kind %q; want statefulset, deployment, pod or pvc", arg, word)
		case "PersistentVolumeClaim":
			t.claims = append(t.claims, name)
		default:
			t.workloads = append(t.workloads, catalog.Workload{Kind: kind, Name: name})
		}
	}
	return t, nil
}

func kindOf(word string) string {
	for kind, names := range kindNames {
		if slices.Contains(names, strings.ToLower(word)) {
			return kind
		}
	}
	return ""
}
