package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// instruction is one of a Dockerfile, with its words as they stand there.
type instruction struct{ name, rest string }

// stage is what one FROM begins.
type stage struct {
	base, name   string
	instructions []instruction
}

// parse reads the stages of a Dockerfile.
func parse(dockerfile string) ([]stage, error) {
	var stages []stage
	for line := range strings.Lines(strings.ReplaceAll(dockerfile, "\\\n", " ")) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case name == "" || strings.HasPrefix(name, "#"):
		case name == "FROM":
			words := slices.DeleteFunc(strings.Fields(rest), func(w string) bool { return strings.HasPrefix(w, "--platform=") })
			s := stage{base: words[0]}
			if len(words) == 3 {
				s.name = words[2]
			}
			stages = append(stages, s)
		case len(stages) == 0:
			return nil, fmt.Errorf("the Dockerfile: %s before FROM", name)
		default:
			last := &stages[len(stages)-1]
			last.instructions = append(last.instructions, instruction{name, rest})
		}
	}
	if len(stages) != 2 || stages[1].base != "scratch" {
		return nil, errors.New("the Dockerfile: want a stage that builds, and one from scratch")
	}
	return stages, nil
}

// assemble carries out the last stage: it copies what it names of the stage
// before, whose files open opens, to the folder root.
func (s stage) assemble(root, from string, open func(name string) (*os.File, error)) (Image, error) {
	image := Image{Root: root}
	for _, i := range s.instructions {
		words := strings.Fields(i.rest)
		switch i.name {
		case "COPY":
			if len(words) != 3 || words[0] != "--from="+from {
				return Image{}, fmt.Errorf("COPY %s: want one file of stage %s", i.rest, from)
			}
			source, err := open(words[1])
			if err != nil {
				return Image{}, err
			}
			target := words[2]
			if strings.HasSuffix(target, "/") {
				target += path.Base(words[1])
			}
			if err := place(source, filepath.Join(root, target)); err != nil {
				return Image{}, fmt.Errorf("COPY %s: %w", i.rest, err)
			}
		case "USER":
			image.User = i.rest
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(i.rest), &image.Entrypoint); err != nil {
				return Image{}, fmt.Errorf("ENTRYPOINT %s: %w", i.rest, err)
			}
		case "EXPOSE": // for people
		default:
			return Image{}, fmt.Errorf("the Dockerfile: what %s does is not known here", i.name)
		}
	}
	return image, nil
}

// place copies a file, with its mode, and closes it.
func place(source *os.File, target string) error {
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(file, source)
	return errors.Join(err, file.Close())
}
