package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// occasions are what a webhook can be told.
var occasions = []string{"failure", "recovery", "rpo"}

// Notify is a webhook that is told how plans fare.
type Notify struct {
	URL    WebhookURL `json:"url"`    // never empty
	Format string     `json:"format"` // json or slack
	On     []string   `json:"on"`     // failure, recovery, rpo; at least one
}

// WebhookURL is an http or https URL. What follows its host is as good as a
// password, so it prints and marshals without: string(u) is the URL itself.
type WebhookURL string

// String returns the URL with only scheme and host as they are.
func (u WebhookURL) String() string {
	parsed, err := url.Parse(string(u))
	switch {
	case u == "":
		return ""
	case err != nil:
		return redacted
	}
	return (&url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: "/" + redacted}).String()
}

// GoString returns what String returns, in quotes.
func (u WebhookURL) GoString() string { return strconv.Quote(u.String()) }

// MarshalText returns what String returns.
func (u WebhookURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// newNotify is one of which the file says nothing.
func newNotify() Notify {
	return Notify{Format: "json", On: slices.Clone(occasions)}
}

func (r *fileReader) notifySchema(n *Notify) schema {
	return schema{
		{"url", "where to send it: https://host/path; required", scalarInto(r, text, webhookURL, &n.URL)},
		{"format", "json or slack", scalarInto(r, text, oneOf("json", "slack"), &n.Format)},
		{"on", "when: list of failure, recovery, rpo", r.stringsInto(wantStrings, occasion, &n.On)},
	}
}

// checkNotify checks what concerns more than one key.
func (r *fileReader) checkNotify(at string, line int, node *yaml.Node, n *Notify) {
	if !has(node, "url") {
		r.fail(line, at+".url", "missing; say where to send it, such as https://hooks.example.com/x")
	}
	if r.failed(at + ".on") {
		return
	}
	if len(n.On) == 0 {
		r.fail(r.lines[at+".on"], at+".on", "want at least one of %s; leave the key out for all", strings.Join(occasions, ", "))
	}
	for i, word := range n.On {
		if slices.Index(n.On, word) < i {
			r.fail(r.lines[fmt.Sprintf("%s.on[%d]", at, i)], fmt.Sprintf("%s.on[%d]", at, i), "%q is given twice", word)
		}
	}
}

func occasion(s string) error {
	_, err := oneOf(occasions...)(s)
	return err
}

// webhookURL checks the form of a URL, which no message may quote.
func webhookURL(s string) (WebhookURL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return "", errors.New("want https://host/path or http://host/path")
	}
	return WebhookURL(s), nil
}
