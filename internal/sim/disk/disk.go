package disk

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Op is a kind of call on the disk, for faults.
type Op string

// The calls that a fault can strike.
const (
	OpCreate  Op = "create" // also a Lock, and OpenReadWrite of a file that does not exist
	OpOpen    Op = "open"
	OpRead    Op = "read"
	OpWrite   Op = "write"
	OpSync    Op = "sync"     // of a file
	OpSyncDir Op = "sync dir" // of a directory
	OpRename  Op = "rename"   // the path is the new name's
	OpLink    Op = "link"     // the path is the new name's
	OpRemove  Op = "remove"
	OpMkdir   Op = "mkdir"
)

// FS is a disk in memory; see the package comment. Make one with New.
type FS struct {
	mu struct {
		sync.Mutex
		root     *node
		locked   map[string]bool
		capacity int64 // bytes of all files; 0 means no bound
		used     int64 // what Write and WriteAt have taken; removed files give theirs back
		inject   func(op Op, path string) error
	}
}

var _ vfs.FS = (*FS)(nil)

// node is a file or a directory, and what of it is durable.
type node struct {
	dir   bool
	links int // names that a file has

	data    []byte
	durable []byte
	writes  []Write // since the last sync

	names        map[string]*node
	durableNames map[string]*node
	changes      []change // since the last sync
}

// change is one change of a directory's names: a rename within it is two steps that cannot be told apart.
type change []struct {
	name string
	node *node // nil: the name goes
}

func (c change) apply(names map[string]*node) {
	for _, step := range c {
		if step.node == nil {
			delete(names, step.name)
		} else {
			names[step.name] = step.node
		}
	}
}

// New returns an empty disk.
func New() *FS {
	fs := &FS{}
	fs.mu.root = &node{dir: true, names: map[string]*node{}}
	fs.mu.locked = map[string]bool{}
	return fs
}

// Inject sets a hook that is asked before every call; an error it returns is the call's, which then does nothing. It must not call the
// FS. nil removes it.
func (d *FS) Inject(fault func(op Op, path string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.inject = fault
}

// SetCapacity bounds the bytes of all files; what does not fit is refused with ENOSPC after as much as fits was written. 0 is no bound.
func (d *FS) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.capacity = bytes
}

// Used returns the bytes of all files.
func (d *FS) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.used
}

// ReadFile returns a copy of a file's bytes.
func (d *FS) ReadFile(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("open", name)
	if err != nil {
		return nil, err
	}
	return slices.Clone(n.data), nil
}

// WriteFile makes a file with these bytes, durable under its name.
func (d *FS) WriteFile(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, base, err := d.parent("create", name)
	if err != nil {
		return err
	}
	n := &node{data: slices.Clone(data), durable: slices.Clone(data)}
	d.mu.used += int64(len(data))
	d.bind(parent, base, n)
	parent.sync()
	return nil
}

// Flip changes bits of a file, in what is read and in what is durable: bit rot.
func (d *FS) Flip(name string, offset int64, mask byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("open", name)
	if err != nil {
		return err
	}
	n.data[offset] ^= mask
	if offset < int64(len(n.durable)) {
		n.durable[offset] ^= mask
	}
	return nil
}

func join(dir, name string) string { return path.Join(dir, name) }

func pathError(op, name string, err error) error { return &os.PathError{Op: op, Path: name, Err: err} }

// fault asks the hook.
func (d *FS) fault(op Op, name string) error {
	if d.mu.inject == nil {
		return nil
	}
	return d.mu.inject(op, name)
}

// find returns the node of a path; the working directory is the root.
func (d *FS) find(op, name string) (*node, error) {
	n := d.mu.root
	for part := range strings.SplitSeq(path.Clean("/"+name), "/") {
		if part == "" {
			continue
		}
		if !n.dir {
			return nil, pathError(op, name, syscall.ENOTDIR)
		}
		if n = n.names[part]; n == nil {
			return nil, pathError(op, name, fs.ErrNotExist)
		}
	}
	return n, nil
}

func (d *FS) parent(op, name string) (dir *node, base string, err error) {
	clean := path.Clean("/" + name)
	dir, err = d.find(op, path.Dir(clean))
	if err == nil && !dir.dir {
		err = pathError(op, name, syscall.ENOTDIR)
	}
	return dir, path.Base(clean), err
}

// bind gives n a name, unbinding the file that has it.
func (d *FS) bind(dir *node, name string, n *node) {
	d.change(dir, change{{name, n}})
}

// change applies a change of names and counts the links of the files.
func (d *FS) change(dir *node, c change) {
	for _, step := range c {
		if step.node != nil {
			step.node.links++
		}
		if old := dir.names[step.name]; old != nil {
			old.links--
			if old.links == 0 && !old.dir {
				d.mu.used -= int64(len(old.data))
			}
		}
		change{step}.apply(dir.names)
	}
	dir.changes = append(dir.changes, c)
}

