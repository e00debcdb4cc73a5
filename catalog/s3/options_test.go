package s3

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseURL(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		url  string
		want Options
	}{
		{"s3://backups", Options{Bucket: "backups"}},
		{"s3://backups/", Options{Bucket: "backups"}},
		{"s3://backups/hawser/prod/", Options{Bucket: "backups", Prefix: "hawser/prod"}},
		{"s3://my.bucket_1/a-b", Options{Bucket: "my.bucket_1", Prefix: "a-b"}},
		{
			"s3://backups/hawser?endpoint=https://s3.example.com:9000&region=eu-central-1&path-style=true&ca-file=/etc/ca.pem",
			Options{Bucket: "backups", Prefix: "hawser", Endpoint: "https://s3.example.com:9000", Region: "eu-central-1", PathStyle: &yes, CAFile: "/etc/ca.pem"},
		},
		{"s3://backups?endpoint=http%3A%2F%2F10.0.0.1%2F&path-style=false", Options{Bucket: "backups", Endpoint: "http://10.0.0.1/", PathStyle: &no}},
	} {
		got, err := ParseURL(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.url, diff)
		}
	}
}

func TestParseURLNamesTheBadPart(t *testing.T) {
	for url, part := range map[string]string{
		"":                                             "scheme",
		"file:///var/lib/hawser":                       `"file"`,
		"s3:///prefix":                                 "names no bucket",
		"s3:backups":                                   "names no bucket",
		"s3://backups:9000/x":                          "endpoint=https://host:port",
		"s3://b":                                       `bucket "b"`,
		"s3://backups/a//b":                            `prefix "a//b"`,
		"s3://backups/../x":                            `prefix "../x"`,
		"s3://backups/with%20space":                    `prefix "with space"`,
		"s3://backups#x":                               "#x",
		"s3://key:top-secret@backups":                  "AWS_SECRET_ACCESS_KEY",
		"s3://key:top-secret/x@backups":                "AWS_SECRET_ACCESS_KEY",
		"s3://backups?regoin=eu":                       "parameter regoin: there is none of this name; known are ca-file, endpoint, path-style, region",
		"s3://backups?region=":                         "parameter region: want one value",
		"s3://backups?region=a&region=b":               "parameter region: want one value",
		"s3://backups?path-style=perhaps":              `parameter path-style: "perhaps"`,
		"s3://backups?region=%zz":                      "after the question mark",
		"s3://backups?endpoint=s3.example.com":         `endpoint "s3.example.com"`,
		"s3://backups?endpoint=localhost:9000":         `endpoint "localhost:9000"`,
		"s3://backups?endpoint=ftp://h":                `endpoint "ftp://h"`,
		"s3://backups?endpoint=https://h/backups":      "a scheme and a host alone",
		"s3://backups?endpoint=https://a:top-secret@h": "a scheme and a host alone",
	} {
		_, err := ParseURL(url)
		switch {
		case err == nil:
			t.Errorf("%s: no error", url)
		case !strings.Contains(err.Error(), part):
			t.Errorf("%s: error %q lacks %q", url, err, part)
		case strings.Contains(err.Error(), "top-secret"):
			t.Errorf("%s: error %q tells the secret", url, err)
		}
	}
}

func TestOpenRefusesOptionsThatCannotBe(t *testing.T) {
	keys := Options{Bucket: "backups", AccessKey: "a", SecretKey: "s"}
	for part, spoil := range map[string]func(o *Options){
		"bucket":             func(o *Options) { o.Bucket = "" },
		"prefix":             func(o *Options) { o.Prefix = "/hawser" },
		"only one is given":  func(o *Options) { o.SecretKey = "" },
		"endpoint":           func(o *Options) { o.Endpoint = "nowhere" },
		"no such file":       func(o *Options) { o.CAFile = t.TempDir() + "/absent.pem" },
		"no certificate in ": func(o *Options) { o.CAFile = "options_test.go" },
	} {
		options := keys
		spoil(&options)
		if _, err := Open(t.Context(), options); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one that says %q", err, part)
		}
	}
}
