package e2e_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/chart"
	"hawser.dev/hawser/e2e/cluster"
)

// grant is a right that a ServiceAccount of the chart holds.
type grant struct {
	right
	namespace string   // "" is all
	names     []string // none is all
}

func (g grant) String() string {
	s := g.right.String()
	if g.namespace != "" {
		s = g.namespace + ": " + s
	}
	if len(g.names) > 0 {
		s += " " + strings.Join(g.names, ",")
	}
	return s
}

// allows says whether the grant is for a request.
func (g grant) allows(r cluster.Request) bool {
	resource := r.Resource
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	return g.verb == r.Verb && g.resource == resource && (g.namespace == "" || g.namespace == r.Namespace) &&
		(len(g.names) == 0 || slices.Contains(g.names, r.Name))
}

// grants are what a ServiceAccount of the chart may do, sorted.
func grants(t *testing.T, documents []chart.Document, account string) []grant {
	t.Helper()
	rules := map[string][]rbacv1.PolicyRule{}
	for _, role := range ofKind[rbacv1.ClusterRole](t, documents, "ClusterRole") {
		rules["ClusterRole "+role.Name] = role.Rules
	}
	for _, role := range ofKind[rbacv1.Role](t, documents, "Role") {
		rules["Role "+role.Name] = role.Rules
	}
	var all []grant
	add := func(namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		if !slices.Contains(subjects, rbacv1.Subject{Kind: "ServiceAccount", Name: account, Namespace: chart.Namespace}) {
			return
		}
		held, ok := rules[ref.Kind+" "+ref.Name]
		if !ok {
			t.Fatalf("%s is bound to %s %s, which is not there", account, ref.Kind, ref.Name)
		}
		for _, rule := range held {
			for _, r := range rightsOf(rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{rule}}) {
				all = append(all, grant{right: r, namespace: namespace, names: rule.ResourceNames})
			}
		}
	}
	for _, b := range ofKind[rbacv1.ClusterRoleBinding](t, documents, "ClusterRoleBinding") {
		add("", b.RoleRef, b.Subjects)
	}
	for _, b := range ofKind[rbacv1.RoleBinding](t, documents, "RoleBinding") {
		add(b.Namespace, b.RoleRef, b.Subjects)
	}
	slices.SortFunc(all, func(a, b grant) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// account gives this world the token of a ServiceAccount, as a Pod has it.
func (w *world) account(name string) *world {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), name+".kubeconfig")
	w.must(clientcmd.WriteToFile(*w.accountConfig(name), file))
	other := *w
	other.env = append(slices.Clone(w.env), "KUBECONFIG="+file)
	return &other
}

