// SPDX-License-Identifier: Apache-2.0

// Command images builds container images of Go programs without a container engine and without a base image: one layer
// with a static binary and the root certificates. The same source gives the same digest, on any machine and from any
// folder, as long as the Go release is the same.
//
//	cd hack/images && go run . --root ../.. --out ../../bin/images --version v0.1.0 --arch amd64,arm64 \
//		lti-operator=cmd/lti-operator launch-handler=cmd/launch-handler
//
// Each NAME=FOLDER names an image and the folder of its program below --root. Written to --out, for each image:
//
//   - NAME.tar: an OCI layout, which `ctr images import`, `skopeo copy oci-archive:` and `docker load` read; of several
//     architectures it holds an index
//   - NAME-ARCH.spdx.json: the packages of each architecture's image, as SPDX 2.3
//
// and digests.txt with one line for each: "NAME index|linux/ARCH DIGEST".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	root       string
	out        string
	version    string
	repository string
	// created is the time of everything in the images.
	created time.Time
	arches  []string
	// programs are folders below root by the names of their images, which are in names, in the order given.
	programs map[string]string
	names    []string
}

func main() {
	o, err := parse(os.Args[1:], os.Getenv)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func parse(args []string, env func(string) string) (*options, error) {
	o := &options{programs: map[string]string{}}
	var arches string
	var epoch int64
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.StringVar(&o.root, "root", ".", "the folder that program folders are named from")
	flags.StringVar(&o.out, "out", "bin/images", "the folder to write to")
	flags.StringVar(&o.version, "version", "dev", "the version: the image's tag, a label, and what --version prints")
	flags.StringVar(&o.repository, "repository", "lti-operator.io", "what stands before the image's name in references")
	flags.StringVar(&arches, "arch", "amd64", "architectures, separated by commas: amd64, arm64")
	flags.Int64Var(&epoch, "epoch", 0, "the time of everything in the images, in seconds since 1970; left out: SOURCE_DATE_EPOCH")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if given := env("SOURCE_DATE_EPOCH"); epoch == 0 && given != "" {
		if _, err := fmt.Sscanf(given, "%d", &epoch); err != nil {
			return nil, fmt.Errorf("SOURCE_DATE_EPOCH is %q, not a number", given)
		}
	}
	o.created = time.Unix(epoch, 0).UTC()
	for _, arch := range strings.FieldsFunc(arches, func(r rune) bool { return r == ',' || r == ' ' }) {
		if _, ok := baseline[arch]; !ok {
			return nil, fmt.Errorf("--arch has %q; amd64 and arm64 are possible", arch)
		}
		if !slices.Contains(o.arches, arch) {
			o.arches = append(o.arches, arch)
		}
	}
	if len(o.arches) == 0 {
		return nil, errors.New("--arch is empty")
	}
	slices.Sort(o.arches)
	for _, arg := range flags.Args() {
		name, folder, ok := strings.Cut(arg, "=")
		if !ok || name == "" || folder == "" {
			return nil, fmt.Errorf("%q is not NAME=FOLDER", arg)
		}
		if _, twice := o.programs[name]; twice {
			return nil, fmt.Errorf("%s is given twice", name)
		}
		o.programs[name] = folder
		o.names = append(o.names, name)
	}
	if len(o.names) == 0 {
		return nil, errors.New("nothing to build: give NAME=FOLDER")
	}
	return o, nil
}

func run(ctx context.Context, o *options) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	var digests strings.Builder
	for _, name := range o.names {
		start := time.Now()
		built, err := o.build(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		archive := filepath.Join(o.out, name+".tar")
		top, err := writeArchive(archive, o.reference(name), built)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(built) > 1 {
			fmt.Fprintf(&digests, "%s index %s\n", name, top)
		}
		for _, b := range built {
			fmt.Fprintf(&digests, "%s linux/%s %s\n", name, b.arch, b.digest)
			if err := replaceFile(filepath.Join(o.out, name+"-"+b.arch+".spdx.json"), b.sbom); err != nil {
				return err
			}
		}
		fmt.Fprintf(os.Stderr, "%s: %s %s in %.0f s\n", name, archive, top, time.Since(start).Seconds())
	}
	return replaceFile(filepath.Join(o.out, "digests.txt"), []byte(digests.String()))
}

// reference is what the image is called, such as "lti-operator.io/launch-handler:v0.1.0".
func (o *options) reference(name string) string {
	return o.repository + "/" + name + ":" + o.version
}

// replaceFile writes a file that is there complete or as it was.
func replaceFile(path string, content []byte) error {
	if err := os.WriteFile(path+".tmp", content, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
