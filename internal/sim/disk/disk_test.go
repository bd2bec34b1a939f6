package disk

import (
	"io"
	"io/fs"
	"slices"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

const category = vfs.WriteCategoryUnspecified

func write(t *testing.T, d *FS, name, data string) vfs.File {
	t.Helper()
	f, err := d.Create(name, category)
	require.NoError(t, err)
	_, err = f.Write([]byte(data))
	require.NoError(t, err)
	return f
}

func syncDir(t *testing.T, d *FS, name string) {
	t.Helper()
	f, err := d.OpenDir(name)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func content(t *testing.T, d *FS, name string) string {
	t.Helper()
	b, err := d.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}

// The bytes of a file and its name become durable apart.
func TestWhatIsDurable(t *testing.T) {
	d := New()
	require.NoError(t, d.MkdirAll("/a/b", 0))
	syncDir(t, d, "/")
	syncDir(t, d, "/a")
	f := write(t, d, "/a/b/f", "hello")
	require.NoError(t, f.Sync())
	_, err := d.CrashImage(LoseAll{}).ReadFile("/a/b/f")
	require.ErrorIs(t, err, fs.ErrNotExist, "its name was not synced")
	syncDir(t, d, "/a/b")
	_, err = f.WriteAt([]byte("J"), 0)
	require.NoError(t, err)
	_, err = f.Write([]byte(" world"))
	require.NoError(t, err)
	require.Equal(t, "Jello world", content(t, d, "a/b/f"))
	require.Equal(t, "hello", content(t, d.CrashImage(LoseAll{}), "/a/b/f"))
	require.Equal(t, "Jello world", content(t, d.CrashImage(KeepAll{}), "/a/b/f"))
	require.Equal(t, "Jello w", content(t, d.CrashImage(KeepBytes{3}), "/a/b/f"))

	image := d.CrashImage(KeepAll{})
	require.Equal(t, "Jello world", content(t, image.CrashImage(LoseAll{}), "/a/b/f"), "what an image has is durable")
	require.NoError(t, image.Flip("/a/b/f", 0, 1))
	require.Equal(t, "Kello world", content(t, image, "/a/b/f"))
	require.Equal(t, "Jello world", content(t, d, "/a/b/f"), "an image shares nothing")
}

type names int

func (n names) Names(_ string, have int) int     { return min(int(n), have) }
func (names) Writes(_ string, w []Write) []Write { return w }

// Changes of names survive in order, and a rename is one of them.
func TestNames(t *testing.T) {
	d := New()
	write(t, d, "/old", "1")
	syncDir(t, d, "/")
	require.NoError(t, d.Rename("/old", "/new"))
	write(t, d, "/other", "2")
	require.NoError(t, d.Remove("/new"))
	for n, want := range [][]string{{"old"}, {"new"}, {"new", "other"}, {"other"}} {
		list, err := d.CrashImage(names(n)).List("/")
		require.NoError(t, err)
		require.Equal(t, want, list)
	}
}

func TestLinksAreOneFile(t *testing.T) {
	d := New()
	f := write(t, d, "/f", "one")
	require.NoError(t, d.MkdirAll("/dir", 0))
	require.NoError(t, d.Link("/f", "/dir/g"))
	require.ErrorIs(t, d.Link("/f", "/dir/g"), fs.ErrExist)
	_, err := f.Write([]byte("two"))
	require.NoError(t, err)
	require.Equal(t, "onetwo", content(t, d, "/dir/g"))
	require.EqualValues(t, 6, d.Used())
	image := d.CrashImage(KeepAll{})
	require.EqualValues(t, 6, image.Used())
	require.NoError(t, image.Remove("/f"))
	require.Equal(t, "onetwo", content(t, image, "/dir/g"))
	require.EqualValues(t, 6, image.Used())
	require.NoError(t, image.RemoveAll("/dir"))
	require.Zero(t, image.Used())
	require.NoError(t, image.RemoveAll("/dir"))
}

func TestCapacity(t *testing.T) {
	d := New()
	d.SetCapacity(10)
	f := write(t, d, "/f", "12345678")
	n, err := f.Write([]byte("abcd"))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 2, n)
	_, err = f.WriteAt([]byte("xx"), 0)
	require.NoError(t, err, "what the file has can be overwritten")
	usage, err := d.GetDiskUsage("/")
	require.NoError(t, err)
	require.Zero(t, usage.AvailBytes)
	require.NoError(t, d.Remove("/f"))
	require.Zero(t, d.Used())
}

func TestFaults(t *testing.T) {
	d := New()
	f := write(t, d, "/f", "1")
	d.Inject(func(op Op, path string) error {
		if op == OpSync && path == "/f" {
			return syscall.EIO
		}
		return nil
	})
	require.ErrorIs(t, f.SyncData(), syscall.EIO)
	syncDir(t, d, "/")
	require.Empty(t, content(t, d.CrashImage(LoseAll{}), "/f"))
	d.Inject(nil)
	require.NoError(t, f.Sync())
	require.Equal(t, "1", content(t, d.CrashImage(LoseAll{}), "/f"))
}

func TestLocks(t *testing.T) {
	d := New()
	l, err := d.Lock("/LOCK")
	require.NoError(t, err)
	_, err = d.Lock("LOCK")
	require.ErrorIs(t, err, syscall.EAGAIN)
	_, err = d.CrashImage(KeepAll{}).Lock("/LOCK")
	require.NoError(t, err, "a crash frees locks")
	require.NoError(t, l.Close())
	_, err = d.Lock("/LOCK")
	require.NoError(t, err)
}

// The same seed gives the same image, and one file more does not change the others.
func TestRandomIsDeterministic(t *testing.T) {
	build := func(extra bool) *FS {
		d := New()
		for _, name := range []string{"/a", "/b", "/c"} {
			f := write(t, d, name, string(slices.Repeat([]byte(name), 2000)))
			require.NoError(t, f.Sync())
			_, err := f.Write(slices.Repeat([]byte("x"), 3000))
			require.NoError(t, err)
		}
		syncDir(t, d, "/")
		if extra {
			write(t, d, "/0", "more")
			syncDir(t, d, "/")
		}
		return d
	}
	distinct := map[string]bool{}
	for seed := range uint64(50) {
		one, two := build(false).CrashImage(Random(seed)), build(true).CrashImage(Random(seed))
		for _, name := range []string{"/a", "/b", "/c"} {
			require.Equal(t, content(t, one, name), content(t, two, name))
		}
		distinct[content(t, one, "/a")] = true
	}
	require.Greater(t, len(distinct), 20)
}

func TestFiles(t *testing.T) {
	d := New()
	_, err := d.Open("/none")
	require.ErrorIs(t, err, fs.ErrNotExist)
	f, err := d.OpenReadWrite("/f", category)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("abc"), 3)
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00abc", content(t, d, "/f"))
	g, err := d.Open("/f")
	require.NoError(t, err)
	_, err = g.Write([]byte("x"))
	require.ErrorIs(t, err, syscall.EBADF)
	all, err := io.ReadAll(g)
	require.NoError(t, err)
	require.Len(t, all, 6)
	_, err = g.ReadAt(make([]byte, 4), 3)
	require.ErrorIs(t, err, io.EOF)
	info, err := d.Stat("/f")
	require.NoError(t, err)
	require.EqualValues(t, 6, info.Size())
	require.True(t, info.ModTime().IsZero())
	require.False(t, info.IsDir())
	require.Error(t, d.MkdirAll("/f/g", 0))
	require.NoError(t, d.MkdirAll("/x/y", 0))
	require.ErrorIs(t, d.Remove("/x"), syscall.ENOTEMPTY)
	h, err := d.ReuseForWrite("/f", "/x/g", category)
	require.NoError(t, err)
	_, err = h.Write([]byte("Z"))
	require.NoError(t, err)
	require.Equal(t, "Z\x00\x00abc", content(t, d, "/x/g"))
	_, err = d.Stat("/f")
	require.ErrorIs(t, err, fs.ErrNotExist)
}
