package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/wire"
	"etcd.alt/internal/rpc"
)

const (
	// bodySlack is how much larger a request may be as JSON than as a message:
	// base64 takes a third more, names and white space the rest.
	bodySlack = 2
	// maxReply bounds a reply, which is held whole as a message and as JSON;
	// allReplies bounds those that are held at a time, and the others wait.
	maxReply   = 256 << 20
	allReplies = 2 * maxReply
)

// gateway serves the RPCs as JSON over HTTP: POST, and the request as the body.
// A streamed reply is a line for each message. It calls the methods of the
// rpc.Server that its requests come in on.
type gateway struct {
	methods    map[string]*wire.Method // by path of the request
	maxRequest int
	memory     *semaphore.Weighted // of allReplies
}

func newGateway(maxRequest int) *gateway {
	return &gateway{methods: methodsByRoute(), maxRequest: maxRequest, memory: semaphore.NewWeighted(allReplies)}
}

// ServeHTTP is http.Handler's.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if rest, old := strings.CutPrefix(path, "/v3beta/"); old {
		path = "/v3/" + rest
	}
	m := g.methods[path]
	switch {
	case m == nil:
		refuse(w, status.New(codes.NotFound, "Not Found"), http.StatusNotFound)
		return
	case wantsSocket(r):
		g.serveSocket(w, r)
		return
	case r.Method != http.MethodPost:
		refuse(w, status.New(codes.Unimplemented, "Method Not Allowed"), http.StatusNotImplemented)
		return
	}
	ctx, cancel, err := withTimeout(r)
	if err != nil {
		fail(w, err)
		return
	}
	defer cancel()
	call, err := rpc.Local(r.WithContext(ctx), m.Path, metadata(r))
	if err != nil {
		fail(w, err)
		return
	}
	defer call.Close()
	body := newRequests(m, r.Body, int64(g.maxRequest)*bodySlack)
	replies := &replies{call: call, method: m, memory: g.memory}
	defer replies.release()
	switch {
	case m.ClientStreams:
		serveBidi(ctx, w, call, body, replies)
	case m.ServerStreams:
		serveStream(ctx, w, call, body, replies)
	default:
		serveUnary(ctx, w, call, body, replies)
	}
}

func serveUnary(ctx context.Context, w http.ResponseWriter, call *rpc.LocalCall, body *requests, replies *replies) {
	if err := body.only(call); err != nil {
		fail(w, err)
		return
	}
	b, err := replies.next(ctx)
	if err != nil {
		fail(w, err)
		return
	}
	header(w)
	w.Write(b)
}

func serveStream(ctx context.Context, w http.ResponseWriter, call *rpc.LocalCall, body *requests, replies *replies) {
	if err := body.only(call); err != nil {
		fail(w, err)
		return
	}
	stream(ctx, w, replies, func() error { return nil })
}

// serveBidi feeds the call from the body while its replies go out. The end of
// the body ends the client's half alone.
func serveBidi(ctx context.Context, w http.ResponseWriter, call *rpc.LocalCall, body *requests, replies *replies) {
	// HTTP/1.1 does not read on once a reply has begun, unless told to; HTTP/2
	// always does, and says that there is nothing to tell.
	http.NewResponseController(w).EnableFullDuplex()
	fed := make(chan struct{})
	var bad atomic.Pointer[status.Status] // what was wrong with a request
	go func() {
		defer close(fed)
		for {
			req, err := body.next()
			switch {
			case errors.Is(err, io.EOF):
				call.CloseSend()
				return
			case err != nil:
				bad.Store(status.Convert(err))
				call.Cancel()
				return
			}
			if call.Send(req) != nil {
				return
			}
		}
	}()
	stream(ctx, w, replies, func() error { return bad.Load().Err() })
	// The feeder may be waiting for either side.
	call.Cancel()
	http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
	<-fed
}

// stream sends a line for each reply, and one for the error at the end. bad says
// what else has ended the call.
func stream(ctx context.Context, w http.ResponseWriter, replies *replies, bad func() error) {
	begun := false
	for {
		b, err := replies.next(ctx)
		if errors.Is(err, io.EOF) {
			if !begun {
				header(w)
			}
			return
		}
		if err != nil {
			if b := bad(); b != nil {
				err = b
			}
			st := status.Convert(err)
			if !begun {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(httpStatus(st.Code()))
			}
			w.Write(wrap("error", errorJSON(st)))
			return
		}
		if !begun {
			begun = true
			header(w)
		}
		if _, err := w.Write(wrap("result", b)); err != nil {
			return
		}
		replies.release()
		http.NewResponseController(w).Flush()
	}
}

// wrap makes a line of a stream.
func wrap(name string, b []byte) []byte {
	return slices.Concat([]byte(`{"`+name+`":`), b, []byte("}\n"))
}

// requests are the JSON values of a body, as messages. limit bounds the bytes
// that are read for each.
type requests struct {
	method      *wire.Method
	body        io.Reader
	json        *json.Decoder
	limit, left int64
}

func newRequests(m *wire.Method, body io.Reader, limit int64) *requests {
	b := &requests{method: m, body: body, limit: limit}
	b.json = json.NewDecoder(b)
	return b
}

// Read is what the decoder reads the body by.
func (b *requests) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, status.Errorf(codes.ResourceExhausted, "the request is larger than %d bytes", b.limit)
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// only gives the call its one request. A body without a value is an empty
// message; what follows the value is not looked at.
func (b *requests) only(call *rpc.LocalCall) error {
	req, err := b.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := call.Send(req); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	call.CloseSend()
	return nil
}

