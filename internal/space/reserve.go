package space

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ReserveFile is the name of the reserve in the data directory.
const ReserveFile = "reserve"

// reserveStep is how much of the reserve is written at a Look: it is built up
// over seconds, so that nobody waits for it.
const reserveStep = 4 * mib

// reserve is a file that holds room and nothing else. It needs no sync of its
// name: one that a crash takes away is made again.
type reserve struct {
	fs   vfs.FS
	path string
	size int64 // of the file; 0 for none
}

// find takes over what is there: an earlier run may have left it.
func (r *reserve) find() error {
	info, err := r.fs.Stat(r.path)
	r.size = 0
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a file: %v", info.Mode())
	}
	r.size = info.Size()
	return nil
}

// grow writes the next step, up to size.
func (r *reserve) grow(size int64) error {
	f, err := r.fs.OpenReadWrite(r.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	// Not zeros: a file system that compresses would keep no room for them.
	block := make([]byte, 256<<10)
	rand.NewChaCha8([32]byte{}).Read(block)
	end := min(r.size+reserveStep, size)
	for at := r.size; at < end && err == nil; at += int64(len(block)) {
		_, err = f.WriteAt(block[:min(int64(len(block)), end-at)], at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, r.find()) // some of it may be there
	}
	r.size = end
	return nil
}

// giveUp removes the file.
func (r *reserve) giveUp() error {
	if err := r.fs.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.size = 0
	return nil
}
