package config

import (
	"errors"
	"net/url"

	"go.yaml.in/yaml/v3"
)

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

// MarshalText returns what String returns.
func (u WebhookURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// notify is a Notify as the file has it.
type notify struct {
	Notify
	origin Origin
}

func (r *fileReader) readNotify(at string, line int, node *yaml.Node) {
	var n Notify
	if node.Kind != yaml.MappingNode {
		r.fail(line, at, "want %s, found %s", wantMapping, describe(node))
		return
	}
	if !has(node, "url") {
		r.fail(line, at+".url", "missing; say where to send it")
	}
	n.Format = "json"
	r.mapping(at, schema{
		{"url", scalarInto(r, text, webhookURL, &n.URL)},
		{"format", scalarInto(r, text, oneOf("json", "slack"), &n.Format)},
		{"on", r.stringsInto(wantStrings, occasion, &n.On)},
	}, node)
	if !has(node, "on") {
		n.On = []string{"failure", "recovery", "rpo"}
	}
	r.notify = append(r.notify, notify{Notify: n, origin: r.origin(line)})
}

func occasion(s string) error {
	_, err := oneOf("failure", "recovery", "rpo")(s)
	return err
}

// webhookURL checks the form of a URL, which no message may quote.
func webhookURL(s string) (WebhookURL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return "", errors.New("want https://host/path or http://host/path")
	}
	return WebhookURL(s), nil
}
