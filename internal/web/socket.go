package web

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// bearer is the subprotocol by which a browser, which cannot set headers, gives its
// token: "Bearer, <token>".
const bearer = "Bearer"

// tokenCookie is the cookie that gives a token, too.
const tokenCookie = "token"

// wantsSocket says whether a request is the handshake of a WebSocket.
func wantsSocket(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// serveSocket serves a path over a WebSocket: what the client's frames hold is the
// body of a request, and each line of the reply is a frame.
//
// Any page may open it, as any may send requests, but for one that would use a cookie:
// browsers send those along for pages that know nothing of them.
func (g *gateway) serveSocket(w http.ResponseWriter, r *http.Request) {
	options := &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled}
	token := bearerToken(r)
	cookie, err := r.Cookie(tokenCookie)
	switch {
	case token != "":
		options.Subprotocols, options.InsecureSkipVerify = []string{bearer}, true
	case err == nil:
		token = cookie.Value
	default:
		options.InsecureSkipVerify = true
	}
	under := &hijacked{ResponseWriter: w}
	conn, err := websocket.Accept(under, r, options)
	if err != nil {
		return // the client was told
	}
	defer conn.CloseNow()
	conn.SetReadLimit(int64(g.maxRequest) * bodySlack)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	body, frames := io.Pipe()
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer cancel() // a socket that the client has closed ends the call
		routineFrames(ctx, conn, frames)
	}()
	post := r.Clone(ctx)
	post.Method, post.Body, post.ContentLength = http.MethodPost, body, -1
	for _, name := range []string{"Upgrade", "Connection", "Cookie"} {
		post.Header.Del(name)
	}
	if token != "" {
		post.Header.Set("Authorization", "Bearer "+token)
	}
	lines := &socketWriter{ctx: ctx, conn: conn, header: http.Header{}, body: body}
	g.ServeHTTP(lines, post)
	lines.flush()
	_ = body.Close() // whoever reads frames does not wait for the body to be read any more
	goodbye(conn, under.conn, cancel)
	<-read
}

// farewell is how long a client may take to answer a goodbye. Nobody waits for one
// that does not: the member may be stopping.
const farewell = 250 * time.Millisecond

// hijacked knows the connection that a handshake has taken over.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack is http.Hijacker's.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = c
	return c, rw, err
}

// goodbye closes a socket, whose reading cancel ends: then nobody waits for the client
// any more, neither whoever reads its frames nor the library, which else does for five
// seconds.
func goodbye(conn *websocket.Conn, under net.Conn, cancel context.CancelFunc) {
	patience := time.AfterFunc(farewell, func() {
		cancel()
		under.Close()
	})
	defer patience.Stop()
	_ = conn.Close(websocket.StatusNormalClosure, "") // there is nobody to tell of an error
}

// bearerToken is the token in the subprotocols that a client offers.
func bearerToken(r *http.Request) string {
	var offered []string
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for _, one := range strings.Split(line, ",") {
			offered = append(offered, strings.TrimSpace(one))
		}
	}
	if len(offered) < 2 || offered[0] != bearer {
		return ""
	}
	return offered[1]
}

// routineFrames writes what comes in frames, until there are no more.
func routineFrames(ctx context.Context, conn *websocket.Conn, to *io.PipeWriter) {
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			_ = to.Close() // the body has ended
			return
		}
		// What comes after the call is over is read, too, and dropped: so the client's
		// goodbye is heard.
		_, _ = to.Write(append(frame, '\n'))
	}
}

// socketWriter is an http.ResponseWriter that makes a frame of each line.
type socketWriter struct {
	ctx    context.Context
	conn   *websocket.Conn
	header http.Header
	body   io.Closer
	line   []byte // what of a line was written
}

// Header is http.ResponseWriter's. A socket has none any more.
func (w *socketWriter) Header() http.Header { return w.header }

// WriteHeader is http.ResponseWriter's. What has failed is said in a line.
func (w *socketWriter) WriteHeader(int) {}

// Flush is http.Flusher's: each line is sent as it is written.
func (w *socketWriter) Flush() {}

// EnableFullDuplex is http.ResponseController's: a socket is.
func (w *socketWriter) EnableFullDuplex() error { return nil }

// SetReadDeadline is http.ResponseController's. It is called when the call is over,
// so that nobody waits for more of the body.
func (w *socketWriter) SetReadDeadline(time.Time) error { return w.body.Close() }

// Write is http.ResponseWriter's.
func (w *socketWriter) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		w.line = append(w.line, line...)
		if !whole {
			return n, nil
		}
		if err := w.send(); err != nil {
			return 0, err
		}
		b = rest
	}
}

// flush sends what has no end of its own.
func (w *socketWriter) flush() {
	if len(w.line) > 0 {
		_ = w.send() // the socket is closed next
	}
}

func (w *socketWriter) send() error {
	err := w.conn.Write(w.ctx, websocket.MessageText, w.line)
	w.line = w.line[:0]
	return err
}
