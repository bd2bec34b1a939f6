package store

import (
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"etcd.alt/internal/sim/disk"
)

// slowDisk holds up the making of tables while held is set, until hold is closed.
type slowDisk struct {
	*disk.FS
	hold    chan struct{}
	entered chan struct{}
	held    *atomic.Bool
}

func (d *slowDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if d.held.Load() && strings.HasSuffix(name, ".sst") {
		select {
		case d.entered <- struct{}{}:
		default:
		}
		<-d.hold
	}
	return d.FS.Create(name, c)
}
