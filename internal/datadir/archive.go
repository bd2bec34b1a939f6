package datadir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An archive is a directory of files as it travels from member to member:
//
//	magic, number of files (4 bytes), bytes of all files (8 bytes)
//	for each file: length of its name (2 bytes), name, size (8 bytes), content,
//	               CRC-32C of these (4 bytes)
//	magic
//
// All numbers are big-endian.
const archiveMagic = "etcd.alt store 1"

// Bounds of what is unpacked.
const (
	maxArchiveFiles = 1 << 20
	maxArchiveName  = 255
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// archive reads a directory of fs as an archive. It belongs to one goroutine.
type archive struct {
	fs    vfs.FS
	dir   string
	names []string // still to come
	part  io.Reader
	file  vfs.File // that is being read
	sum   hash.Hash32
	ended bool
}

// newArchive reads a directory whose files nobody changes.
func newArchive(fs vfs.FS, dir string) (*archive, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, wrap(err)
	}
	var bytesOfAll int64
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return nil, wrap(err)
		}
		bytesOfAll += info.Size()
	}
	head := binary.BigEndian.AppendUint32([]byte(archiveMagic), uint32(len(names)))
	head = binary.BigEndian.AppendUint64(head, uint64(bytesOfAll))
	return &archive{fs: fs, dir: dir, names: names, part: bytes.NewReader(head), sum: crc32.New(castagnoli)}, nil
}

// Read is io.Reader's.
func (a *archive) Read(p []byte) (int, error) {
	for {
		n, err := a.part.Read(p)
		if n > 0 || err != nil && err != io.EOF {
			return n, err
		}
		if err := a.next(); err != nil {
			return 0, err
		}
	}
}

// next moves to the next part: the head and content of a file, its sum, the end.
func (a *archive) next() error {
	switch {
	case a.file != nil:
		err := a.file.Close()
		a.file = nil
		a.part = bytes.NewReader(a.sum.Sum(nil))
		return wrap(err)
	case len(a.names) > 0:
		name := a.names[0]
		a.names = a.names[1:]
		return a.open(name)
	case !a.ended:
		a.ended = true
		a.part = strings.NewReader(archiveMagic)
		return nil
	}
	return io.EOF
}

func (a *archive) open(name string) error {
	f, err := a.fs.Open(a.fs.PathJoin(a.dir, name), vfs.SequentialReadsOption)
	if err != nil {
		return wrap(err)
	}
	a.file = f
	info, err := f.Stat()
	if err != nil {
		return wrap(err)
	}
	head := binary.BigEndian.AppendUint16(nil, uint16(len(name)))
	head = append(head, name...)
	head = binary.BigEndian.AppendUint64(head, uint64(info.Size()))
	a.sum.Reset()
	a.part = io.TeeReader(io.MultiReader(bytes.NewReader(head), io.LimitReader(f, info.Size())), a.sum)
	return nil
}

// Close lets go of the file that is being read.
func (a *archive) Close() error {
	if a.file == nil {
		return nil
	}
	f := a.file
	a.file = nil
	return wrap(f.Close())
}

// errArchive is what is wrong with an archive that is none, or was cut.
var errArchive = errors.New("datadir: damaged snapshot")

// unpack writes the files of an archive into dir, which must exist and be empty,
// and makes them durable. room is asked before the first byte is written.
func unpack(fs vfs.FS, dir string, r io.Reader, room func(bytes int64) error) error {
	var head [len(archiveMagic) + 12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("%w: its head: %w", errArchive, err)
	}
	if string(head[:len(archiveMagic)]) != archiveMagic {
		return fmt.Errorf("%w: it does not begin as one", errArchive)
	}
	files := binary.BigEndian.Uint32(head[len(archiveMagic):])
	left := int64(binary.BigEndian.Uint64(head[len(archiveMagic)+4:]))
	if files > maxArchiveFiles || left < 0 {
		return fmt.Errorf("%w: %d files of %d bytes", errArchive, files, left)
	}
	if room != nil {
		if err := room(left); err != nil {
			return err
		}
	}
	for range files {
		size, err := unpackFile(fs, dir, r, left)
		if err != nil {
			return err
		}
		left -= size
	}
	end := head[:len(archiveMagic)]
	if _, err := io.ReadFull(r, end); err != nil {
		return fmt.Errorf("%w: its end: %w", errArchive, err)
	}
	if string(end) != archiveMagic || left != 0 {
		return fmt.Errorf("%w: it does not end as one; %d bytes are missing", errArchive, left)
	}
	d, err := fs.OpenDir(dir)
	if err != nil {
		return wrap(err)
	}
	return wrap(errors.Join(d.Sync(), d.Close()))
}

// unpackFile writes the next file, which has at most so many bytes.
func unpackFile(fs vfs.FS, dir string, r io.Reader, most int64) (int64, error) {
	sum := crc32.New(castagnoli)
	r2 := io.TeeReader(r, sum)
	var length [2]byte
	if _, err := io.ReadFull(r2, length[:]); err != nil {
		return 0, fmt.Errorf("%w: a name: %w", errArchive, err)
	}
	name := make([]byte, binary.BigEndian.Uint16(length[:]))
	if len(name) > maxArchiveName {
		return 0, fmt.Errorf("%w: a name of %d bytes", errArchive, len(name))
	}
	var number [8]byte
	if _, err := io.ReadFull(r2, name); err != nil {
		return 0, fmt.Errorf("%w: a name: %w", errArchive, err)
	}
	if _, err := io.ReadFull(r2, number[:]); err != nil {
		return 0, fmt.Errorf("%w: a size: %w", errArchive, err)
	}
	size := int64(binary.BigEndian.Uint64(number[:]))
	if !plainName(string(name)) || size < 0 || size > most {
		return 0, fmt.Errorf("%w: a file %q of %d bytes", errArchive, name, size)
	}
	f, err := fs.Create(fs.PathJoin(dir, string(name)), vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, wrap(err)
	}
	_, err = io.CopyN(f, r2, size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("datadir: receive %q: %w", name, err)
	}
	want := sum.Sum(nil)
	var got [4]byte
	if _, err := io.ReadFull(r, got[:]); err != nil {
		return 0, fmt.Errorf("%w: the sum of %q: %w", errArchive, name, err)
	}
	if !bytes.Equal(got[:], want) {
		return 0, fmt.Errorf("%w: the sum of %q is wrong", errArchive, name)
	}
	return size, nil
}

// plainName says whether a file of that name lies in its directory and nowhere
// else.
func plainName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\\\x00")
}