// next returns the next request, encoded; io.EOF after the last.
func (b *requests) next() ([]byte, error) {
	var raw json.RawMessage
	b.left = b.limit
	if err := b.json.Decode(&raw); err != nil {
		if _, ours := status.FromError(err); ours || errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	m := b.method.Request.New().Interface()
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, m); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return proto.Marshal(m)
}

// replies are what a call answers, as JSON.
type replies struct {
	call   *rpc.LocalCall
	method *wire.Method
	memory *semaphore.Weighted
	held   int64
}

// next returns the next reply, good until the next call; io.EOF after the last.
func (r *replies) next(ctx context.Context) ([]byte, error) {
	r.release()
	m, err := r.call.Recv(func(size int) error { return r.admit(ctx, size) })
	if err != nil {
		return nil, err
	}
	return toJSON(r.method, m)
}

// smallReply is the size of replies that take no memory to speak of: they must not wait
// behind large ones that nobody reads.
const smallReply = 64 << 10

// admit waits until there is memory for a reply.
func (r *replies) admit(ctx context.Context, size int) error {
	if size > maxReply {
		return status.Errorf(codes.ResourceExhausted, "the reply has %d bytes; JSON is made of at most %d", size, maxReply)
	}
	if size <= smallReply {
		return nil
	}
	if err := r.memory.Acquire(ctx, int64(size)); err != nil {
		return status.FromContextError(err).Err()
	}
	r.held = int64(size)
	return nil
}

func (r *replies) release() {
	r.memory.Release(r.held)
	r.held = 0
}

// toJSON is a reply with the names of the .proto files and without white space,
// which protojson puts in at random.
func toJSON(m *wire.Method, reply []byte) ([]byte, error) {
	msg := m.Response.New().Interface()
	if err := proto.Unmarshal(reply, msg); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return compact(msg)
}

func compact(m proto.Message) ([]byte, error) {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	var out bytes.Buffer
	err = json.Compact(&out, b)
	return out.Bytes(), err
}

// header is that of a reply which is not an error.
func header(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Grpc-Metadata-Content-Type", "application/grpc")
}

// fail answers with a gRPC error.
func fail(w http.ResponseWriter, err error) {
	st := status.Convert(err)
	refuse(w, st, httpStatus(st.Code()))
}

func refuse(w http.ResponseWriter, st *status.Status, code int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(errorJSON(st))
}

// errorJSON is {"code":…,"message":…}, with the details where there are some
// that are known here.
func errorJSON(st *status.Status) []byte {
	b, err := compact(st.Proto())
	if err != nil {
		b, _ = json.Marshal(struct {
			Code    codes.Code `json:"code"`
			Message string     `json:"message"`
		}{st.Code(), st.Message()})
	}
	return b
}

// httpStatus is the HTTP status of a gRPC code.
func httpStatus(c codes.Code) int {
	switch c {
	case codes.OK:
		return http.StatusOK
	case codes.Canceled:
		return 499
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted:
		return http.StatusConflict
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	}
	return http.StatusInternalServerError
}

// passed are the headers of HTTP that methods see, as grpcgateway-<name>.
var passed = []string{
	"Accept", "Accept-Charset", "Accept-Language", "Accept-Ranges", "Authorization", "Cache-Control", "Content-Type", "Cookie", "Date",
	"Expect", "From", "If-Match", "If-Modified-Since", "If-None-Match", "If-Schedule-Tag-Match", "If-Unmodified-Since", "Max-Forwards",
	"Origin", "Pragma", "Referer", "User-Agent", "Via", "Warning",
}

// viaGateway is by what methods know that a call comes from here, and not from who
// shows the connection's certificate: it is always there.
const viaGateway = "grpcgateway-accept"

const metadataPrefix = "Grpc-Metadata-"

// metadata is what a method sees of a request's headers: those of HTTP under a
// prefix, Authorization also as itself, and Grpc-Metadata-X as x.
func metadata(r *http.Request) []rpc.Field {
	var fields []rpc.Field
	add := func(name, value string) {
		fields = append(fields, rpc.Field{Name: strings.ToLower(name), Value: value})
	}
	for name, values := range r.Header {
		name = textproto.CanonicalMIMEHeaderKey(name)
		for _, v := range values {
			if name == "Authorization" {
				add("authorization", v)
			}
			if custom, ok := strings.CutPrefix(name, metadataPrefix); ok {
				add(custom, v)
			} else if slices.Contains(passed, name) {
				add("grpcgateway-"+name, v)
			}
		}
	}
	if len(r.Header.Values("Accept")) == 0 {
		add(viaGateway, "")
	}
	add("x-forwarded-host", r.Host)
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		add("x-forwarded-for", strings.Join(append(r.Header.Values("X-Forwarded-For"), host), ", "))
	}
	return fields
}

// withTimeout gives a request the deadline that its Grpc-Timeout asks for.
func withTimeout(r *http.Request) (context.Context, context.CancelFunc, error) {
	text := r.Header.Get("Grpc-Timeout")
	if text == "" {
		return r.Context(), func() {}, nil
	}
	d, err := rpc.ParseTimeout(text)
	if err != nil {
		return nil, nil, status.Errorf(codes.InvalidArgument, "invalid grpc-timeout: %s", text)
	}
	ctx, cancel := context.WithTimeout(r.Context(), d)
	return ctx, cancel, nil
}
