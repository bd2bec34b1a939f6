package network

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pair is a network of two members. Member 1 sends back what it reads behind a
// request's head.
func pair(t *testing.T) *Network {
	t.Helper()
	n, err := Listen(2)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				if _, err := http.ReadRequest(r); err == nil {
					_, _ = io.Copy(c, r)
				}
			}()
		}
	}()
	n.Serve([]Host{{ID: 0xa, Listen: "127.0.0.1:1"}, {ID: 0xb, Listen: l.Addr().String()}})
	return n
}

// dial connects to member 1 as whoever from says.
func dial(t *testing.T, n *Network, from string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", n.Door(1))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Server-From: %s\r\n\r\n", from)
	require.NoError(t, err)
	return c
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

func hear(t *testing.T, c net.Conn, text string) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	buf := make([]byte, len(text))
	_, err := io.ReadFull(c, buf)
	require.NoError(t, err)
	require.Equal(t, text, string(buf))
}

func hearNothing(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	n, err := c.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func ended(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is still there")
}

func TestBytesPass(t *testing.T) {
	c := dial(t, pair(t), "a")
	say(t, c, "hello")
	hear(t, c, "hello")
}

func TestSwallowedBytesEndTheConnectionWhenItIsHealed(t *testing.T) {
	for _, back := range []bool{false, true} {
		n := pair(t)
		c, quiet := dial(t, n, "a"), dial(t, n, "a")
		say(t, c, "1")
		hear(t, c, "1")
		say(t, quiet, "2")
		hear(t, quiet, "2")
		if back {
			n.Set(1, 0, Rule{Loss: Swallow})
		} else {
			n.Set(0, 1, Rule{Loss: Swallow})
		}
		say(t, c, "lost")
		hearNothing(t, c)
		n.Heal()
		ended(t, c)
		say(t, quiet, "3")
		hear(t, quiet, "3")
	}
}

func TestHeldBytesComeLate(t *testing.T) {
	for _, back := range []bool{false, true} {
		n := pair(t)
		c := dial(t, n, "a")
		say(t, c, "1")
		hear(t, c, "1")
		if back {
			n.Set(1, 0, Rule{Loss: Hold})
		} else {
			n.Set(0, 1, Rule{Loss: Hold})
		}
		say(t, c, "late")
		hearNothing(t, c)
		n.Heal()
		hear(t, c, "late")
	}
}

func TestDelay(t *testing.T) {
	n := pair(t)
	c := dial(t, n, "a")
	n.Set(0, 1, Rule{Delay: 50 * time.Millisecond})
	n.Set(1, 0, Rule{Delay: 50 * time.Millisecond})
	began := time.Now()
	for i := range 3 {
		say(t, c, fmt.Sprint(i))
	}
	hear(t, c, "012")
	require.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
}

func TestReset(t *testing.T) {
	n := pair(t)
	c := dial(t, n, "a")
	say(t, c, "1")
	hear(t, c, "1")
	n.Reset(1, 0)
	ended(t, c)
}

func TestOneWhoDoesNotSayWhoItIs(t *testing.T) {
	n := pair(t)
	c := dial(t, n, "")
	say(t, c, "1")
	hear(t, c, "1")
	n.Set(1, 0, Rule{Loss: Hold})
	ended(t, c)
	ended(t, dial(t, n, ""))
	n.Heal()
	c = dial(t, n, "")
	say(t, c, "1")
	hear(t, c, "1")
}

func TestAMemberThatGoesByAnotherID(t *testing.T) {
	n := pair(t)
	n.Rename(0, 0xc)
	c := dial(t, n, "c")
	say(t, c, "1")
	hear(t, c, "1")
	n.Set(0, 1, Rule{Loss: Hold})
	say(t, c, "late")
	hearNothing(t, c)
	n.Heal()
	hear(t, c, "late")
}