func (n *node) sync() {
	if n.dir {
		n.durableNames = maps.Clone(n.names)
		n.changes = nil
		return
	}
	for _, w := range n.writes {
		n.durable = writeAt(n.durable, w.Data, w.Offset)
	}
	n.writes = nil
}

func writeAt(file, data []byte, offset int64) []byte {
	if end := offset + int64(len(data)); end > int64(len(file)) {
		file = append(file, make([]byte, end-int64(len(file)))...)
	}
	copy(file[offset:], data)
	return file
}

// Create implements vfs.FS.
func (d *FS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.create(name)
}

func (d *FS) create(name string) (vfs.File, error) {
	if err := d.fault(OpCreate, name); err != nil {
		return nil, pathError("create", name, err)
	}
	dir, base, err := d.parent("create", name)
	if err != nil {
		return nil, err
	}
	if old := dir.names[base]; old != nil && old.dir {
		return nil, pathError("create", name, syscall.EISDIR)
	}
	n := &node{}
	d.bind(dir, base, n)
	return &file{fs: d, path: name, node: n, write: true}, nil
}

// Link implements vfs.FS.
func (d *FS) Link(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault(OpLink, newname); err != nil {
		return pathError("link", newname, err)
	}
	n, err := d.find("link", oldname)
	if err != nil {
		return err
	}
	dir, base, err := d.parent("link", newname)
	if err != nil {
		return err
	}
	if dir.names[base] != nil {
		return pathError("link", newname, fs.ErrExist)
	}
	d.bind(dir, base, n)
	return nil
}

// Open implements vfs.FS.
func (d *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.open(name, false)
	if err != nil {
		return nil, err
	}
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

func (d *FS) open(name string, write bool) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault(OpOpen, name); err != nil {
		return nil, pathError("open", name, err)
	}
	n, err := d.find("open", name)
	if err != nil {
		if write && errors.Is(err, fs.ErrNotExist) {
			return d.create(name)
		}
		return nil, err
	}
	return &file{fs: d, path: name, node: n, write: write}, nil
}

// OpenReadWrite implements vfs.FS.
func (d *FS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.open(name, true)
	if err != nil {
		return nil, err
	}
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

// OpenDir implements vfs.FS.
func (d *FS) OpenDir(name string) (vfs.File, error) { return d.open(name, false) }

// Remove implements vfs.FS.
func (d *FS) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault(OpRemove, name); err != nil {
		return pathError("remove", name, err)
	}
	dir, base, err := d.parent("remove", name)
	if err != nil {
		return err
	}
	n := dir.names[base]
	if n == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if len(n.names) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	d.change(dir, change{{base, nil}})
	return nil
}

// RemoveAll implements vfs.FS. For durability it is one change of the parent's names.
func (d *FS) RemoveAll(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault(OpRemove, name); err != nil {
		return pathError("remove", name, err)
	}
	dir, base, err := d.parent("remove", name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && dir.names[base] == nil {
		return nil
	}
	if err != nil {
		return err
	}
	d.forget(dir.names[base])
	d.change(dir, change{{base, nil}})
	return nil
}

// forget unlinks the files below n.
func (d *FS) forget(n *node) {
	for _, child := range n.names {
		child.links--
		if child.links == 0 && !child.dir {
			d.mu.used -= int64(len(child.data))
		}
		d.forget(child)
	}
}

// Rename implements vfs.FS.
func (d *FS) Rename(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rename(oldname, newname)
}

func (d *FS) rename(oldname, newname string) error {
	if err := d.fault(OpRename, newname); err != nil {
		return pathError("rename", newname, err)
	}
	from, oldBase, err := d.parent("rename", oldname)
	if err != nil {
		return err
	}
	to, newBase, err := d.parent("rename", newname)
	if err != nil {
		return err
	}
	n := from.names[oldBase]
	switch {
	case n == nil:
		return pathError("rename", oldname, fs.ErrNotExist)
	case from == to && oldBase == newBase:
		return nil
	case from == to:
		d.change(to, change{{newBase, n}, {oldBase, nil}})
	default:
		d.change(to, change{{newBase, n}})
		d.change(from, change{{oldBase, nil}})
	}
	return nil
}

// ReuseForWrite implements vfs.FS.
func (d *FS) ReuseForWrite(oldname, newname string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return d.open(newname, true)
}

// MkdirAll implements vfs.FS.
func (d *FS) MkdirAll(name string, _ os.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault(OpMkdir, name); err != nil {
		return pathError("mkdir", name, err)
	}
	n := d.mu.root
	for part := range strings.SplitSeq(path.Clean("/"+name), "/") {
		if part == "" {
			continue
		}
		child := n.names[part]
		if child == nil {
			child = &node{dir: true, names: map[string]*node{}}
			d.bind(n, part, child)
		}
		if !child.dir {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		n = child
	}
	return nil
}

// Lock implements vfs.FS. An image after a crash has no locks.
func (d *FS) Lock(name string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clean := path.Clean("/" + name)
	if d.mu.locked[clean] {
		return nil, pathError("lock", name, syscall.EAGAIN)
	}
	if n, err := d.find("lock", name); err != nil || len(n.data) > 0 {
		if _, err := d.create(name); err != nil {
			return nil, err
		}
	}
	d.mu.locked[clean] = true
	return &lock{fs: d, path: clean}, nil
}

type lock struct {
	fs   *FS
	path string
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.mu.locked, l.path)
	return nil
}

// List implements vfs.FS. The names are sorted.
func (d *FS) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("open", dir)
	if err != nil {
		return nil, err
	}
	if !n.dir {
		return nil, pathError("readdir", dir, syscall.ENOTDIR)
	}
	return slices.Sorted(maps.Keys(n.names)), nil
}

