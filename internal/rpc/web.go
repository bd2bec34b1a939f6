package rpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

type protocol int

const (
	protoNone protocol = iota // nothing came, or nothing we speak
	protoH1
	protoH2
)

// handshake finds out what a new connection speaks: TLS's ALPN says so, else the
// first bytes do. What it reads stays in br.
func (s *Server) handshake(nc net.Conn, br *bufio.Reader) (protocol, *tls.ConnectionState) {
	var state *tls.ConnectionState
	if t, ok := nc.(*tls.Conn); ok {
		ctx, cancel := context.WithTimeout(context.Background(), s.limits.HandshakeTimeout)
		defer cancel()
		if err := t.HandshakeContext(ctx); err != nil {
			s.log.Debug("TLS handshake failed", zap.Stringer("remote", nc.RemoteAddr()), zap.Error(err))
			return protoNone, nil
		}
		st := t.ConnectionState()
		state = &st
		switch st.NegotiatedProtocol {
		case "h2":
			return protoH2, state
		case "http/1.1":
			return protoH1, state
		}
	}
	for n := 1; n <= len(http2.ClientPreface); n++ {
		b, err := br.Peek(n)
		if err != nil {
			return protoNone, state
		}
		// No HTTP/1 method begins as the preface does, but for its first bytes.
		if string(b) != http2.ClientPreface[:n] {
			return sniffH1(br), state
		}
	}
	return protoH2, state
}

// sniffH1 looks for the version at the end of the first line. Whatever else
// knocks, a broken HTTP/2 preface say, gets no answer in a protocol it may not
// speak.
func sniffH1(br *bufio.Reader) protocol {
	for {
		b, _ := br.Peek(br.Buffered())
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			if bytes.Contains(b[:i], []byte(" HTTP/1.")) {
				return protoH1
			}
			return protoNone
		}
		if _, err := br.Peek(len(b) + 1); err != nil {
			return protoNone // gone, or a line longer than the buffer
		}
	}
}

// webServer serves Options.Web: HTTP/1.1 by net/http, HTTP/2 by an adapter.
type webServer struct {
	s       *Server
	handler http.Handler
	h1      *http.Server
	conns   chan net.Conn // from hand to Accept
	closed  chan struct{}
	once    sync.Once
}

type h1Key struct{}

func newWebServer(s *Server, h http.Handler) *webServer {
	w := &webServer{s: s, handler: h, conns: make(chan net.Conn), closed: make(chan struct{})}
	w.h1 = &http.Server{
		Handler:           http.HandlerFunc(w.serveH1),
		ReadHeaderTimeout: s.limits.HandshakeTimeout,
		IdleTimeout:       s.limits.IdleTimeout,
		MaxHeaderBytes:    s.limits.HeaderListBytes,
		ErrorLog:          log.New(io.Discard, "", 0),
		BaseContext:       func(net.Listener) context.Context { return context.WithValue(context.Background(), serverKey{}, s) },
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, h1Key{}, c) },
	}
	s.wg.Add(1)
	go w.routineH1()
	return w
}

// routineH1 accepts what hand gives; it ends with close or drain.
func (w *webServer) routineH1() {
	defer w.s.wg.Done()
	w.h1.Serve(w)
}

// serveH1 wraps Web for HTTP/1.1: the handler is waited for, and sees TLS.
func (w *webServer) serveH1(rw http.ResponseWriter, r *http.Request) {
	w.s.wg.Add(1)
	defer w.s.wg.Done()
	if c, ok := r.Context().Value(h1Key{}).(*h1Conn); ok {
		r.TLS = c.state
	}
	w.handler.ServeHTTP(rw, r)
}

// hand gives a connection to net/http, which closes it. False: it cannot.
func (w *webServer) hand(nc net.Conn, br *bufio.Reader, state *tls.ConnectionState) bool {
	nc.SetDeadline(time.Time{})
	c := &h1Conn{Conn: nc, br: br, state: state, s: w.s}
	w.s.mu.Lock()
	if w.s.mu.closed || w.s.mu.draining {
		w.s.mu.Unlock()
		return false
	}
	w.s.mu.pending[nc] = false
	w.s.mu.Unlock()
	w.s.wg.Add(1)
	select {
	case w.conns <- c:
		return true
	case <-w.closed:
		w.s.wg.Done()
		return false
	}
}

// Accept, Close and Addr make w the listener of its http.Server.
func (w *webServer) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *webServer) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *webServer) Addr() net.Addr { return &net.TCPAddr{} }

