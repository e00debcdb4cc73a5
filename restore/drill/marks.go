package drill

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"hawser.dev/hawser/catalog"
)

const (
	// aliveAnnotation, on the namespaces of a drill, changes for as long as the
	// drill is under way.
	aliveAnnotation = "hawser.dev/drill-alive"
	// keptAnnotation says that the drill is over, and was to be kept.
	keptAnnotation = "hawser.dev/drill-kept"

	planAnnotation  = "hawser.dev/drill-plan"
	pointAnnotation = "hawser.dev/drill-point"
	claimAnnotation = "hawser.dev/drill-claim" // of a Pod: what it checks, as in the point

	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "hawser"

	// DefaultPrefix is what the names of scratch namespaces begin with.
	DefaultPrefix = "hawser-drill"
	classPrefix   = "hawser-drill-"
)

// marks are the labels of everything that a drill makes.
func marks(id catalog.DrillID) map[string]string {
	return map[string]string{catalog.DrillLabel: string(id), managedByLabel: managedBy}
}

// markedBy is the drill that made an object with these labels; "" for none.
func markedBy(labels map[string]string) catalog.DrillID {
	id := catalog.DrillID(labels[catalog.DrillLabel])
	if id.Plan() == "" || labels[managedByLabel] != managedBy {
		return ""
	}
	return id
}

// namespaceName is the name of the n-th scratch namespace of a drill.
func namespaceName(prefix string, id catalog.DrillID, n int) string {
	return fmt.Sprintf("%s-%s-%d", prefix, id.Mark(), n)
}

// className is the name of the n-th storage class of a drill.
func className(id catalog.DrillID, n int) string {
	return fmt.Sprintf("%s%s-%d", classPrefix, id.Mark(), n)
}

var (
	scratchName  = regexp.MustCompile(`^[a-z0-9].*-([0-9a-f]{8})-[0-9]+$`)
	scratchClass = regexp.MustCompile(`^` + classPrefix + `([0-9a-f]{8})-[0-9]+$`)
)

// markIn is what a name has in place of the mark of a drill; "" if it is not of
// that form.
func markIn(form *regexp.Regexp, name string) string {
	m := form.FindStringSubmatch(name)
	if m == nil {
		return ""
	}
	return m[1]
}

// checkPrefix refuses what cannot begin the names of namespaces.
func checkPrefix(prefix string) error {
	const room = len("-01234567-999")
	if problems := validation.IsDNS1123Label(prefix); len(problems) > 0 || len(prefix) > validation.DNS1123LabelMaxLength-room {
		return fmt.Errorf("prefix %q of scratch namespaces: use 1 to %d characters of a-z, 0-9 and '-', beginning and ending with a letter or digit", prefix, validation.DNS1123LabelMaxLength-room)
	}
	if strings.HasPrefix(prefix, "kube-") {
		return fmt.Errorf("prefix %q of scratch namespaces: names that begin with kube- are Kubernetes' own", prefix)
	}
	return nil
}