// accountConfig is a kubeconfig with the token of a ServiceAccount. All in it is
// named for the cluster.
func (w *world) accountConfig(name string) *api.Config {
	w.t.Helper()
	token, err := w.client.CoreV1().ServiceAccounts(chart.Namespace).CreateToken(w.ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	w.must(err)
	admin, cluster := w.lab.RESTConfig(""), w.lab.Name()
	return &api.Config{
		Clusters:       map[string]*api.Cluster{cluster: {Server: admin.Host, CertificateAuthorityData: admin.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{cluster: {Token: token.Status.Token}},
		Contexts:       map[string]*api.Context{cluster: {Cluster: cluster, AuthInfo: cluster}},
		CurrentContext: cluster,
	}
}

// agentRare are the rights that this test's agents can do without, and where
// they are needed.
var agentRare = map[string]string{
	"list volumesnapshots":             "with API servers that do not stream lists",
	"list volumesnapshotcontents":      "with API servers that do not stream lists",
	"hawser: list leases hawser-agent": "with API servers that do not stream lists",
	"delete volumesnapshotcontents":    "to remove what a failed run made, when its VolumeSnapshot is gone already",
}

// Two agents with nothing but the ServiceAccount of the chart run a plan, fail,
// report, and take over. They are refused nothing, and all that they may do they
// have done.
func TestTheAgentUsesTheRightsThatItHoldsAndNoOthers(t *testing.T) {
	w := ownWorld(t, cluster.Options{Name: "rights", Audit: true})
	documents := manifests(t, "hawser.yaml")
	w.must(w.lab.Apply(w.ctx, chart.Join(documents)))
	held := grants(t, documents, "hawser-backup")
	handles := w.deployRedis(2, "disks-delete")
	w.faults.Fail("CreateSnapshot", 0, codes.Internal, handles[redisClaim(1)])

	home := *w.account("hawser-backup")
	home.namespace = chart.Namespace // of the Lease
	plans, wrong := w.everyMinute("minutely"), "plans: nonsense\n"
	file := w.configure(filepath.Join(t.TempDir(), "config.yaml"), plans)
	one := home.startAgent("one", file)
	home.holder("one")
	two := home.startAgent("two", file)
	w.eventually("a partial point", 2*time.Minute, func() bool {
		return slices.ContainsFunc(w.commits("minutely"), func(c catalog.Commit) bool { return c.Outcome == catalog.Partial })
	})
	w.eventually("an Event of the claim that failed", patience, func() bool { return w.event("SnapshotFailed") != nil })

	// The same Event twice is one that is patched.
	refused := func(times int) func() bool {
		return func() bool { return strings.Count(one.logged(), "the new configuration is refused;") == times }
	}
	w.configure(file, wrong)
	w.eventually("the configuration is refused", patience, refused(1))
	w.configure(file, plans+"  paused: true\n")
	w.eventually("a right one is taken", patience, func() bool { return strings.Contains(one.logged(), "the configuration is read anew") })
	w.configure(file, wrong)
	w.eventually("the configuration is refused again", patience, refused(2))
	w.eventually("the Event is counted, or cannot be", patience, func() bool {
		e := home.event("ConfigurationRefused")
		return e != nil && e.Count == 2 || strings.Contains(one.logged(), "rejected event")
	})

	one.kill()
	home.holder("two")
	two.stop()
	home.holder("")

	w.expectUse("system:serviceaccount:"+chart.Namespace+":hawser-backup", held, nil, agentRare)
}

// expectUse fails the test if a user was refused anything but what missed names,
// or has not used one of the rights held that rare does not name.
func (w *world) expectUse(user string, held []grant, missed, rare map[string]string) {
	w.t.Helper()
	used := w.uses(user, held, missed)
	for _, g := range held {
		if rare[g.String()] == "" && !used[g.String()] {
			w.t.Errorf("%s did not use the right to %s", user, g)
		}
	}
}

// uses are those of the rights held that a user has used. It fails the test if the
// user was refused anything but what missed names.
func (w *world) uses(user string, held []grant, missed map[string]string) map[string]bool {
	w.t.Helper()
	requests, err := w.lab.Requests(w.ctx)
	w.must(err)
	used := map[string]bool{}
	for _, r := range requests {
		if r.User != user {
			continue
		}
		if r.Code == 403 && missed[r.Verb+" "+r.Resource] == "" {
			w.t.Errorf("%s lacks the right in cluster %s for: %s %s %s/%s (%s)", user, w.lab.Name(), r.Verb, r.Resource, r.Namespace, r.Name, r.URI)
		}
		for _, g := range held {
			if g.allows(r) {
				used[g.String()] = true
			}
		}
	}
	return used
}

// anywhere are rights as grants in all namespaces.
func anywhere(rights []right) []grant {
	var all []grant
	for _, r := range rights {
		all = append(all, grant{right: r})
	}
	return all
}

// An agent with nothing but the ServiceAccount of the chart holds the drills of a
// plan, and is refused nothing but what it can do without.
func TestTheAgentHoldsDrillsWithTheRightsOfTheChart(t *testing.T) {
	w := ownWorld(t, cluster.Options{Name: "drillrights", Audit: true})
	documents := manifests(t, "hawser.yaml", "drills.yaml")
	w.must(w.lab.Apply(w.ctx, chart.Join(documents)))
	home := *w.account("hawser-backup")
	home.namespace = chart.Namespace // of the Lease
	d := &drilling{world: w, handles: w.deployRedis(2, "disks-delete"), plan: "drilled", prefix: "hawser-drill", file: filepath.Join(t.TempDir(), "config.yaml")}
	d.configure(d.file, fmt.Sprintf("plans:\n- name: %s\n  select: {namespaces: [%s]}\n  drill: {schedule: \"* * * * *\"}\n", d.plan, d.namespace))
	d.run(0, "backup", "--plan", d.plan, "--config", d.file)
	go d.endPods(w.ctx, passes)

	agent := home.startAgent("one", d.file)
	d.eventually("the evidence of a drill that passed", 3*time.Minute, func() bool {
		all := d.evidence()
		return len(all) > 0 && all[0].Outcome == catalog.DrillPassed
	})
	agent.stop()
	d.expectNothing("after the agent has ended")
	w.expectUse("system:serviceaccount:"+chart.Namespace+":hawser-backup", anywhere(rightsOf(roles(t)["hawser-drill"])), drillMissed, drillRare)
}

// event is one with this reason in the world's namespace.
func (w *world) event(reason string) *corev1.Event {
	w.t.Helper()
	list, err := w.client.CoreV1().Events(w.namespace).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	for _, e := range list.Items {
		if e.Reason == reason {
			return &e
		}
	}
	return nil
}
