// Package version says which etcd this is, to peers, clients and people.
package version

import (
	"fmt"
	"runtime"
)

// What the wire and the tools report. Server is the release whose interface is
// spoken, Cluster the one agreed on among members, Storage the one of the data.
const (
	Server  = "3.7.1"
	API     = "3.7"
	Cluster = "3.7.0"
	Storage = "3.7.0"
)

// GitSHA is the commit the program was built from. The linker sets it.
var GitSHA = "unknown"

// Text is what `etcd --version` prints.
func Text() string {
	return fmt.Sprintf("etcd Version: %s\nGit SHA: %s\nGo Version: %s\nGo OS/Arch: %s/%s\n",
		Server, GitSHA, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Tool is what a tool of that name prints of itself.
func Tool(name string) string {
	return fmt.Sprintf("%s version: %s\nAPI version: %s\nGit SHA: %s\nGo Version: %s\nGo OS/Arch: %s/%s\n",
		name, Server, API, GitSHA, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
