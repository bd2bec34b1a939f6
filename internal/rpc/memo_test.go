package rpc

import (
	"testing"

	"google.golang.org/grpc/codes"
)

// What is left with a header block comes back with the calls of the connection that
// have the very same one, and with no other.
func TestAMemoIsOfOneBlock(t *testing.T) {
	h := start(t, func(o *Options) {
		o.Methods = append(o.Methods, Method{Path: "/test.S/Memo", Inline: func(c *Call) {
			had, _ := c.Memo().(string)
			who, _ := c.Metadata("who")
			c.SetMemo(who)
			c.Fail(codes.OutOfRange, "had:"+had)
		}})
	})
	p := rawDial(t, h)
	id := uint32(1)
	ask := func(p *rawPeer, want string, extra ...string) {
		t.Helper()
		p.headers(id, "Memo", false, extra...)
		p.data(id, message("x"), true)
		p.push()
		if got := p.wantStatus(id, "11").fields["grpc-message"]; got != want {
			t.Fatalf("%q instead of %q", got, want)
		}
		id += 2
	}
	// The first block puts its fields into HPACK's table and is not remembered; the
	// second is all indices.
	for _, who := range []string{"alice", "bob"} {
		ask(p, "had:", "who", who)
		ask(p, "had:", "who", who)
		ask(p, "had:"+who, "who", who)
	}
	ask(p, "had:", "who", "alice") // the table had changed since
	ask(p, "had:alice", "who", "alice")
	ask(p, "had:bob", "who", "bob")
	ask(p, "had:alice", "who", "alice")
	ask(rawDial(t, h), "had:", "who", "alice")
}