// Stat implements vfs.FS.
func (d *FS) Stat(name string) (vfs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(name), nil
}

// PathBase implements vfs.FS.
func (*FS) PathBase(p string) string { return path.Base(p) }

// PathJoin implements vfs.FS.
func (*FS) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir implements vfs.FS.
func (*FS) PathDir(p string) string { return path.Dir(p) }

// unbounded is what a disk without a bound says it has.
const unbounded = 1 << 50

// GetDiskUsage implements vfs.FS.
func (d *FS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	total := d.mu.capacity
	if total == 0 {
		total = unbounded
	}
	return vfs.DiskUsage{
		AvailBytes: uint64(max(0, total-d.mu.used)), TotalBytes: uint64(total), UsedBytes: uint64(d.mu.used),
	}, nil
}

// Unwrap implements vfs.FS.
func (*FS) Unwrap() vfs.FS { return nil }

// file is an open file or directory.
type file struct {
	fs    *FS
	path  string
	node  *node
	write bool
	pos   int64
}

func (f *file) Close() error { return nil }

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.fault(OpRead, f.path); err != nil {
		return 0, pathError("read", f.path, err)
	}
	if f.node.dir {
		return 0, pathError("read", f.path, syscall.EISDIR)
	}
	if offset >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *file) WriteAt(p []byte, offset int64) (int, error) {
	d := f.fs
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault(OpWrite, f.path); err != nil {
		return 0, pathError("write", f.path, err)
	}
	if f.node.dir || !f.write {
		return 0, pathError("write", f.path, syscall.EBADF)
	}
	fits := p
	if d.mu.capacity > 0 {
		room := max(0, d.mu.capacity-d.mu.used)
		fits = p[:max(0, min(int64(len(p)), int64(len(f.node.data))+room-offset))]
	}
	before := len(f.node.data)
	f.node.data = writeAt(f.node.data, fits, offset)
	if f.node.links > 0 {
		d.mu.used += int64(len(f.node.data) - before)
	}
	f.node.writes = append(f.node.writes, Write{offset, slices.Clone(fits)})
	if len(fits) < len(p) {
		return len(fits), pathError("write", f.path, syscall.ENOSPC)
	}
	return len(p), nil
}

func (f *file) Preallocate(int64, int64) error { return nil }
func (f *file) Prefetch(int64, int64) error    { return nil }
func (f *file) Fd() uintptr                    { return vfs.InvalidFd }

// SyncTo promises nothing, as vfs.File allows.
func (f *file) SyncTo(int64) (fullSync bool, err error) { return false, nil }

func (f *file) SyncData() error { return f.Sync() }

func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	op := OpSync
	if f.node.dir {
		op = OpSyncDir
	}
	if err := f.fs.fault(op, f.path); err != nil {
		return pathError("sync", f.path, err)
	}
	f.node.sync()
	return nil
}

func (f *file) Stat() (vfs.FileInfo, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.info(f.path), nil
}

func (n *node) info(name string) vfs.FileInfo {
	return info{name: path.Base(name), size: int64(len(n.data)), dir: n.dir}
}

type info struct {
	name string
	size int64
	dir  bool
}

func (i info) Name() string           { return i.name }
func (i info) Size() int64            { return i.size }
func (i info) ModTime() time.Time     { return time.Time{} }
func (i info) IsDir() bool            { return i.dir }
func (i info) Sys() any               { return nil }
func (i info) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

func (i info) Mode() os.FileMode {
	if i.dir {
		return os.ModeDir | 0o755
	}
	return 0o644
}