func (w *webServer) drain(ctx context.Context) { w.h1.Shutdown(ctx) }
func (w *webServer) close()                    { w.h1.Close() }

// h1Conn is a connection whose first bytes were read to find out what it is.
type h1Conn struct {
	net.Conn
	br    *bufio.Reader
	state *tls.ConnectionState
	s     *Server
	once  sync.Once
}

func (c *h1Conn) Read(p []byte) (int, error) {
	if n := c.br.Buffered(); n > 0 {
		return c.br.Read(p[:min(n, len(p))])
	}
	return c.Conn.Read(p)
}

// Write closes the connection of a peer that takes nothing for too long.
func (c *h1Conn) Write(p []byte) (int, error) {
	total := 0
	for {
		c.Conn.SetWriteDeadline(time.Now().Add(c.s.limits.WriteStall))
		n, err := c.Conn.Write(p[:min(len(p), maxFrame)])
		total += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return total, err
		}
	}
}

func (c *h1Conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.s.forget(c.Conn, nil)
		c.s.wg.Done()
	})
	return err
}

// serveH2 serves a request that is not gRPC on an HTTP/2 connection.
func (w *webServer) serveH2(call *Call) {
	c, h := call.conn, call.h
	call.kept = true
	u, err := url.ParseRequestURI(h.path)
	if err != nil {
		c.mu.Lock()
		c.resetLocked(call, http2.ErrCodeProtocol, codes.Internal)
		c.mu.Unlock()
		return
	}
	r := &http.Request{
		Method: h.method, URL: u, Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{}, Host: h.authority,
		RequestURI: h.path, RemoteAddr: c.nc.RemoteAddr().String(), TLS: c.tls, ContentLength: h.contentLength, Body: http.NoBody,
	}
	var cookies []string
	for _, f := range h.fields {
		switch {
		case f.Name == "cookie":
			cookies = append(cookies, f.Value)
		case f.Name == "host" && r.Host == "":
			r.Host = f.Value
		default:
			r.Header.Add(f.Name, f.Value)
		}
	}
	if len(cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(cookies, "; "))
	}
	c.mu.Lock()
	call.recvable, call.sendable = sync.NewCond(&c.mu), sync.NewCond(&c.mu)
	if call.remoteEnded {
		call.inboxEnd = io.EOF
		r.ContentLength = 0
	} else {
		r.Body = &webBody{call: call}
	}
	c.mu.Unlock()
	w.s.wg.Add(1)
	go w.routineWeb(call, r.WithContext(context.WithValue(call.Context(), serverKey{}, w.s)))
}

// routineWeb runs Web for one HTTP/2 request. As in net/http, a panic of the
// handler's costs its request only.
func (w *webServer) routineWeb(call *Call, r *http.Request) {
	defer w.s.wg.Done()
	rw := &webWriter{call: call, header: http.Header{}, head: r.Method == http.MethodHead}
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				w.s.log.Error("web handler panicked", zap.Any("panic", p))
			}
			c := call.conn
			c.mu.Lock()
			c.resetLocked(call, http2.ErrCodeInternal, codes.Internal)
			c.flushLocked()
			c.mu.Unlock()
		}
	}()
	w.handler.ServeHTTP(rw, r)
	rw.finish()
}

// webData gives a web request's DATA to its handler.
func (c *Conn) webData(call *Call, data []byte, end bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.closed {
		c.creditLocked(int64(len(data)))
		return
	}
	if len(data) > 0 {
		call.recvHeld += int64(len(data))
		call.keepBodyLocked(data)
	}
	if end {
		call.inboxEnd = io.EOF
	}
	call.recvable.Signal()
}

// keepBodyLocked has a piece of the body wait for its reader, with the one before it
// where both are small: a byte must not take much more than a byte.
func (call *Call) keepBodyLocked(data []byte) {
	if n := len(call.inbox); n > 0 {
		if last := &call.inbox[n-1]; len(last.data)+len(data) <= maxFrame {
			last.data = append(last.data, data...)
			last.bytes += int64(len(data))
			return
		}
	}
	call.inbox = append(call.inbox, inMessage{data: append([]byte(nil), data...), bytes: int64(len(data))})
}

// webBody is a request body; reading it opens the windows again.
type webBody struct{ call *Call }

