// SPDX-License-Identifier: Apache-2.0

// Command cluster runs a Kubernetes cluster of one node on this machine, of programs that build.sh has built from source,
// without a container engine.
//
//	cluster preflight                  tell what is missing
//	cluster up --assets FOLDER         start it, unless it runs, and print the path of its kubeconfig
//	cluster load ARCHIVE...            give it images
//	cluster check IMAGES               start Pods of the images in the folder, and see that they can be reached
//	cluster status                     tell whether it runs
//	cluster stop PROGRAM               end one program of the node, such as kube-apiserver, until `start`
//	cluster start PROGRAM              start it again
//	cluster down                       end it, and see that nothing is left
//
// The node has namespaces of its own for processes, mounts and network, as a container has. So it cannot take a port of
// this machine, and what it mounts, what kube-proxy writes and what containers leave behind ends with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	// In the node, this program is its first process.
	if len(os.Args) > 1 && os.Args[1] == nodeCommand {
		runNode(os.Args[2:])
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const usage = "usage: cluster preflight|up|load|check|status|stop|start|down [--dir FOLDER] [--cidr A.B.0.0/16] [--assets FOLDER]"

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	var c cluster
	var cidr string
	flags := flag.NewFlagSet("cluster "+args[0], flag.ContinueOnError)
	flags.StringVar(&c.dir, "dir", defaultDir(), "the folder of everything that it keeps; LTI_CLUSTER_DIR")
	flags.StringVar(&cidr, "cidr", os.Getenv("LTI_CLUSTER_CIDR"), "addresses of node, Pods and Services: a network of 16 bits that is in no use; left out: one from 10.213.0.0/16 on; LTI_CLUSTER_CIDR")
	flags.StringVar(&c.assets, "assets", "", "the folder with the programs, as build.sh prints it (up)")
	flags.DurationVar(&c.timeout, "timeout", 5*time.Minute, "how long it may take to start, and a Pod to run")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	var err error
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return err
	}
	if cidr != "" {
		if c.net, err = subnets(cidr); err != nil {
			return err
		}
	}
	if _, n, ok := c.noted(); ok && args[0] != "up" {
		c.net = n
	}
	c.start = time.Now()
	switch args[0] {
	case "preflight":
		return c.preflight()
	case "up":
		return c.locked(func() error { return c.up(ctx) })
	case "load":
		return c.load(ctx, flags.Args())
	case "check":
		if flags.NArg() != 1 {
			return errors.New("check wants the folder with the images")
		}
		return c.check(ctx, flags.Arg(0))
	case "status":
		return c.status(ctx)
	case "stop", "start":
		if flags.NArg() != 1 {
			return fmt.Errorf("%s wants a program of the node: %s", args[0], strings.Join(c.programNames(), ", "))
		}
		if args[0] == "stop" {
			return c.stopProgram(ctx, flags.Arg(0))
		}
		return c.startProgram(ctx, flags.Arg(0))
	case "down":
		return c.locked(func() error { return c.down(ctx) })
	}
	return errors.New(usage)
}

func defaultDir() string {
	if dir := os.Getenv("LTI_CLUSTER_DIR"); dir != "" {
		return dir
	}
	cache := os.Getenv("LTI_CACHE")
	if cache == "" {
		home, _ := os.UserHomeDir()
		cache = filepath.Join(first(os.Getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache")), "lti-operator")
	}
	return filepath.Join(cache, "cluster")
}

// first is the first of the values that is not empty.
func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
