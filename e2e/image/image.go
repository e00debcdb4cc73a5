// Package image carries out Hawser's Dockerfile without a container engine: it
// runs the same build step, with the Go and the modules of this machine, and puts
// the files of the image into a folder, from which its program can be run as a
// container would run it.
package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"hawser.dev/hawser/e2e/tools"
)

// Image is what an engine would have made.
type Image struct {
	Root       string // the folder of its files
	User       string
	Entrypoint []string
}

// Options say what to make.
type Options struct {
	Dir          string // an empty folder, for everything that is made
	Architecture string // "" is this machine's
	// Certificates is the file that stands for the CA certificates of the
	// image that the Dockerfile builds in.
	Certificates string
}

// certificates is where that image has them.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// Build makes the image.
func Build(ctx context.Context, opts Options) (Image, error) {
	if opts.Architecture == "" {
		opts.Architecture = runtime.GOARCH
	}
	dir, err := tools.Dir()
	if err != nil {
		return Image{}, err
	}
	source := filepath.Join(dir, "..", "..")
	dockerfile, err := os.ReadFile(filepath.Join(source, "Dockerfile"))
	if err != nil {
		return Image{}, err
	}
	stages, err := parse(string(dockerfile))
	if err != nil {
		return Image{}, err
	}
	built := filepath.Join(opts.Dir, "built")
	if err := stages[0].build(ctx, source, built, opts.Architecture); err != nil {
		return Image{}, err
	}
	return stages[1].assemble(filepath.Join(opts.Dir, "root"), stages[0].name, func(name string) (*os.File, error) {
		if name == certificates {
			return os.Open(opts.Certificates)
		}
		return os.Open(filepath.Join(built, name))
	})
}

// output is where a step of the build puts what it made.
var output = regexp.MustCompile(`-o /(\S+)`)

// build carries out the first stage in the source tree, which has everything
// that the stage copies. What it would put into the root of its container goes
// to the folder built.
func (s stage) build(ctx context.Context, source, built, architecture string) error {
	workdir := ""
	for _, i := range s.instructions {
		switch i.name {
		case "WORKDIR":
			workdir = i.rest
		case "COPY":
			if words := strings.Fields(i.rest); !path.IsAbs(workdir) || strings.HasPrefix(words[len(words)-1], "/") {
				return fmt.Errorf("COPY %s: want a place in the WORKDIR", i.rest)
			}
		case "ARG": // TARGETOS and TARGETARCH, which are set below
		case "RUN":
			cmd := exec.CommandContext(ctx, "sh", "-ec", output.ReplaceAllString(i.rest, "-o '"+built+"/$1'"))
			cmd.Dir = source
			cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+architecture, "PWD="+source)
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("RUN %s: %w\n%s", i.rest, err, said.Bytes())
			}
		default:
			return fmt.Errorf("the Dockerfile: what %s does is not known here", i.name)
		}
	}
	return nil
}