func (b *webBody) Read(p []byte) (int, error) {
	call := b.call
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(call.inbox) == 0 && call.inboxEnd == nil && !call.answered && !call.closed {
		call.recvable.Wait()
	}
	switch {
	case call.answered || call.closed:
		return 0, call.endErrLocked()
	case len(call.inbox) == 0:
		return 0, call.inboxEnd
	}
	m := &call.inbox[0]
	n := copy(p, m.data)
	if m.data = m.data[n:]; len(m.data) == 0 {
		call.popLocked()
	}
	return n, nil
}

func (b *webBody) Close() error { return nil }

// webWriter is the http.ResponseWriter of an HTTP/2 request. It supports
// http.Flusher; trailers, hijacking and informational responses it does not.
type webWriter struct {
	call   *Call
	header http.Header
	head   bool
	status int    // 0: WriteHeader was not called
	sent   bool   // the header block is out
	buf    []byte // body before that
}

const webBuffer = 4 << 10 // a smaller body gets its content-length by itself

func (w *webWriter) Header() http.Header { return w.header }

func (w *webWriter) WriteHeader(code int) {
	if w.status == 0 && code >= 200 {
		w.status = code
	}
}

func (w *webWriter) bodyless() bool { return w.head || w.status == 204 || w.status == 304 }

func (w *webWriter) Write(p []byte) (int, error) {
	w.WriteHeader(200)
	if w.bodyless() {
		if w.head {
			return len(p), nil
		}
		return 0, http.ErrBodyNotAllowed
	}
	n := 0
	if !w.sent {
		// No more than a piece of it, though all were given at once: the rest waits for the
		// peer in its turn.
		n = min(len(p), maxFrame-len(w.buf))
		if w.buf = append(w.buf, p[:n]...); len(w.buf) <= webBuffer {
			return n, nil
		}
		if err := w.push(false); err != nil {
			return n, err
		}
	}
	for n < len(p) {
		k := min(len(p)-n, maxFrame)
		w.buf = append([]byte(nil), p[n:n+k]...)
		if err := w.push(false); err != nil {
			return n, err
		}
		n += k
	}
	return len(p), nil
}

// SetReadDeadline is what http.ResponseController looks for. Only a time that has
// passed is supported: reads of the body that wait, and those to come, end.
func (w *webWriter) SetReadDeadline(t time.Time) error {
	if t.IsZero() || time.Until(t) > 0 {
		return http.ErrNotSupported
	}
	call := w.call
	call.conn.mu.Lock()
	defer call.conn.mu.Unlock()
	call.inboxEnd = os.ErrDeadlineExceeded
	call.recvable.Broadcast()
	return nil
}

// Flush sends what was written so far.
func (w *webWriter) Flush() {
	w.WriteHeader(200)
	w.push(false)
}

// push sends the header block, if it is not out, and the buffer.
func (w *webWriter) push(last bool) error {
	call := w.call
	c := call.conn
	var block []byte
	if !w.sent {
		w.sent = true
		block = w.block(last)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.waitToSendLocked(call)
	if err != nil {
		return err
	}
	if block != nil {
		call.headersSent = true
		c.headersLocked(call.id, block, false)
	}
	c.queueLocked(call, w.buf)
	w.buf = nil
	if last {
		call.answered = true
		c.endLocked(call, nil)
	}
	c.flushLocked()
	return nil
}

// block encodes the response header.
func (w *webWriter) block(whole bool) []byte {
	b := appendIndexedField(nil, staticStatus, strconv.Itoa(w.status))
	if len(w.buf) > 0 && w.header.Get("Content-Type") == "" {
		b = appendIndexedField(b, staticContentTyp, http.DetectContentType(w.buf))
	}
	if whole && !w.bodyless() && w.header.Get("Content-Length") == "" {
		b = appendField(b, "content-length", strconv.Itoa(len(w.buf)))
	}
	if w.header.Get("Date") == "" {
		b = appendField(b, "date", time.Now().UTC().Format(http.TimeFormat))
	}
	for name, values := range w.header {
		lower := strings.ToLower(name)
		switch lower {
		case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
			continue
		}
		for _, v := range values {
			b = appendField(b, lower, strings.Map(headerRune, v))
		}
	}
	return b
}

// headerRune takes line breaks and other controls out of a header value.
func headerRune(r rune) rune {
	if r < ' ' && r != '\t' || r == 0x7f {
		return ' '
	}
	return r
}

func (w *webWriter) finish() {
	w.WriteHeader(200)
	w.push(true)
}
