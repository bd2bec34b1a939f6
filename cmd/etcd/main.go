// Command etcd runs a member.
package main

import (
	"os"

	"etcd.alt/server"
)

func main() {
	os.Exit(server.Main(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
