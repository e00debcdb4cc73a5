package backup

import (
	"strings"
	"testing"
)

// withPlan has the first object of a document opt in to a plan.
func withPlan(plan, document string) string {
	head, tail, _ := strings.Cut(document, "metadata: {")
	metadata, rest, _ := strings.Cut(tail, "\n")
	label := PlanLabel + ": " + plan
	if before, labels, has := strings.Cut(metadata, "labels: {"); has {
		metadata = before + "labels: {" + label + ", " + labels
	} else {
		metadata = "labels: {" + label + "}, " + metadata
	}
	return head + "metadata: {" + metadata + "\n" + rest
}

func namespace(name string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n"
}

func TestSelectTakesWhatOptedIn(t *testing.T) {
	cluster := []string{
		withPlan("databases", namespace("billing")), pair("billing/ledger"), statefulSet("billing/redis", "data"), pair("billing/data-redis-2"),
		withPlan("databases", statefulSet("shop/redis", "data")), pairs("shop/data-redis-0", "shop/data-redis-1"),
		withPlan("databases", pair("web/files")), deployment("web/front", "files", "cache"), pair("web/cache"),
		withPlan("media", namespace("media")), pair("media/films"), withPlan("media", pair("shop/pictures")),
		pair("shop/other"),
	}
	optedIn := []string{"billing/data-redis-2 <- StatefulSet/redis data #2", "billing/ledger", "shop/data-redis-0 <- StatefulSet/redis data #0", "shop/data-redis-1 <- StatefulSet/redis data #1", "web/files <- Deployment/front"}
	for _, c := range []struct {
		name string
		sel  Selection
		want []string
	}{
		{"alone", Selection{OptIn: "databases", OptInOnly: true}, optedIn},
		{"and nothing of another plan", Selection{OptIn: "media", OptInOnly: true}, []string{"media/films", "shop/pictures"}},
		{"besides what the selection names", Selection{OptIn: "media", Namespaces: []string{"web"}}, []string{
			"media/films", "shop/pictures", "web/cache <- Deployment/front", "web/files <- Deployment/front",
		}},
		{"besides a label query, to which it need not answer", Selection{OptIn: "media", Labels: selectLabels(t, "claim=other")}, []string{
			"media/films", "shop/other", "shop/pictures",
		}},
		{"besides workloads that are named", Selection{OptIn: "media", Namespaces: []string{"billing"}, Workloads: workloads("StatefulSet/redis")}, []string{
			"billing/data-redis-2 <- StatefulSet/redis data #2", "media/films", "shop/pictures",
		}},
		{"and without it labels mean nothing", Selection{Namespaces: []string{"web"}}, []string{
			"web/cache <- Deployment/front", "web/files <- Deployment/front",
		}},
		{"when it alone is asked for, and nothing did", Selection{OptIn: "empty", OptInOnly: true}, nil},
		{"when it alone is asked for, other names are not looked for", Selection{OptIn: "media", OptInOnly: true, Namespaces: []string{"gone"}, Claims: []string{"gone"}}, []string{
			"media/films", "shop/pictures",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantDiff(t, "claims", c.want, claimsOf(mustSelect(t, inventory(t, cluster...), c.sel, Include{})))
		})
	}
}

// The workload of an opted-in claim comes with it, and those that are named
// beside it too.
func TestSelectCapturesTheWorkloadsOfWhatOptedIn(t *testing.T) {
	cluster := []string{
		withPlan("databases", pair("web/files")), deployment("web/front", "files", "cache"), pair("web/cache"),
		withPlan("databases", deployment("web/stateless")), statefulSet("shop/redis", "data"), pair("shop/data-redis-0"),
	}
	for _, c := range []struct {
		name string
		sel  Selection
		want []string
	}{
		{"alone", Selection{OptIn: "databases", OptInOnly: true}, []string{"Deployment web/front"}},
		{"beside another namespace", Selection{OptIn: "databases", Namespaces: []string{"shop"}}, []string{"StatefulSet shop/redis", "Deployment web/front"}},
		{"beside a workload that is named", Selection{OptIn: "databases", Workloads: workloads("StatefulSet/redis")}, []string{"StatefulSet shop/redis", "Deployment web/front"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			selected := mustSelect(t, inventory(t, cluster...), c.sel, Include{})
			var kept []string
			for _, o := range objectsOf(selected) {
				if strings.HasPrefix(o, "Deployment") || strings.HasPrefix(o, "StatefulSet") {
					kept = append(kept, o)
				}
			}
			wantDiff(t, "workloads", c.want, kept)
			wantDiff(t, "skipped", []string{"PersistentVolumeClaim web/cache: not-selected"}, skipsOf(selected))
		})
	}
}

func TestOptInLooksInAllNamespaces(t *testing.T) {
	if scope := (Selection{OptIn: "databases", Namespaces: []string{"shop"}}).scope(); scope != "" {
		t.Errorf("it looks in namespace %q only", scope)
	}
	if scope := (Selection{Namespaces: []string{"shop"}}).scope(); scope != "shop" {
		t.Errorf("without it it looks in namespace %q", scope)
	}
}
