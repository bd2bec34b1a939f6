package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// localDoor serves a harness whose web handler is f.
func localDoor(t *testing.T, f http.HandlerFunc, change ...func(*Options)) *harness {
	return start(t, append(change, func(o *Options) {
		o.Web = f
		o.Methods = append(o.Methods, Method{Path: "/test.S/Whole", Stream: func(_ context.Context, s *Stream) error {
			return s.SendSized(1_000_000, func(w io.Writer) error {
				_, err := w.Write(bytes.Repeat([]byte("s"), 1_000_000))
				return err
			})
		}}, Method{Path: "/test.S/Forever", Stream: func(ctx context.Context, s *Stream) error {
			<-ctx.Done()
			return ctx.Err()
		}})
	})...)
}

// whole makes one call with one request and gathers all replies.
func whole(r *http.Request, path, request string, md ...Field) ([]string, error) {
	l, err := Local(r, path, md)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if err := l.Send([]byte(request)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	l.CloseSend()
	var replies []string
	for {
		m, err := l.Recv(upTo1MB)
		if errors.Is(err, io.EOF) {
			return replies, nil
		}
		if err != nil {
			return replies, err
		}
		replies = append(replies, string(m))
	}
}

func upTo1MB(size int) error {
	if size > 1<<20 {
		return status.Error(codes.ResourceExhausted, "too large")
	}
	return nil
}

func TestLocalCalls(t *testing.T) {
	var h *harness
	done := make(chan struct{}, 100)
	h = localDoor(t, func(w http.ResponseWriter, r *http.Request) {
		defer func() { done <- struct{}{} }()
		want := func(path, request string, md []Field, replies int, total int, code codes.Code) {
			t.Helper()
			got, err := whole(r, path, request, md...)
			n := 0
			for _, m := range got {
				n += len(m)
			}
			if status.Code(err) != code || len(got) != replies || n != total {
				t.Errorf("%s: %d replies of %d bytes, %v", path, len(got), n, err)
			}
		}
		want("/test.S/Echo", "hello", nil, 1, 5, codes.OK)
		want("/test.S/Echo", "", nil, 1, 0, codes.OK)
		want("/test.S/Size", "500000", nil, 1, 500000, codes.OK)
		want("/test.S/Meta", "", []Field{{"x-text", "abc"}, {"x-raw-bin", "AAE"}}, 1, 6, codes.OK)
		want("/test.S/Fail", "", nil, 0, 0, codes.NotFound)
		want("/test.S/Nothing", "", nil, 0, 0, codes.Unimplemented)
		want("/test.S/Bidi", "one", nil, 1, 3, codes.OK)
		want("/test.S/Pour", "100 10000", nil, 100, 1_000_000, codes.OK)
		want("/test.S/Whole", "", nil, 1, 1_000_000, codes.OK)
		want("/test.S/Size", "2000000", nil, 0, 0, codes.ResourceExhausted)                  // more than Recv takes
		want("/test.S/Echo", strings.Repeat("x", 3<<20), nil, 0, 0, codes.ResourceExhausted) // more than Limits.MaxMessage

		// Answered later, by somebody else.
		go func() {
			k := <-h.kept
			if k.Conn().RemoteAddr().String() != r.RemoteAddr || k.Conn().TLS() != nil {
				t.Error(k.Conn().RemoteAddr())
			}
			var b Batch
			b.Reply(k, rawMessage("late"))
			b.Flush()
		}()
		want("/test.S/Keep", "", nil, 1, 4, codes.OK)

		// A deadline is the engine's to keep.
		ctx, cancel := context.WithTimeout(r.Context(), 20*time.Millisecond)
		if _, err := whole(r.WithContext(ctx), "/test.S/Keep", ""); status.Code(err) != codes.DeadlineExceeded {
			t.Error(err)
		}
		cancel()
		if k := <-h.kept; k.Context().Err() == nil {
			t.Error("the call that expired is not over")
		}
		// A request that ends takes the call with it.
		ctx, cancel = context.WithCancel(r.Context())
		go func() {
			k := <-h.kept
			cancel()
			<-k.Context().Done()
			k.Reply(rawMessage("too late"))
		}()
		if _, err := whole(r.WithContext(ctx), "/test.S/Keep", ""); status.Code(err) != codes.Canceled {
			t.Error(err)
		}
		// A peer that takes nothing holds the method up, and no memory.
		l, err := Local(r, "/test.S/Pour", nil)
		if err != nil {
			t.Error(err)
			return
		}
		l.Send([]byte("1000000 10000"))
		if _, err := l.Recv(upTo1MB); err != nil {
			t.Error(err)
		}
		queued := func() int { l.c.mu.Lock(); defer l.c.mu.Unlock(); return l.call.queued }
		eventually(t, "a full queue", func() bool { return queued() > h.limits.StreamBuffer })
		if n := queued(); n > h.limits.StreamBuffer+2*10005 {
			t.Error(n)
		}
		l.Close()
	})
	res, err := http.Get("http://" + h.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	<-done
	eventually(t, "every call is counted as handled", func() bool {
		for _, m := range h.Stats().Methods {
			var handled uint64
			for _, n := range m.Handled {
				handled += n
			}
			if handled != m.Started || m.Path == "/test.S/Echo" && (m.Started != 3 || m.ReceivedMsgs != 2 || m.SentMsgs != 2) {
				return false
			}
		}
		return h.Stats().Unknown == 0 && len(h.mu.locals) == 0
	})
}

func TestLocalCallsEndWithTheServer(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	h := localDoor(t, func(w http.ResponseWriter, r *http.Request) {
		close(began)
		_, err := whole(r, "/test.S/Forever", "")
		ended <- err
	})
	go func() {
		if res, err := http.Get("http://" + h.addr + "/"); err == nil {
			res.Body.Close()
		}
	}()
	<-began
	eventually(t, "the call runs", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.mu.locals) == 1 })
	within(t, "Close", func() { h.Close() })
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	_, err := Local(httptest.NewRequest("GET", "/", nil), "/test.S/Echo", nil)
	if err == nil || !strings.Contains(fmt.Sprint(err), "not served by") {
		t.Error(err)
	}
}
