package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// Handler serves /raft and what is below it: what other members' Transports ask
// for. Its connections must speak HTTP/1.1, and be such that can be hijacked.
func (t *Transport) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !t.enter() {
			refuse(w, http.StatusServiceUnavailable, "stopped")
			return
		}
		defer t.running.Done()
		switch {
		case r.URL.Path == "/raft":
			t.servePost(w, r)
		case strings.HasPrefix(r.URL.Path, "/raft/stream/"):
			t.serveStream(w, r)
		case r.URL.Path == "/raft/snapshot":
			t.serveSnapshot(w, r)
		case r.URL.Path == "/raft/probing":
			serveProbe(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}

func refuse(w http.ResponseWriter, status int, text string) { http.Error(w, text, status) }

// allow answers a request that has another method, and returns false.
func allow(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method != method {
		w.Header().Set("Allow", method)
		refuse(w, http.StatusMethodNotAllowed, "Method Not Allowed")
	}
	return r.Method == method
}

// fits answers a request of a member that cannot be talked to, and returns
// false.
func (t *Transport) fits(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case !compatible(r.Header, t.cfg.Version):
		refuse(w, http.StatusPreconditionFailed, "incompatible version")
	case r.Header.Get(headerCluster) != t.cluster:
		refuse(w, http.StatusPreconditionFailed, "cluster ID mismatch")
	default:
		return true
	}
	return false
}

// sender returns the link of who sent the request; nil when nothing is known of
// it. One that says where it is reached is remembered as a remote.
func (t *Transport) sender(r *http.Request) (uint64, *link) {
	id, err := parseID(r.Header.Get(headerFrom))
	if err != nil {
		return 0, nil
	}
	if t.link(id) == nil && r.Header.Get(headerURLs) != "" {
		if err := t.AddRemote(id, strings.Split(r.Header.Get(headerURLs), ",")); err != nil && t.refusals.now() {
			t.log.Warn("a sender says in vain where it is reached", zap.String("peer", formatID(id)), zap.String("address", r.RemoteAddr), zap.Error(err))
		}
	}
	l := t.link(id)
	if l != nil {
		l.is(r.Header.Get(Ours))
	}
	return id, l
}

// servePost takes one message.
func (t *Transport) servePost(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodPost) {
		return
	}
	w.Header().Set(headerCluster, t.cluster)
	if !t.fits(w, r) {
		return
	}
	from, l := t.sender(r)
	t.extend(w, t.timing.post)
	b, err := readBody(r.Body, t.cfg.MaxMessage)
	if err != nil {
		t.unidentified.Add(1)
		refuse(w, http.StatusBadRequest, "error reading raft message")
		return
	}
	m, err := parse(b)
	if err != nil {
		t.unidentified.Add(1)
		refuse(w, http.StatusBadRequest, "error unmarshalling raft message")
		return
	}
	if l != nil {
		l.counts.receivedBytes.Add(uint64(len(b)))
	}
	if err = t.take(l, from, m); err != nil {
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusInternalServerError, "error processing raft message")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// take admits and delivers a message that was posted.
func (t *Transport) take(l *link, from uint64, m *raftpb.Message) error {
	if t.cfg.Removed(from) {
		return errors.New("its sender was removed")
	}
	if err := t.admit(l, from, m); err != nil {
		return err
	}
	err := t.cfg.Deliver(m)
	if err != nil && l != nil {
		l.counts.receivedFailures.Add(1)
	}
	return err
}

// readBody reads all of a body that has no more than limit bytes.
func readBody(body io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", errTooLong, limit)
	}
	return b, err
}

// errTooLong is why a body was not read to its end.
var errTooLong = errors.New("peer: a body is too long")

// extend gives the rest of the request so much time.
func (t *Transport) extend(w http.ResponseWriter, d time.Duration) {
	// Where deadlines are not to be had the server's own have to do.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(d))
}

// serveStream turns the connection into a stream of messages to who asked.
func (t *Transport) serveStream(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	w.Header().Set(headerVersion, t.cfg.Version)
	w.Header().Set(headerCluster, t.cluster)
	w.Header().Set(Ours, oursVersion)
	if !t.fits(w, r) {
		return
	}
	var k kind
	switch path.Dir(r.URL.Path) {
	case streamPaths[streamMessage]:
		k = streamMessage
	case streamPaths[streamMsgApp]:
		k = streamMsgApp
	default:
		refuse(w, http.StatusNotFound, "invalid path")
		return
	}
	from, err := parseID(path.Base(r.URL.Path))
	if err != nil {
		refuse(w, http.StatusNotFound, "invalid from")
		return
	}
	if t.cfg.Removed(from) {
		refuse(w, http.StatusGone, "removed member")
		return
	}
	l := t.link(from)
	if l == nil || l.remote {
		t.sender(r)
		refuse(w, http.StatusNotFound, "error sender not found")
		return
	}
	if r.Header.Get(headerTo) != formatID(t.cfg.ID) {
		refuse(w, http.StatusPreconditionFailed, "to field mismatch")
		return
	}
	l.is(r.Header.Get(Ours))
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusInternalServerError, "streams need a connection of their own: "+err.Error())
		return
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		_ = conn.Close()
		return
	}
	o := newOutgoing(l, k, conn)
	if !l.attach(k, o) {
		o.close()
		return
	}
	o.routineWrite(head(w.Header()))
	l.detach(k, o)
}

