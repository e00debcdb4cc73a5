package e2e_test

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"hawser.dev/hawser/e2e/chart"
)

// granted are the rights of a ServiceAccount in words.
func granted(t *testing.T, documents []chart.Document, account string) []string {
	t.Helper()
	var all []string
	for _, g := range grants(t, documents, account) {
		all = append(all, g.String())
	}
	return all
}

// The ServiceAccounts hold no more than they are asked to.
func TestWhoHoldsWhat(t *testing.T) {
	plain := render(t, "minimal", "")
	if held := granted(t, plain, "hawser-restore"); len(held) != 0 {
		t.Errorf("without restore.bind, hawser-restore may %q", held)
	}
	bound := render(t, "minimal", "restore: {bind: true}")
	if held := granted(t, bound, "hawser-restore"); !slices.Contains(held, "create statefulsets") || !slices.Contains(held, "create persistentvolumes") {
		t.Errorf("with restore.bind, hawser-restore may no more than %q", held)
	}
	if got, want := granted(t, bound, "hawser-backup"), granted(t, plain, "hawser-backup"); !slices.Equal(got, want) {
		t.Errorf("with restore.bind, hawser-backup may %q, before %q", got, want)
	}
	if held := granted(t, plain, "hawser-rollback"); len(held) != 0 {
		t.Errorf("without rollback.bind, hawser-rollback may %q", held)
	}
	rolling := render(t, "minimal", "{rollback: {bind: true}, hooks: {namespaces: [shop]}}")
	for _, want := range []string{"patch statefulsets", "delete persistentvolumeclaims", "shop: create pods/exec"} { // the point that is made before has hooks
		if held := granted(t, rolling, "hawser-rollback"); !slices.Contains(held, want) {
			t.Errorf("with rollback.bind, hawser-rollback may not %s: %q", want, held)
		}
	}
	if held := granted(t, rolling, "hawser-backup"); slices.Contains(held, "patch statefulsets") {
		t.Errorf("with rollback.bind, hawser-backup may %q", held)
	}
	if held := granted(t, plain, "hawser-migrate"); len(held) != 0 {
		t.Errorf("without migrate.enabled, hawser-migrate may %q", held)
	}
	migrating := granted(t, render(t, "minimal", "{migrate: {enabled: true}, hooks: {namespaces: [shop]}}"), "hawser-migrate")
	for _, want := range []string{"patch statefulsets", "create persistentvolumes", "shop: create pods/exec"} { // the same
		if !slices.Contains(migrating, want) {
			t.Errorf("with migrate.enabled, hawser-migrate may not %s: %q", want, migrating)
		}
	}
	if got, want := granted(t, plain, "hawser-verify"), []string{"get namespaces kube-system", "list persistentvolumes", "list volumesnapshotcontents"}; !slices.Equal(got, want) {
		t.Errorf("hawser-verify may %q, want %q", got, want)
	}
	drilling := granted(t, render(t, "minimal", "drill: {enabled: true}"), "hawser-backup")
	for _, want := range []string{"create namespaces", "create pods", "delete namespaces"} {
		if slices.Contains(granted(t, plain, "hawser-backup"), want) || !slices.Contains(drilling, want) {
			t.Errorf("hawser-backup may %s without drill.enabled, or may not with it", want)
		}
	}
	for _, account := range []string{"hawser-backup", "hawser-prune"} {
		for _, held := range granted(t, plain, account) {
			for _, never := range []string{"secrets", "pods/exec", "create statefulsets", "create persistentvolume", "delete persistentvolume", "create pods"} {
				if strings.Contains(held, never) {
					t.Errorf("%s may %s", account, held)
				}
			}
		}
	}

	secrets := render(t, "minimal", "includeSecrets: true")
	if got := matching(granted(t, secrets, "hawser-backup"), "secrets"); !slices.Equal(got, []string{"list secrets"}) {
		t.Errorf("with includeSecrets, hawser-backup may %q", got)
	}
	if got := matching(granted(t, render(t, "minimal", "{includeSecrets: true, restore: {bind: true}}"), "hawser-restore"), "secrets"); !slices.Equal(got, []string{"create secrets", "get secrets", "list secrets"}) {
		t.Errorf("with includeSecrets and restore.bind, hawser-restore may %q", got)
	}
	hooks := render(t, "minimal", "hooks: {namespaces: [shop]}")
	if got := matching(granted(t, hooks, "hawser-backup"), "pods/exec"); !slices.Equal(got, []string{"shop: create pods/exec", "shop: get pods/exec"}) {
		t.Errorf("with hooks in namespace shop, hawser-backup may %q", got)
	}
	pruning := granted(t, plain, "hawser-prune")
	if !slices.Contains(pruning, "delete volumesnapshotcontents") {
		t.Errorf("hawser-prune may no more than %q", pruning)
	}
	backup := granted(t, plain, "hawser-backup")
	for by, more := range map[string][]string{"nobody": nil, "agent": pruning} {
		documents := render(t, "minimal", "prune: {by: "+by+"}")
		if held := granted(t, documents, "hawser-prune"); len(held) != 0 {
			t.Errorf("with prune.by %s, hawser-prune may %q", by, held)
		}
		want := slices.Sorted(slices.Values(slices.Concat(backup, more)))
		if held := granted(t, documents, "hawser-backup"); !slices.Equal(held, want) {
			t.Errorf("with prune.by %s, hawser-backup may %q, want %q", by, held, want)
		}
	}
}

func matching(all []string, part string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.Contains(s, part) })
}

// No rule of any variant says "all", and none lets its holder get more rights.
func TestNoRuleIsAWildcard(t *testing.T) {
	rules := 0
	for example := range examples(t) {
		documents := render(t, example, "")
		type owned struct {
			of    string
			rules []rbacv1.PolicyRule
		}
		var all []owned
		for _, r := range ofKind[rbacv1.ClusterRole](t, documents, "ClusterRole") {
			all = append(all, owned{r.Name, r.Rules})
		}
		for _, r := range ofKind[rbacv1.Role](t, documents, "Role") {
			all = append(all, owned{r.Name, r.Rules})
		}
		for _, role := range all {
			for _, rule := range role.rules {
				rules++
				words := slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs, rule.ResourceNames, rule.NonResourceURLs)
				if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, "*") }) {
					t.Errorf("role %s has a wildcard: %v", role.of, rule)
				}
				for _, verb := range []string{"escalate", "bind", "impersonate"} {
					if slices.Contains(rule.Verbs, verb) {
						t.Errorf("role %s has the verb %s", role.of, verb)
					}
				}
				if len(rule.APIGroups) != 1 {
					t.Errorf("role %s has a rule of %d API groups: %v", role.of, len(rule.APIGroups), rule)
				}
			}
		}
	}
	if rules == 0 {
		t.Error("there are no rules: the test proves nothing")
	}
}
