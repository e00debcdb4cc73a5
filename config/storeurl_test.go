package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestStoreURL(t *testing.T) {
	tests := []struct {
		url  string
		want string // "" if it is right
	}{
		{"file:///var/lib/hawser", ""},
		{"file://localhost/var/lib/hawser", ""},
		{"file:///var/my%20lib", ""},
		{"s3://backups", ""},
		{"s3://backups/hawser?endpoint=https://s3.example.com&region=eu-central-1&path-style=true&ca-file=/ca.pem", ""},
		{"/var/lib/hawser", "want file:///absolute/path or s3://bucket/prefix"},
		{"hawser", "want file:///absolute/path or s3://bucket/prefix"},
		{"gs://backups", "unknown scheme gs; want file:///absolute/path or s3://bucket/prefix"},
		{"file://var/lib/hawser", "a file is on this host, not on var; want three slashes: file:///absolute/path"},
		{"file:var/lib", "want an absolute path: file:///absolute/path"},
		{"file:///", "want a folder below the root: file:///absolute/path"},
		{"file:///x?y=z", "a file URL has no parameters; escape ? as %3F and # as %23"},
		{"s3:///prefix", "want a bucket: s3://bucket/prefix"},
		{"s3://bucket/#x", "an s3 URL has no #fragment"},
		{"s3://AKID:hush@bucket/", "credentials do not belong into the URL; use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a credentials file or the instance's role"},
		{"s3://bucket:hush/", "not a URL; want file:///absolute/path or s3://bucket/prefix, with % written as %25"},
		{"s3://bucket/%zz", "not a URL; want file:///absolute/path or s3://bucket/prefix, with % written as %25"},
	}
	for _, test := range tests {
		t.Run(test.url, func(t *testing.T) {
			got := ""
			if _, err := storeURL(test.url); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestStoreURLPrintsNoSecret(t *testing.T) {
	tests := []struct {
		url, want string
	}{
		{"", ""},
		{"file:///var/lib/hawser", "file:///var/lib/hawser"},
		{"s3://b/p?endpoint=https://s3.example.com:9000&region=eu", "s3://b/p?endpoint=https://s3.example.com:9000&region=eu"},
		{"s3://AKID:hush@b/p", "s3://xxxxx@b/p"},
		{"s3://b/p?secret-key=hush&region=eu", "s3://b/p?secret-key=xxxxx&region=eu"},
		{"s3://b/p?endpoint=https://user:hush@s3.example.com", "s3://b/p?endpoint=xxxxx"},
		{"s3://b/p?endpoint=https%3A%2F%2Fs3.example.com%2F%3Ftoken%3Dhush", "s3://b/p?endpoint=xxxxx"},
		{"s3://b:hush/%zz", "xxxxx"},
	}
	for _, test := range tests {
		t.Run(test.url, func(t *testing.T) {
			u := StoreURL(test.url)
			text, err := json.Marshal(map[string]any{"url": u})
			if err != nil {
				t.Fatal(err)
			}
			for _, printed := range []string{u.String(), fmt.Sprintf("%v %+v %s", u, Store{URL: u}, u), string(text)} {
				if strings.Contains(printed, "hush") {
					t.Errorf("a secret is printed: %s", printed)
				}
			}
			if u.String() != test.want {
				t.Errorf("got %q, want %q", u, test.want)
			}
		})
	}
}

func TestStoreURLPath(t *testing.T) {
	for url, want := range map[StoreURL]string{
		"file:///var/lib/hawser/":  "/var/lib/hawser",
		"file:///var/my%20lib/../": "/var",
	} {
		if got := url.Path(); got != want {
			t.Errorf("path of %s is %q, want %q", url, got, want)
		}
	}
}
