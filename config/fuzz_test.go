package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever is in the file, it is refused with a line and a key, or every plan
// and webhook has what is promised of it. Search on with: go test -run - -fuzz FuzzLoad -fuzzminimizetime 1x ./config
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		databases, sample, asDesigned, "", "null", "- a", "plans: &p [{name: a, hooks: *p}]", "plans: &a [*a]", "&a {plans: *a}", "? {a: b}\n: c",
		"notify: [{url: 'https://h/x', true: [rpo]}]", "plans: [{name: a, <<: {paused: true}}]", "plans: [{name: a, retain: {last: 1, within: 9999w}}]",
		"plans: [!!binary aGk=, {name: !!str 1, schedule: !x y}]", "agent: {listen: ':0'}\nprune: {grace: 1d}", "plans: [{name: a, select: {labels: 'a in (b'}}]",
	} {
		f.Add(seed)
	}
	path := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Source{File: path, NamespaceFile: "absent", Rules: Rules{Schedule: noHour25}})
		if err != nil {
			var one *Error
			if !errors.As(err, &one) || !strings.Contains(one.Error(), path) {
				t.Errorf("an error says nothing of the file: %v", err)
			}
			return
		}
		for _, p := range c.Plans {
			if p.Name == "" || p.Timezone == "" || p.CatchUp < 0 || p.Jitter < 0 || p.RPO < 0 || p.Concurrency == "" || p.Protect == "" || p.Snapshot.Timeout <= 0 {
				t.Errorf("plan %+v", p)
			}
		}
		for _, n := range c.Notify {
			if n.URL == "" || n.Format == "" || len(n.On) == 0 {
				t.Errorf("webhook %+v", n)
			}
		}
		if len(c.Values()) != len(Keys())+len(c.Plans)+len(c.Notify) || len(c.Flat()) < len(c.Values()) {
			t.Errorf("%d values, %d flat, for %d plans and %d webhooks", len(c.Values()), len(c.Flat()), len(c.Plans), len(c.Notify))
		}
	})
}
