package e2e_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/config"
	"hawser.dev/hawser/e2e/chart"
)

// examples are the files with values to try the chart with, by name.
func examples(t *testing.T) map[string]string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Helm, which is built first; run without -short")
	}
	dir, err := chart.Dir()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "ci", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the chart has no values to try it with: %v", err)
	}
	named := map[string]string{}
	for _, file := range files {
		named[strings.TrimSuffix(filepath.Base(file), ".yaml")] = file
	}
	return named
}

// render renders the chart with an example, and more values over it.
func render(t *testing.T, example, values string) []chart.Document {
	t.Helper()
	documents, err := chart.Render(t.Context(), chart.Values{Files: []string{examples(t)[example]}, YAML: values})
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

// ofKind reads the objects of a kind, which may have no field that the kind
// does not have.
func ofKind[T any](t *testing.T, documents []chart.Document, kind string) []T {
	t.Helper()
	var all []T
	for _, d := range documents {
		if d.GetKind() != kind {
			continue
		}
		var object T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(d.Object, &object, true); err != nil {
			t.Fatalf("%s: %v", d.ID(), err)
		}
		all = append(all, object)
	}
	return all
}

func TestHelmFindsNoFaultWithTheChart(t *testing.T) {
	for name, file := range examples(t) {
		if err := chart.Lint(t.Context(), chart.Values{Files: []string{file}}); err != nil {
			t.Errorf("with the values %s: %v", name, err)
		}
	}
}

func TestTheManifestsAreThoseOfTheChart(t *testing.T) {
	examples(t)
	want, err := chart.Manifests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := chart.ManifestsDir()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if got[file.Name()], err = os.ReadFile(filepath.Join(dir, file.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.EqualFunc(want, got, bytes.Equal) {
		t.Errorf("deploy/manifests is out of date; run make manifests (-chart +manifests):\n%s", cmp.Diff(want, got))
	}
}

// The schema refuses values that are wrong, and the chart those that are wrong
// together; the message says where.
func TestTheChartRefuses(t *testing.T) {
	minimal := examples(t)["minimal"]
	for _, test := range []struct {
		name, values string
		want         []string
	}{
		{"an unknown value", "replica: 3", []string{"'replica' not allowed"}},
		{"an unknown key of the configuration", "config: {plan: []}", []string{"/config", "'plan' not allowed"}},
		{"an unknown key of a plan", "config: {plans: [{name: a, shedule: '@daily'}]}", []string{"/config/plans/0", "'shedule' not allowed"}},
		{"a plan without a name", "config: {plans: [{schedule: '@daily'}]}", []string{"/config/plans/0", "missing property 'name'"}},
		{"a schedule of six fields", "config: {plans: [{name: a, schedule: '0 0 0 * * *'}]}", []string{"/config/plans/0/schedule"}},
		{"a duration that is a number", "config: {plans: [{name: a, jitter: 5}]}", []string{"/config/plans/0/jitter", "got number, want string"}},
		{"a duration without a unit", "config: {plans: [{name: a, rpo: '8'}]}", []string{"/config/plans/0/rpo"}},
		{"a hook without a command", "config: {plans: [{name: a, hooks: [{select: {labels: a=b}}]}]}", []string{"/config/plans/0/hooks/0", "'pre'"}},
		{"a negative count", "config: {plans: [{name: a, retain: {daily: -1}}]}", []string{"/config/plans/0/retain/daily", "minimum"}},
		{"a webhook at no URL", "config: {notify: [{url: hooks.example.com}]}", []string{"/config/notify/0/url"}},
		{"an unknown occasion", "config: {notify: [{url: 'https://a', on: [sometimes]}]}", []string{"/config/notify/0", "'failure', 'recovery', 'rpo'"}},
		{"no store", "config: {store: {url: ''}}", []string{"/config/store/url"}},
		{"a store of an unknown kind", "config: {store: {url: 'gs://backups'}}", []string{"/config/store/url", "gs://backups"}},
		{"no replica", "replicas: 0", []string{"/replicas", "minimum: got 0, want 1"}},
		{"a digest that is none", "image: {digest: latest}", []string{"/image/digest"}},
		{"hooks in something that is no namespace", "hooks: {namespaces: ['*']}", []string{"/hooks/namespaces/0"}},
		{"a setting that is the chart's own", "config: {agent: {listen: ':9090'}}", []string{"/config", "'agent' not allowed"}},

		{"a folder without a claim", "config: {store: {url: 'file:///backups'}}", []string{"store.persistentVolumeClaim"}},
		{"a claim without a folder", "store: {persistentVolumeClaim: backups}", []string{"store.persistentVolumeClaim", "file://"}},
		{"credentials of a CronJob that is not there", "prune: {by: agent, credentialsSecret: a}", []string{"prune.credentialsSecret", "agent"}},
		{"a plan with Secrets that nobody may read", "config: {plans: [{name: a, include: {secrets: true}}]}", []string{"plan a includes Secrets: set includeSecrets"}},
		{"a plan with drills that nobody may hold", "config: {plans: [{name: a, drill: {schedule: '@weekly'}}]}", []string{"plan a has drill.schedule: set drill.enabled"}},
		{"a plan with hooks that nobody may run", "config: {plans: [{name: a, hooks: [{select: {labels: a=b}, post: [c]}]}]}", []string{"plan a has hooks", "hooks.namespaces"}},
	} {
		_, err := chart.Render(t.Context(), chart.Values{Files: []string{minimal}, YAML: test.values})
		if err == nil {
			t.Errorf("%s is not refused: %s", test.name, test.values)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the message lacks %q: %v", test.name, want, err)
			}
		}
	}
}

// What the chart writes into the configuration file is what hawser reads there.
func TestHawserTakesTheConfigurationOfTheChart(t *testing.T) {
	w := newWorld(t)
	for example := range examples(t) {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(configurationOf(t, render(t, example, ""))), 0o600); err != nil {
			t.Fatal(err)
		}
		var shown []struct {
			Key   string
			Value any
		}
		if err := json.Unmarshal([]byte(w.run(0, "config", "--config", file, "-o", "json").Stdout), &shown); err != nil {
			t.Fatal(err)
		}
		got := map[string]any{}
		for _, s := range shown {
			got[s.Key] = s.Value
		}
		// The agent deletes nothing, unless it is to.
		want := map[string]any{"agent.listen": ":8080", "agent.leaderElect": "true", "prune.schedule": ""}
		if example == "folder" {
			want["prune.schedule"] = "17 3 * * *"
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("with the values %s, %s is %v, want %v", example, key, got[key], value)
			}
		}
	}
}

