package server

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
)

// listen opens the listener of a URL, under TLS where its scheme says so. A
// listener of TLS takes connections as they come; whoever serves them shakes
// hands.
func listen(u url.URL, config *tls.Config) (net.Listener, error) {
	l, err := listenPlain(u)
	if err == nil && secure(u) {
		l = tls.NewListener(l, config)
	}
	return l, err
}

// listenPlain listens on TCP or a socket file. The file that a dead process has
// left is taken over; one that somebody answers on is not.
func listenPlain(u url.URL) (net.Listener, error) {
	if !strings.HasPrefix(u.Scheme, "unix") {
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
