package rpc

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// A call's deadline may end while its inline handler runs. The connection's timer
// reads the mark then, and the handler is only about to set it: for -race.
func TestAMarkIsSetWhileTheCallEnds(t *testing.T) {
	ended := make(chan struct{}, 1)
	h := start(t, func(o *Options) {
		o.Ended = func(string, any, codes.Code) {
			select {
			case ended <- struct{}{}:
			default:
			}
		}
		o.Methods = append(o.Methods, Method{Path: "/test.S/Marked", Inline: func(c *Call) {
			for range 200 { // as beginAudit at once, and know a little later
				time.Sleep(time.Millisecond)
				c.SetMark("mark")
			}
			c.Fail(codes.OutOfRange, "late")
		}})
	})
	p := rawDial(t, h)
	p.headers(1, "Marked", false, "grpc-timeout", "50m")
	p.data(1, message("x"), true)
	p.push()
	p.wantStatus(1, "4")
}