// Whatever the file of hawser may say, but agent and prune, the values may say.
func TestTheChartTakesTheConfigurationOfHawser(t *testing.T) {
	var configuration map[string]any
	data, err := os.ReadFile("../deploy/hawser.example.yaml")
	if err == nil {
		err = yaml.Unmarshal(data, &configuration)
	}
	if err != nil {
		t.Fatal(err)
	}
	delete(configuration, "agent")
	delete(configuration, "prune")
	values, err := yaml.Marshal(map[string]any{"config": configuration})
	if err != nil {
		t.Fatal(err)
	}
	render(t, "full", string(values))
}

// configurationOf is the file that the Pods see.
func configurationOf(t *testing.T, documents []chart.Document) string {
	t.Helper()
	for _, m := range ofKind[corev1.ConfigMap](t, documents, "ConfigMap") {
		if m.Name == "hawser-config" {
			return m.Data["config.yaml"]
		}
	}
	for _, s := range ofKind[corev1.Secret](t, documents, "Secret") {
		if s.Name == "hawser-config" {
			return s.StringData["config.yaml"]
		}
	}
	t.Fatal("there is no configuration")
	return ""
}

// The schema knows the keys that hawser does: every one of them is in the
// example full, which both take, and the example leaves none of the schema out.
func TestTheSchemaKnowsTheKeysOfTheConfiguration(t *testing.T) {
	var given map[string]any
	data, err := os.ReadFile(examples(t)["full"])
	if err == nil {
		err = yaml.Unmarshal(data, &given)
	}
	if err != nil {
		t.Fatal(err)
	}
	example := leaves("", given["config"], nil)
	example = append(example, "notify.on") // YAML 1.1 has read its key as true
	for _, key := range config.Keys() {
		own := strings.HasPrefix(key.Name, "agent.") || strings.HasPrefix(key.Name, "prune.")
		if !own && !slices.ContainsFunc(example, func(leaf string) bool { return leaf == key.Name || strings.HasPrefix(leaf, key.Name+".") }) {
			t.Errorf("the values full, and with them the schema, do not have the key %s of hawser", key.Name)
		}
	}

	dir, err := chart.Dir()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if data, err = os.ReadFile(filepath.Join(dir, "values.schema.json")); err == nil {
		err = json.Unmarshal(data, &schema)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range properties(schema, "", at(schema, "properties", "config")) {
		if !slices.ContainsFunc(example, func(leaf string) bool { return leaf == key || strings.HasPrefix(leaf, key+".") }) {
			t.Errorf("the values full lack the key %s of the schema, so nothing shows that hawser has it", key)
		}
	}
}

// leaves are the paths of all values; items of a list have that of the list.
func leaves(path string, value any, all []string) []string {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			all = leaves(strings.TrimPrefix(path+"."+key, "."), inner, all)
		}
		return all
	case []any:
		for _, inner := range value {
			all = leaves(path, inner, all)
		}
	}
	return append(all, path)
}

