// Command etcdctl talks to a cluster.
package main

import (
	"os"

	"etcd.alt/internal/ctl"
)

func main() {
	os.Exit(ctl.Main(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
