// Command etcdutl works on the files of members and on snapshots.
package main

import (
	"os"

	"etcd.alt/internal/utl"
)

func main() {
	os.Exit(utl.Main(os.Args[1:], os.Stdout, os.Stderr))
}
