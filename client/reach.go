package client

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// Reach returns when a connection to one of the endpoints stands. Where none does within
// DialTimeout, or until ctx ends, the error names the endpoints, and the reason if one is
// known. It is for whoever begins what has no end of its own, such as a watch: that waits
// for a connection for ever.
func (c *Client) Reach(ctx context.Context) error {
	timed, cancel := context.WithTimeout(ctx, c.config.DialTimeout)
	defer cancel()
	for {
		state := c.conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.Shutdown:
			return ErrClosed
		case connectivity.Idle:
			c.conn.Connect()
		}
		if c.conn.WaitForStateChange(timed, state) {
			continue
		}
		text := "no connection to " + strings.Join(c.config.Endpoints, ", ")
		if reason := c.refusal(); reason != "" {
			text += ": " + reason
		}
		if err := ctx.Err(); err != nil {
			return &ended{err, text}
		}
		return fmt.Errorf("client: within %v %s", c.config.DialTimeout, text)
	}
}

// refusalPatience is how long gRPC may take to say why no connection stands, which it
// knows.
const refusalPatience = 100 * time.Millisecond

// refusal is why the last attempt to connect has failed; "" if none has.
func (c *Client) refusal() string {
	if c.conn.GetState() != connectivity.TransientFailure {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), refusalPatience)
	defer cancel()
	// A stream that does not wait for a connection fails with the reason, and nothing is
	// sent.
	_, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, methodWatch.path, grpc.WaitForReady(false))
	if err == nil || ctx.Err() != nil {
		return ""
	}
	return status.Convert(err).Message()
}
