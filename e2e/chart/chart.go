// Package chart renders the Helm chart of Hawser, deploy/chart/hawser, and makes
// the plain manifests of deploy/manifests from it. Helm is built from source, as
// the other tools are.
package chart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/e2e/tools"
)

// Release and Namespace are those of everything that is rendered here.
const (
	Release   = "hawser"
	Namespace = "hawser"
)

// Values are given to the chart, the later ones over the earlier ones.
type Values struct {
	Files []string // paths
	YAML  string   // and this, last
}

// Dir is the folder of the chart, whose subfolder ci has values to try it with.
func Dir() (string, error) {
	deploy, err := deployDir()
	return filepath.Join(deploy, "chart", "hawser"), err
}

func deployDir() (string, error) {
	dir, err := tools.Dir()
	return filepath.Join(dir, "..", "..", "deploy"), err
}

// Render returns the objects of a release.
func Render(ctx context.Context, values Values) ([]Document, error) {
	out, err := helm(ctx, values, "template", Release)
	if err != nil {
		return nil, err
	}
	return split(out)
}

// Lint has Helm look the chart over; a warning is an error.
func Lint(ctx context.Context, values Values) error {
	_, err := helm(ctx, values, "lint", "--strict")
	return err
}

// helm runs a command of Helm's on the chart.
func helm(ctx context.Context, values Values, command ...string) ([]byte, error) {
	binary, err := tools.Path(ctx, "helm")
	if err != nil {
		return nil, err
	}
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	args := append(command, dir, "--namespace", Namespace)
	for _, file := range values.Files {
		args = append(args, "--values", file)
	}
	args = append(args, "--values", "-")
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdin = strings.NewReader(values.YAML)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("helm %s: %s%s", command[0], out, exit.Stderr)
	}
	return out, err
}

// Document is an object, and its text with the comments.
type Document struct {
	Text string
	unstructured.Unstructured
}

// ID tells the object apart from others of its manifest.
func (d Document) ID() string { return d.GetKind() + " " + d.GetNamespace() + "/" + d.GetName() }

var (
	separator = regexp.MustCompile(`(?m)^---$`)
	// noise is what Helm adds: where a document comes from, and empty lines
	// where a template says nothing.
	noise = regexp.MustCompile(`(?m)^# Source: .*\n|^[ \t]*\n`)
)

// split reads the documents of a manifest.
func split(manifest []byte) ([]Document, error) {
	var documents []Document
	for _, text := range separator.Split(string(manifest), -1) {
		d := Document{Text: strings.TrimSpace(noise.ReplaceAllString(text, "")) + "\n"}
		if err := yaml.Unmarshal([]byte(text), &d.Object); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, d.Text)
		}
		if len(d.Object) > 0 {
			documents = append(documents, d)
		}
	}
	return documents, nil
}

// Join writes documents as one manifest.
func Join(documents []Document) []byte {
	var out bytes.Buffer
	for _, d := range documents {
		out.WriteString("---\n")
		out.WriteString(d.Text)
	}
	return out.Bytes()
}