// properties are the paths of all values that a schema knows.
func properties(root map[string]any, path string, schema map[string]any) []string {
	if ref, ok := schema["$ref"].(string); ok {
		schema = at(root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	if items, ok := schema["items"].(map[string]any); ok {
		return properties(root, path, items)
	}
	known, ok := schema["properties"].(map[string]any)
	if !ok {
		return []string{path}
	}
	var all []string
	for key := range known {
		all = append(all, properties(root, strings.TrimPrefix(path+"."+key, "."), known[key].(map[string]any))...)
	}
	return all
}

func at(value map[string]any, path ...string) map[string]any {
	for _, key := range path {
		value, _ = value[key].(map[string]any)
	}
	return value
}

// Whatever selects Pods selects those of the chart, and only those that it is
// meant for.
func TestSelectorsFindTheirPods(t *testing.T) {
	documents := render(t, "full", "")
	agent := ofKind[appsv1.Deployment](t, documents, "Deployment")[0].Spec.Template.Labels
	prune := ofKind[batchv1.CronJob](t, documents, "CronJob")[0].Spec.JobTemplate.Spec.Template.Labels
	check := func(what string, selector map[string]string, wantPrune bool) {
		t.Helper()
		s := labels.SelectorFromSet(selector)
		if s.Empty() || !s.Matches(labels.Set(agent)) || s.Matches(labels.Set(prune)) != wantPrune {
			t.Errorf("%s selects by %s: the agent (%v) %v, pruning (%v) %v, want %v", what, s, agent, s.Matches(labels.Set(agent)), prune, s.Matches(labels.Set(prune)), wantPrune)
		}
	}
	check("the Deployment", ofKind[appsv1.Deployment](t, documents, "Deployment")[0].Spec.Selector.MatchLabels, false)
	check("the PodDisruptionBudget", ofKind[policyv1.PodDisruptionBudget](t, documents, "PodDisruptionBudget")[0].Spec.Selector.MatchLabels, false)
	check("the NetworkPolicy", ofKind[networkingv1.NetworkPolicy](t, documents, "NetworkPolicy")[0].Spec.PodSelector.MatchLabels, true)
	service := ofKind[corev1.Service](t, documents, "Service")[0]
	check("the Service", service.Spec.Selector, false)

	for _, d := range documents {
		if d.GetKind() == "ServiceMonitor" {
			matched := at(d.Object, "spec", "selector", "matchLabels")
			selector := map[string]string{}
			for key, value := range matched {
				selector[key] = value.(string)
			}
			if !labels.SelectorFromSet(selector).Matches(labels.Set(service.Labels)) || len(selector) == 0 {
				t.Errorf("the ServiceMonitor selects by %v, the Service has %v", selector, service.Labels)
			}
			return
		}
	}
	t.Error("there is no ServiceMonitor")
}

// A change that the running agents take over does not restart them; any other
// does.
func TestOnlyWhatTheAgentCannotTakeOverRestartsIt(t *testing.T) {
	template := func(values string) string {
		t.Helper()
		deployment := ofKind[appsv1.Deployment](t, render(t, "minimal", values), "Deployment")[0]
		text, err := json.Marshal(deployment.Spec.Template)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	webhook := "config: {notify: [{url: 'https://hooks.example.com/a'}]"
	for _, test := range []struct {
		name, before, after string
		restart             bool
	}{
		{"another plan", "", "config: {plans: [{name: a, schedule: '@daily'}]}", false},
		{"another webhook", webhook + "}", "config: {notify: [{url: 'https://hooks.example.com/b'}]}", false},
		{"another rate of requests", "", "config: {kubernetes: {qps: 5}}", true},
		{"another store", "", "config: {store: {url: 's3://other'}}", true},
	} {
		if restart := template(test.before) != template(test.after); restart != test.restart {
			t.Errorf("%s: restart %v, want %v", test.name, restart, test.restart)
		}
	}
}

// The addresses of webhooks are secrets: they are in nothing but a Secret.
func TestWebhooksAreKeptInASecret(t *testing.T) {
	found := false
	for _, d := range render(t, "full", "") {
		if strings.Contains(d.Text, "hooks.example.com") {
			found = true
			if d.GetKind() != "Secret" {
				t.Errorf("%s says where a webhook is", d.ID())
			}
		}
	}
	if !found {
		t.Error("the webhook of the values is nowhere")
	}
}
