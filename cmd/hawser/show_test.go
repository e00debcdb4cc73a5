package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
)

var sha256Text = regexp.MustCompile(`[0-9a-f]{64}`)

// stable takes digests out of a result: they differ from one version of the
// compressor to the next.
func stable(r result) result {
	r.stdout = sha256Text.ReplaceAllString(r.stdout, "SHA256")
	r.stderr = sha256Text.ReplaceAllString(r.stderr, "SHA256")
	return r
}

func TestShow(t *testing.T) {
	s := newStore(t)
	id := string(s.fill(t).Point)
	tests := []struct {
		name string
		args []string
	}{
		{"show", []string{id}},
		{"show-wide", []string{id, "-o", "wide"}},
		{"show-json", []string{id, "-o", "json"}},
		{"show-yaml-secrets", []string{id, "-o", "yaml", "--show-secrets"}},
		{"show-name-prefix", []string{"20260903", "-o", "name"}},
		{"show-name-latest", []string{"latest", "--from-cluster", "prod-eu", "-o", "name"}},
		{"show-latest-ambiguous", []string{"latest"}},
		{"show-prefix-ambiguous", []string{"2026090"}},
		{"show-prefix-of-another-cluster", []string{"20260903", "--from-cluster", "staging"}},
		{"show-not-found", []string{"20270101"}},
		{"show-abandoned", []string{string(catalog.NewPointID(prod.UID, "databases", testNow.Add(-24*time.Hour), 0))}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"show"}, test.args...)
			golden(t, test.name, args, stable(hawser(t, s.env(), args...)))
		})
	}
}

func TestShowMasksSecrets(t *testing.T) {
	s := newStore(t)
	id := string(s.fill(t).Point)
	for _, format := range []string{"table", "wide", "json", "yaml"} {
		if r := hawser(t, s.env(), "show", id, "-o", format); strings.Contains(r.stdout, "aHVzaA") {
			t.Errorf("-o %s prints a secret:\n%s", format, r.stdout)
		}
	}
}

func TestShowDamagedPoints(t *testing.T) {
	newer := func(data []byte) []byte { return []byte(strings.Replace(string(data), `"format":1`, `"format":7`, 1)) }
	tests := []struct {
		name   string
		object string
		change func([]byte) []byte
	}{
		{"show-commit-truncated", "commit", func(data []byte) []byte { return data[:len(data)/2] }},
		{"show-commit-empty", "commit", func([]byte) []byte { return nil }},
		{"show-commit-changed", "commit", func(data []byte) []byte {
			return []byte(strings.Replace(string(data), `"claims":2`, `"claims":3`, 1))
		}},
		{"show-commit-newer", "commit", newer},
		{"show-bundle-truncated", "bundle", func(data []byte) []byte { return data[:len(data)-1] }},
		{"show-bundle-changed", "bundle", func(data []byte) []byte { data[len(data)/2] ^= 1; return data }},
		{"show-bundle-longer", "bundle", func(data []byte) []byte { return append(data, 0) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			commit := s.fill(t)
			overwrite(t, s.file(commit, test.object), test.change)
			args := []string{"show", string(commit.Point)}
			golden(t, test.name, args, stable(hawser(t, s.env(), args...)))
		})
	}
}

func TestShowAPointOverTheLimit(t *testing.T) {
	s := newStore(t)
	args := []string{"show", string(s.fill(t).Point)}
	golden(t, "show-too-large", args, hawser(t, append(s.env(), "HAWSER_CATALOG_LIMITS_COMPRESSED=100"), args...))
}

func TestByteSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1 << 62: "4096.0 PiB",
	} {
		if got := byteSize(n); got != want {
			t.Errorf("byteSize(%d) = %q, want %q", n, got, want)
		}
	}
}