// serveSnapshot receives a MsgSnap and what goes with it.
func (t *Transport) serveSnapshot(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodPost) {
		return
	}
	w.Header().Set(headerCluster, t.cluster)
	if !t.fits(w, r) {
		return
	}
	from, l := t.sender(r)
	body := newPatient(t, l, w, r.Body)
	defer body.close()
	m, _, err := readEnvelope(body)
	if err != nil {
		t.unidentified.Add(1)
		refuse(w, http.StatusBadRequest, fmt.Sprintf("failed to decode raft message (%v)", err))
		return
	}
	if m.GetType() != raftpb.MsgSnap {
		refuse(w, http.StatusBadRequest, "wrong raft message type")
		return
	}
	end := func(bool) {}
	if l != nil {
		end = l.counts.receive.begin()
	}
	status, text := t.receive(r.Header.Get(Ours), from, l, m, body)
	end(status == http.StatusNoContent)
	if status != http.StatusNoContent {
		t.log.Warn("did not take a snapshot", zap.String("peer", formatID(from)), zap.String("address", r.RemoteAddr), zap.String("why", text))
		refuse(w, status, text)
		return
	}
	w.WriteHeader(status)
}

// receive takes a snapshot in, and returns what is to be answered.
func (t *Transport) receive(ours string, from uint64, l *link, m *raftpb.Message, body io.Reader) (int, string) {
	process := func(err error) (int, string) {
		return http.StatusInternalServerError, fmt.Sprintf("failed to process raft message (%v)", err)
	}
	save := func(err error) (int, string) {
		return http.StatusInternalServerError, fmt.Sprintf("failed to save KV snapshot (%v)", err)
	}
	if t.cfg.Removed(from) {
		return process(errors.New("its sender was removed"))
	}
	if err := t.admitSnapshot(l, from, m); err != nil {
		return process(err)
	}
	if ours != oursVersion {
		return save(fmt.Errorf("it has no %s header: a snapshot of an upstream member cannot be read yet", Ours))
	}
	if err := t.cfg.ReceiveSnapshot(m, body); err != nil {
		return save(err)
	}
	// What was not read must not be missed: the sender did not end in its middle.
	if n, err := io.Copy(io.Discard, body); err != nil {
		return save(err)
	} else if n > 0 {
		return save(fmt.Errorf("%d bytes are left over", n))
	}
	if err := t.cfg.Deliver(m); err != nil {
		return process(err)
	}
	return http.StatusNoContent, ""
}

// patient is a body that may take long, if only something comes now and then.
// It ends with the link, or the Transport.
type patient struct {
	t       *Transport
	link    *link // nil when the sender is unknown
	body    io.Reader
	control *http.ResponseController
	stop    func() bool

	mu     sync.Mutex
	ended  bool // no more reads
	closed bool // the request is over
}

func newPatient(t *Transport, l *link, w http.ResponseWriter, body io.Reader) *patient {
	p := &patient{t: t, link: l, body: body, control: http.NewResponseController(w)}
	ctx := t.stopped
	if l != nil {
		ctx = l.ctx
	}
	p.stop = context.AfterFunc(ctx, p.end)
	return p
}

// end lets a read that is under way fail, and all that come later.
func (p *patient) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if !p.closed {
		_ = p.control.SetReadDeadline(time.Now())
	}
}

func (p *patient) close() {
	p.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if !p.ended {
		_ = p.control.SetReadDeadline(time.Now().Add(p.t.timing.post))
	}
}

var errEnded = errors.New("peer: the sender was removed, or this member stops")

func (p *patient) Read(b []byte) (int, error) {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return 0, errEnded
	}
	err := p.control.SetReadDeadline(time.Now().Add(p.t.timing.bulk))
	p.mu.Unlock()
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := p.body.Read(b)
	p.took(n)
	return n, err
}

func (p *patient) took(n int) {
	if p.link != nil {
		p.link.counts.receivedBytes.Add(uint64(n))
	}
}
