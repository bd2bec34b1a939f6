// Command outside is the official client as a client of a run with faults: it
// does what the harness asks for (package etcd.alt/test/fault/outside).
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/test/fault/history"
	"etcd.alt/test/fault/outside"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "outside:", err)
		os.Exit(1)
	}
}

// run answers requests until there are no more.
func run(lists []string, in io.Reader, out io.Writer) error {
	var clients []*clientv3.Client
	for _, list := range lists {
		c, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(list, ","), DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		defer c.Close()
		clients = append(clients, c)
	}
	var answering sync.WaitGroup
	defer answering.Wait()
	lasting, end := context.WithCancel(context.Background())
	defer end()
	stops := map[int64]context.CancelFunc{} // of watches and contests
	replies := writer{out: json.NewEncoder(out)}
	lines := json.NewDecoder(bufio.NewReader(in))
	for {
		r := &outside.Request{}
		switch err := lines.Decode(r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case r.To < 0 || r.To >= len(clients):
			return fmt.Errorf("request %d is for the list %d, of %d", r.ID, r.To, len(clients))
		}
		switch {
		case r.Stop:
			if stop := stops[r.ID]; stop != nil {
				stop()
				delete(stops, r.ID)
			}
		case r.Watch != 0:
			ctx, stop := context.WithCancel(lasting)
			stops[r.ID] = stop
			answering.Go(func() { follow(ctx, clients[r.To], r, &replies) })
		case r.Contest != nil:
			ctx, stop := context.WithCancel(lasting)
			stops[r.ID] = stop
			tell := func(t outside.Turn) { replies.write(&outside.Reply{ID: r.ID, Turn: &t}) }
			answering.Go(func() { contend(ctx, clients[r.To], r.Contest, tell) })
		default:
			answering.Go(func() { replies.write(answer(clients[r.To], r)) })
		}
	}
}

// writer writes replies one at a time.
type writer struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (w *writer) write(r *outside.Reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.out.Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "outside:", err)
	}
}

// follow tells what all keys go through, until ctx ends.
func follow(ctx context.Context, c *clientv3.Client, r *outside.Request, replies *writer) {
	for res := range c.Watch(ctx, "", clientv3.WithFromKey(), clientv3.WithRev(r.Watch), clientv3.WithPrevKV()) {
		reply := &outside.Reply{ID: r.ID}
		if err := res.Err(); err != nil {
			reply.Code, reply.Text = statusOf(err)
		}
		for _, e := range res.Events {
			one := outside.Event{Revision: e.Kv.ModRevision, Created: e.Kv.CreateRevision, Change: history.Change{Key: string(e.Kv.Key), Value: string(e.Kv.Value), Deleted: e.Type == clientv3.EventTypeDelete}}
			if e.PrevKv != nil {
				one.Had, one.Before = true, string(e.PrevKv.Value)
			}
			reply.Events = append(reply.Events, one)
		}
		replies.write(reply)
	}
}

func answer(c *clientv3.Client, r *outside.Request) *outside.Reply {
	ctx, cancel := context.WithTimeout(context.Background(), r.Patience)
	defer cancel()
	reply := &outside.Reply{ID: r.ID, Op: r.Op, Lease: r.Lease}
	var err error
	if r.Lease != nil {
		err = askLease(ctx, c, reply.Lease)
	} else {
		err = ask(ctx, c, r, &reply.Op)
	}
	if err != nil {
		reply.Code, reply.Text = statusOf(err)
	}
	return reply
}

// statusOf is the status that an error of the official client stands for.
func statusOf(err error) (code int, text string) {
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		return int(known.Code()), known.Error()
	}
	if s, ok := status.FromError(err); ok {
		return int(s.Code()), s.Message()
	}
	return int(codes.Unknown), err.Error()
}

// ask does what r asks for, and takes down the answer in o.
func ask(ctx context.Context, c *clientv3.Client, r *outside.Request, o *history.Op) error {
	switch o.Kind {
	case history.Put:
		res, err := c.Put(ctx, o.Key, r.Value, clientv3.WithPrevKV())
		if err != nil {
			return err
		}
		o.Revision, o.Member = res.Header.Revision, res.Header.MemberId
		if res.PrevKv != nil {
			o.Found = kvs(res.PrevKv)
		}
	case history.Delete:
		res, err := c.Delete(ctx, o.Key, clientv3.WithPrevKV())
		if err != nil {
			return err
		}
		o.Revision, o.Member, o.Succeeded, o.Found = res.Header.Revision, res.Header.MemberId, res.Deleted > 0, kvs(res.PrevKvs...)
	case history.Swap:
		res, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(o.Key), "=", o.Expected)).
			Then(clientv3.OpPut(o.Key, o.Value)).Else(clientv3.OpGet(o.Key)).Commit()
		if err != nil {
			return err
		}
		o.Revision, o.Member, o.Succeeded = res.Header.Revision, res.Header.MemberId, res.Succeeded
		if !res.Succeeded {
			o.Found = kvs(res.Responses[0].GetResponseRange().Kvs...)
		}
	default:
		var options []clientv3.OpOption
		if o.Prefix {
			options = append(options, clientv3.WithPrefix())
		}
		if o.Kind == history.Stale {
			options = append(options, clientv3.WithSerializable())
		}
		res, err := c.Get(ctx, o.Key, options...)
		if err != nil {
			return err
		}
		o.Revision, o.Member, o.Found = res.Header.Revision, res.Header.MemberId, kvs(res.Kvs...)
	}
	return nil
}

func kvs(all ...*mvccpb.KeyValue) []history.KV {
	var out []history.KV
	for _, kv := range all {
		out = append(out, history.KV{Key: string(kv.Key), Value: string(kv.Value), Create: kv.CreateRevision, Mod: kv.ModRevision, Version: kv.Version})
	}
	return out
}
