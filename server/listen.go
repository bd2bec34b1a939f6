package server

import (
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
)

// listen opens the listener of a URL. The socket file that a dead process has
// left is taken over; one that somebody answers on is not.
func listen(u url.URL) (net.Listener, error) {
	if u.Scheme != "unix" {
		return net.Listen("tcp", u.Host)
	}
	path := u.Host + u.Path
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, &net.OpError{Op: "listen", Net: "unix", Addr: &net.UnixAddr{Name: path, Net: "unix"}, Err: errors.New("address already in use")}
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return net.Listen("unix", path)
}
