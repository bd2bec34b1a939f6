package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"etcd.alt/internal/wal"
)

const (
	lockFile          = "lock"
	bootstrappingFile = "bootstrapping"
	currentFile       = "current"
	storePrefix       = "store-"
	firstStore        = storePrefix + "1"

	// foreignDir and foreignLog are where upstream keeps its data.
	foreignDir = "member"
	foreignLog = "0000000000000000-0000000000000000.wal"
)

// directory is a locked data directory.
type directory struct {
	fs        vfs.FS
	path, log string
	lock      io.Closer
}

// openDirectory makes the directory if need be and locks it.
func openDirectory(disk vfs.FS, path, log string) (*directory, error) {
	d := &directory{fs: disk, path: path, log: log}
	if err := disk.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if ok, err := d.exists(d.file(foreignDir)); err != nil {
		return nil, err
	} else if ok {
		return nil, fmt.Errorf("--data-dir %s holds data of upstream etcd (%s/): this version cannot convert it", path, foreignDir)
	}
	if ok, err := d.exists(disk.PathJoin(log, foreignLog)); err != nil {
		return nil, err
	} else if ok {
		return nil, fmt.Errorf("--wal-dir %s holds a log of upstream etcd: this version cannot convert it", log)
	}
	var err error
	if d.lock, err = disk.Lock(d.file(lockFile)); err != nil {
		return nil, fmt.Errorf("--data-dir %s is in use by another process: lock %s: %w", path, d.file(lockFile), err)
	}
	return d, nil
}

// file is a path in the directory.
func (d *directory) file(name string) string { return d.fs.PathJoin(d.path, name) }

func (d *directory) exists(path string) (bool, error) {
	_, err := d.fs.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, wrap(err)
}

// store is the path of the store in force; "" in a directory that has no
// member yet.
func (d *directory) store() (string, error) {
	f, err := d.fs.Open(d.file(currentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", wrap(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return "", wrap(err)
	}
	name := strings.TrimSuffix(string(b), "\n")
	if !strings.HasPrefix(name, storePrefix) || strings.ContainsAny(name, "/\\\n") {
		return "", fmt.Errorf("datadir: %s does not name a store: %q", d.file(currentFile), name)
	}
	return d.file(name), nil
}

// beginBootstrap clears what an interrupted bootstrap has left and notes that
// another one runs. It refuses a directory whose store or log it cannot explain:
// the note says where the log was being made, and only that log is cleared.
func (d *directory) beginBootstrap() error {
	interrupted, log, err := d.note()
	if err != nil {
		return err
	}
	if names, err := d.list(d.file(firstStore)); err != nil {
		return err
	} else if len(names) > 0 && !interrupted {
		return fmt.Errorf("--data-dir %s: %s is not empty but %s is missing: the data is incomplete", d.path, firstStore, currentFile)
	}
	if ok, err := wal.Exists(d.fs, d.log); err != nil {
		return wrap(err)
	} else if ok && (!interrupted || log != d.log) {
		return fmt.Errorf("--wal-dir %s holds a log but %s is missing in --data-dir %s: the data is incomplete", d.log, currentFile, d.path)
	}
	for _, path := range []string{d.path, d.log} {
		if err := d.fs.MkdirAll(path, 0o700); err != nil {
			return wrap(err)
		}
		if err := d.syncAncestors(path); err != nil {
			return err
		}
	}
	if err := d.write(bootstrappingFile, d.log+"\n"); err != nil {
		return err
	}
	if err := d.fs.RemoveAll(d.file(firstStore)); err != nil {
		return wrap(err)
	}
	if err := wal.Clear(d.fs, d.log); err != nil {
		return err
	}
	return d.syncDir(d.log)
}

// note reads the note of a bootstrap: whether there is one, and where it makes
// the log.
func (d *directory) note() (there bool, log string, err error) {
	f, err := d.fs.Open(d.file(bootstrappingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, "", nil
	}
	if err != nil {
		return false, "", wrap(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return true, strings.TrimSuffix(string(b), "\n"), wrap(err)
}

// syncAncestors makes the name of a directory durable, and the names of those
// above it: whoever made them may not have. One that this process may not open
// was not made by it.
func (d *directory) syncAncestors(path string) error {
	for above := d.fs.PathDir(path); ; path, above = above, d.fs.PathDir(above) {
		if err := d.syncDir(above); errors.Is(err, fs.ErrPermission) {
			return nil
		} else if err != nil {
			return err
		}
		if above == path || above == d.fs.PathDir(above) {
			return nil
		}
	}
}

// list names what is in a directory, nothing if it is not there.
func (d *directory) list(path string) ([]string, error) {
	names, err := d.fs.List(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, wrap(err)
}

// endBootstrap puts the first store in force.
func (d *directory) endBootstrap() error {
	if err := d.write(currentFile, firstStore+"\n"); err != nil {
		return err
	}
	return d.clearBootstrap()
}

// clearBootstrap takes the note of a bootstrap away, once its files are in
// force.
func (d *directory) clearBootstrap() error {
	if err := d.fs.Remove(d.file(bootstrappingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap(err)
	}
	return d.syncDir(d.path)
}

// write makes or replaces a small file, durably, whole or not at all.
func (d *directory) write(name, content string) error {
	tmp := d.file(name + ".tmp")
	f, err := d.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return wrap(err)
	}
	_, err = io.WriteString(f, content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.fs.Rename(tmp, d.file(name))
	}
	if err != nil {
		return wrap(err)
	}
	return d.syncDir(d.path)
}

func (d *directory) syncDir(path string) error {
	f, err := d.fs.OpenDir(path)
	if err != nil {
		return wrap(err)
	}
	return wrap(errors.Join(f.Sync(), f.Close()))
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("datadir: %w", err)
}
