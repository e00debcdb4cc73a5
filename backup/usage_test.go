package backup

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestAStatefulSetsClaimsAreKnownByTheirNames(t *testing.T) {
	for _, c := range []struct {
		name      string
		set       string
		templates []string
		claim     string
		want      string // template and ordinal, "" if the claim is not the set's
	}{
		{"a claim of the set", "redis", []string{"data"}, "data-redis-0", "data 0"},
		{"a claim of a high ordinal", "redis", []string{"data"}, "data-redis-1234", "data 1234"},
		{"a template with dashes", "redis", []string{"redis-pvc"}, "redis-pvc-redis-2", "redis-pvc 2"},
		{"a set with dashes and digits", "redis-0", []string{"data"}, "data-redis-0-1", "data 1"},
		{"the second of two templates", "redis", []string{"data", "log"}, "log-redis-0", "log 0"},
		{"a template that begins like another", "redis", []string{"data", "data-redis"}, "data-redis-redis-0", "data-redis 0"},
		{"a template that the other order begins", "redis", []string{"data-redis", "data"}, "data-redis-redis-0", "data-redis 0"},
		{"a template named like another's claim", "w", []string{"a", "a-w-0"}, "a-w-0-w-1", "a-w-0 1"},

		{"a leading zero", "redis", []string{"data"}, "data-redis-01", ""},
		{"two zeros", "redis", []string{"data"}, "data-redis-00", ""},
		{"an ordinal below zero", "redis", []string{"data"}, "data-redis--1", ""},
		{"no ordinal", "redis", []string{"data"}, "data-redis-", ""},
		{"no ordinal at all", "redis", []string{"data"}, "data-redis", ""},
		{"a word for an ordinal", "redis", []string{"data"}, "data-redis-x", ""},
		{"something after the ordinal", "redis", []string{"data"}, "data-redis-0-x", ""},
		{"a claim of a set whose name goes on", "redis", []string{"data"}, "data-redis-cache-0", ""},
		{"a claim of a set whose name goes on with digits", "redis", []string{"data"}, "data-redis-0-0", ""},
		{"a claim of a set whose name is shorter", "redis-cache", []string{"data"}, "data-redis-0", ""},
		{"a claim of another template", "redis", []string{"data"}, "log-redis-0", ""},
		{"a template whose name goes on", "redis", []string{"data"}, "data2-redis-0", ""},
		{"more before the template", "redis", []string{"data"}, "old-data-redis-0", ""},
		{"an ordinal that no set has", "redis", []string{"data"}, "data-redis-99999999999999999999", ""},
		{"a set without templates", "redis", nil, "data-redis-0", ""},
		{"a template that is there twice", "redis", []string{"data", "data"}, "data-redis-0", "data 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inv := inventory(t, statefulSet("shop/"+c.set, c.templates...))
			claim := Listed[corev1.PersistentVolumeClaim]{} // of a name that need not be valid
			claim.Object.Namespace, claim.Object.Name = "shop", c.claim
			inv.Claims = append(inv.Claims, claim)
			var got string
			for _, u := range findUsage(inv).users[keyOf(&claim.Object)] {
				got += fmt.Sprint(u.template, " ", *u.ordinal)
			}
			if got != c.want {
				t.Errorf("claim %s of set %s is %q, want %q", c.claim, c.set, got, c.want)
			}
		})
	}
}

func TestSelectFindsTheUserOfEachClaim(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects []string
		want    []string
	}{
		{"all claims of a StatefulSet, above its replicas and below its first ordinal too", []string{
			statefulSet("shop/redis", "data") + "\n  ordinals: {start: 5}",
			pairs("shop/data-redis-5", "shop/data-redis-6", "shop/data-redis-40", "shop/data-redis-0"),
		}, []string{
			"shop/data-redis-0 <- StatefulSet/redis data #0",
			"shop/data-redis-40 <- StatefulSet/redis data #40",
			"shop/data-redis-5 <- StatefulSet/redis data #5",
			"shop/data-redis-6 <- StatefulSet/redis data #6",
		}},
		{"claims of each template", []string{
			statefulSet("shop/redis", "data", "log"), pairs("shop/data-redis-0", "shop/log-redis-0"),
		}, []string{"shop/data-redis-0 <- StatefulSet/redis data #0", "shop/log-redis-0 <- StatefulSet/redis log #0"}},
		{"sets whose names begin alike", []string{
			statefulSet("shop/redis", "data"), statefulSet("shop/redis-cache", "data"), statefulSet("shop/redis-0", "data"),
			pairs("shop/data-redis-0", "shop/data-redis-cache-0", "shop/data-redis-0-0"),
		}, []string{
			"shop/data-redis-0 <- StatefulSet/redis data #0",
			"shop/data-redis-0-0 <- StatefulSet/redis-0 data #0",
			"shop/data-redis-cache-0 <- StatefulSet/redis-cache data #0",
		}},
		{"a set of another namespace has no part in it", []string{
			statefulSet("billing/redis", "data"), pair("shop/data-redis-0"),
		}, []string{"shop/data-redis-0"}},
		{"look-alikes are claims of their own", []string{
			statefulSet("shop/redis", "data"), pairs("shop/data-redis-01", "shop/data-redis-0-x", "shop/data-redis--1"),
		}, []string{"shop/data-redis--1", "shop/data-redis-0-x", "shop/data-redis-01"}},
		{"a claim that a set's Pods name besides its templates", []string{
			statefulSet("shop/redis", "data") + "\n", deployment("shop/web", "files"), pairs("shop/files", "shop/data-redis-0"),
		}, []string{"shop/data-redis-0 <- StatefulSet/redis data #0", "shop/files <- Deployment/web"}},
		{"a bare Pod", []string{pod("shop/debug", "", "files"), pair("shop/files")}, []string{"shop/files <- Pod/debug"}},
		{"a bare Pod that has ended", []string{pod("shop/debug", "", "files") + "\nstatus: {phase: Succeeded}", pair("shop/files")}, []string{"shop/files"}},
		{"a claim that nothing uses", []string{pair("shop/files")}, []string{"shop/files"}},
		{"a claim that a StatefulSet, a Deployment and a Pod share", []string{
			pod("shop/a", "", "data-z-0"), deployment("shop/b", "data-z-0"), statefulSet("shop/z", "data"), pair("shop/data-z-0"),
		}, []string{"shop/data-z-0 <- StatefulSet/z data #0"}},
		{"a claim that two Deployments share", []string{
			deployment("shop/b", "files"), deployment("shop/a", "files"), pair("shop/files"),
		}, []string{"shop/files <- Deployment/a"}},
		{"a claim that one Deployment mounts twice", []string{
			deployment("shop/a", "files", "files"), pair("shop/files"),
		}, []string{"shop/files <- Deployment/a"}},
		{"a Pod of a controller is its controller's matter", []string{
			deployment("shop/a", "files"), pod("shop/a-1-x", "ReplicaSet/a-1", "files"), pair("shop/files"),
		}, []string{"shop/files <- Deployment/a"}},
		{"a Pod that is going", []string{
			`{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: p, deletionTimestamp: "2026-09-03T12:00:00Z"}, spec: {volumes: [{name: f, persistentVolumeClaim: {claimName: files}}]}}`,
			pair("shop/files"),
		}, []string{"shop/files"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			selected := mustSelect(t, inventory(t, c.objects...), Selection{}, Include{})
			wantDiff(t, "claims", c.want, claimsOf(selected))
		})
	}
}
