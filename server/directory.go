package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A member's data directory:
//
//	lock            held while a member runs on the directory
//	bootstrapping   there while the first files are made
//	current         the name of the store in force
//	store-1/        the keyspace, and all other replicated state
//	log/            the raft log (or wherever --wal-dir says)
//
// current exists from the moment the member's first files are complete on disk.
// Before that, nobody was told anything by this member, and what is there can
// be made anew; after it, a store without its log or a log without its store is
// refused, because the member's votes would be gone.
const (
	lockFile          = "lock"
	bootstrappingFile = "bootstrapping"
	currentFile       = "current"
	firstStore        = "store-1"
	// foreignDir is where upstream keeps its data.
	foreignDir = "member"
)

// directory is a locked data directory.
type directory struct {
	path, log string
	lock      *os.File
}

// openDirectory makes the directory if need be and locks it.
func openDirectory(path, log string) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(path, foreignDir)); err == nil {
		return nil, fmt.Errorf("--data-dir %s holds data of upstream etcd (%s/): this version cannot convert it", path, foreignDir)
	}
	if _, err := os.Lstat(filepath.Join(log, "0000000000000000-0000000000000000.wal")); err == nil {
		return nil, fmt.Errorf("--wal-dir %s holds a log of upstream etcd: this version cannot convert it", log)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("--data-dir %s is in use by another process: lock %s: %w", path, lock.Name(), err)
	}
	return &directory{path: path, log: log, lock: lock}, nil
}

func (d *directory) close() error { return d.lock.Close() }

// file is a path in the directory.
func (d *directory) file(name string) string { return filepath.Join(d.path, name) }

// store is the path of the store in force; "" in a directory that has no
// member yet.
func (d *directory) store() (string, error) {
	b, err := os.ReadFile(d.file(currentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("server: %w", err)
	}
	name := strings.TrimSuffix(string(b), "\n")
	if !strings.HasPrefix(name, "store-") || strings.ContainsAny(name, "/\\\n") {
		return "", fmt.Errorf("server: %s does not name a store: %q", d.file(currentFile), name)
	}
	return d.file(name), nil
}

// beginBootstrap clears what an interrupted bootstrap has left and notes that
// another one runs. It refuses a directory whose store or log it cannot explain.
func (d *directory) beginBootstrap() error {
	if _, err := os.Lstat(d.file(bootstrappingFile)); errors.Is(err, fs.ErrNotExist) {
		for _, path := range []string{d.file(firstStore), d.log} {
			if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
				return fmt.Errorf("server: %s is not empty but %s is missing: the data is incomplete", path, d.file(currentFile))
			}
		}
	}
	if err := writeDurably(d.path, bootstrappingFile, ""); err != nil {
		return err
	}
	if err := os.RemoveAll(d.file(firstStore)); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	// The log's directory may be a mount point, so it stays.
	entries, err := os.ReadDir(d.log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("server: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(d.log, e.Name())); err != nil {
			return fmt.Errorf("server: %w", err)
		}
	}
	if err := os.MkdirAll(d.log, 0o700); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return syncDirectory(filepath.Dir(d.log))
}

// endBootstrap puts the first store in force.
func (d *directory) endBootstrap() error {
	if err := writeDurably(d.path, currentFile, firstStore+"\n"); err != nil {
		return err
	}
	return d.clearBootstrap()
}

// clearBootstrap takes the note of a bootstrap away, once its files are in
// force.
func (d *directory) clearBootstrap() error {
	if err := os.Remove(d.file(bootstrappingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("server: %w", err)
	}
	return syncDirectory(d.path)
}

// writeDurably makes or replaces a small file, whole or not at all.
func writeDurably(dir, name, content string) error {
	tmp := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return syncDirectory(dir)
}

func syncDirectory(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("server: sync %s: %w", path, err)
	}
	return nil
}
