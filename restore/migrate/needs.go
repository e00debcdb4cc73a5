package migrate

import (
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hawser.dev/hawser/catalog"
)

// serviceAccounts are those that the Pods of a point's workloads run as, but for
// the one that every namespace has.
func serviceAccounts(point *catalog.RestorePoint) []string {
	var names []string
	for _, o := range point.Bundle.Objects {
		if o.GetKind() != "StatefulSet" && o.GetKind() != "Deployment" {
			continue
		}
		name, _, _ := unstructured.NestedString(o.Object, "spec", "template", "spec", "serviceAccountName")
		if name != "" && name != "default" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// older says whether version a is before version b; what is not a number is not
// compared.
func older(majorA, minorA, majorB, minorB string) bool {
	a, okA := number(majorA, minorA)
	b, okB := number(majorB, minorB)
	return okA && okB && a < b
}

func number(major, minor string) (int, bool) {
	x, err := strconv.Atoi(major)
	y, err2 := strconv.Atoi(strings.TrimRight(minor, "+"))
	return x*1000 + y, err == nil && err2 == nil
}
