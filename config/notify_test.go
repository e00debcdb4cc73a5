package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNotify(t *testing.T) {
	c, err := Load(Source{File: write(t, `
notify:
- url: https://hooks.example.com/services/T0/B0/token?key=1#x
  format: slack
  on: [rpo, failure]
- url: http://alerts.monitoring.svc:9093
- {url: "https://[::1]:8443/x", on: }
- {url: "https://h/helm", "true": [recovery]} # on: [recovery], after YAML 1.1
`)})
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"failure", "recovery", "rpo"}
	want := []Notify{
		{URL: "https://hooks.example.com/services/T0/B0/token?key=1#x", Format: "slack", On: []string{"rpo", "failure"}},
		{URL: "http://alerts.monitoring.svc:9093", Format: "json", On: all},
		{URL: "https://[::1]:8443/x", Format: "json", On: all},
		{URL: "https://h/helm", Format: "json", On: []string{"recovery"}},
	}
	if diff := cmp.Diff(want, c.Notify); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
}

func TestErrorsOfNotify(t *testing.T) {
	const url = "want https://host/path or http://host/path"
	tests := []struct {
		name, file string
		want       []string
	}{
		{"no list", "notify: {url: 'https://h/x'}", []string{"FILE:1: notify: want a list, found a mapping"}},
		{"a URL in place of a mapping", "notify:\n- https://h/hush", []string{"FILE:2: notify[0]: want a mapping, found a string"}},
		{"no URL", "notify:\n- format: slack", []string{"FILE:2: notify[0].url: missing; say where to send it, such as https://hooks.example.com/x"}},
		{"an empty URL", "notify:\n- url: ''", []string{
			"FILE:2: notify[0].url: " + url,
			"FILE:2: notify[0].url: missing; say where to send it, such as https://hooks.example.com/x",
		}},
		{"another scheme", "notify:\n- url: ftp://h/hush", []string{"FILE:2: notify[0].url: " + url}},
		{"no scheme", "notify:\n- url: hooks.example.com/hush", []string{"FILE:2: notify[0].url: " + url}},
		{"no host", "notify:\n- url: 'https:///hush'", []string{"FILE:2: notify[0].url: " + url}},
		{"a port without a host", "notify:\n- url: 'https://:80/hush'", []string{"FILE:2: notify[0].url: " + url}},
		{"no slashes", "notify:\n- url: 'https:h/hush'", []string{"FILE:2: notify[0].url: " + url}},
		{"no URL at all", "notify:\n- url: 'https://h/%zzhush'", []string{"FILE:2: notify[0].url: " + url}},
		{"a URL that is a list", "notify:\n- url: [https://h/hush]", []string{"FILE:2: notify[0].url: want a string, found a list"}},
		{"another format", "notify:\n- {url: 'https://h/x', format: teams}", []string{`FILE:2: notify[0].format: "teams": want json or slack`}},
		{"another occasion", "notify:\n- url: https://h/x\n  on:\n  - failure\n  - success", []string{`FILE:5: notify[0].on[1]: "success": want failure, recovery or rpo`}},
		{"an occasion twice", "notify:\n- url: https://h/x\n  on:\n  - rpo\n  - failure\n  - rpo", []string{`FILE:6: notify[0].on[2]: "rpo" is given twice`}},
		{"an occasion in place of a list", "notify:\n- {url: 'https://h/x', on: failure}", []string{"FILE:2: notify[0].on: want a list of strings, found a string"}},
		{"true of nothing else", "log: {true: info}", []string{"FILE:1: log.true: unknown key"}},
		{"no occasion", "notify:\n- url: https://h/x\n  on: []", []string{"FILE:3: notify[0].on: want at least one of failure, recovery, rpo; leave the key out for all"}},
		{"an occasion list twice", "notify:\n- url: https://h/x\n  on: [rpo]\n  true: [rpo]", []string{"FILE:4: notify[0].on: duplicate key; line 3 has it too"}},
		{"misspelt keys", "notify:\n- {ulr: 'https://h/hush', url: 'https://h/x', On: [rpo]}\nnotfy: []", []string{
			"FILE:2: notify[0].ulr: unknown key",
			"FILE:2: notify[0].On: unknown key; did you mean notify[0].on?",
			"FILE:3: notfy: unknown key; did you mean notify?",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantErrors(t, test.file, test.want)
			if _, err := Load(Source{File: write(t, test.file)}); strings.Contains(err.Error(), "hush") {
				t.Errorf("the secret is in %v", err)
			}
		})
	}
}

// However a webhook is printed, what follows its host is not.
func TestTheSecretOfAWebhookIsNotPrinted(t *testing.T) {
	const url = "https://hush:hush@hooks.example.com:8443/hush?hush=hush#hush"
	c, err := Load(Source{File: write(t, "notify: [{url: '"+url+"'}]")})
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Notify[0].URL) != url {
		t.Errorf("the URL to use is %s, want %s", string(c.Notify[0].URL), url)
	}
	marshalled, err := json.Marshal([]any{c.Notify, c.Values(), c.Flat()})
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	for _, log := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		slog.New(log).Info("told", "url", c.Notify[0].URL, "notify", c.Notify[0])
	}
	for how, printed := range map[string]string{
		"%v": fmt.Sprintf("%v", c.Notify), "%+v": fmt.Sprintf("%+v", c), "%q": fmt.Sprintf("%q", c.Notify[0].URL), "%s": fmt.Sprintf("%s", c.Notify),
		"%#v": fmt.Sprintf("%#v", c.Notify), "JSON": string(marshalled), "slog": logged.String(),
	} {
		if strings.Contains(printed, "hush") || !strings.Contains(printed, "https://hooks.example.com:8443/xxxxx") {
			t.Errorf("%s prints %s", how, printed)
		}
	}
	for url, want := range map[WebhookURL]string{"": "", "%zz": "xxxxx"} {
		if url.String() != want {
			t.Errorf("%q prints as %q, want %q", string(url), url.String(), want)
		}
	}
}
