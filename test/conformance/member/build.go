package member

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build builds the product's etcd into dir and returns the path of the binary.
// It must be called from somewhere below the product's root.
func Build(dir string) (string, error) {
	root, err := productRoot()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "etcd")
	cmd := exec.Command("go", "build", "-C", root, "-o", binary, "./cmd/etcd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("member: build etcd: %w\n%s", err, out)
	}
	return binary, nil
}

// productRoot finds the directory of the module etcd.alt above this one.
func productRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module etcd.alt\n")) {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("member: no module etcd.alt above the working directory")
		}
		dir = up
	}
}
