package config

import (
	"strings"
	"testing"
)

func TestNamesOfVariablesAndFlags(t *testing.T) {
	tests := []struct{ key, env, flag string }{
		{"store.url", "HAWSER_STORE_URL", "store-url"},
		{"snapshot.timeout", "HAWSER_SNAPSHOT_TIMEOUT", "snapshot-timeout"},
		{"plans.catchUp", "HAWSER_PLANS_CATCH_UP", "plans-catch-up"},
		{"include.configMaps", "HAWSER_INCLUDE_CONFIG_MAPS", "include-config-maps"},
	}
	for _, test := range tests {
		k := Key{Name: test.key}
		if k.Env() != test.env || k.Flag() != test.flag {
			t.Errorf("%s: %s and --%s, want %s and --%s", test.key, k.Env(), k.Flag(), test.env, test.flag)
		}
	}
}

// The layers are merged by a library that ignores the case of keys, and one
// key must not be the section of another.
func TestKeysAreDistinct(t *testing.T) {
	seen := map[string]string{}
	for _, k := range Keys() {
		for _, name := range []string{strings.ToLower(k.Name), k.Env(), "--" + k.Flag()} {
			if other := seen[name]; other != "" {
				t.Errorf("%s and %s are both %s", other, k.Name, name)
			}
			seen[name] = k.Name
		}
	}
	for _, k := range Keys() {
		for _, section := range Keys() {
			if strings.HasPrefix(k.Name, section.Name+".") {
				t.Errorf("%s lies in %s, which is a key", k.Name, section.Name)
			}
		}
	}
}

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"url", "url", 0}, {"ulr", "url", 2}, {"timeot", "timeout", 1}, {"kitten", "sitting", 3},
	}
	for _, test := range tests {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
