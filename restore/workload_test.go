package restore

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestBareObject(t *testing.T) {
	goldenCases(t, "bare", func(t *testing.T, folder string) {
		var captured unstructured.Unstructured
		readInput(t, folder, &captured)
		before := captured.DeepCopy()
		bare := bareObject(captured)
		if diff := cmp.Diff(*before, captured); diff != "" {
			t.Errorf("the input changed:\n%s", diff)
		}
		if diff := cmp.Diff(bare.Object, bareObject(*bare).Object); diff != "" {
			t.Errorf("stripped twice, it differs (-once +twice):\n%s", diff)
		}
		golden(t, folder, bare)
	})
}

func TestMentions(t *testing.T) {
	spec := map[string]any{
		"serviceName": "redis-service",
		"replicas":    int64(3),
		"paused":      false,
		"empty":       nil,
		"template": map[string]any{"spec": map[string]any{
			"volumes": []any{
				map[string]any{"name": "conf", "configMap": map[string]any{"name": "redis-config"}},
				map[string]any{"name": "all", "projected": map[string]any{"sources": []any{map[string]any{"secret": map[string]any{"name": "redis-tls"}}}}},
			},
			"args": []any{"--user", "admin"},
		}},
	}
	tests := []struct {
		name string
		want bool
	}{
		{"redis-service", true},
		{"redis-config", true},
		{"redis-tls", true},
		{"admin", true}, // any string counts: too much is kept as it is, too little would be missing
		{"redis", false},
		{"configMap", false}, // a field, not a value
		{"3", false},
		{"", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := mentions(spec, test.name); got != test.want {
				t.Errorf("mentions(%q) = %v, want %v", test.name, got, test.want)
			}
		})
	}
}
