package ctl

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"etcd.alt/client"
)

// putFlags are the flags of put, which a transaction has too.
type putFlags struct {
	lease                            string
	prevKV, ignoreValue, ignoreLease bool
}

func newPutFlags(f *pflag.FlagSet) *putFlags {
	p := &putFlags{}
	f.StringVar(&p.lease, "lease", "0", "lease to attach the key to, in hexadecimal")
	f.BoolVar(&p.prevKV, "prev-kv", false, "print what was there before")
	f.BoolVar(&p.ignoreValue, "ignore-value", false, "keep the value that the key has")
	f.BoolVar(&p.ignoreLease, "ignore-lease", false, "keep the lease that the key has")
	return p
}

// op is the put that args and the flags describe. A value that is not there is
// read from stdin, unless that is nil.
func (p *putFlags) op(args []string, stdin func() (string, error)) (client.Op, error) {
	missing := badArguments("put command needs 1 argument and input from stdin or 2 arguments")
	if len(args) == 0 {
		return client.Op{}, missing
	}
	lease, err := strconv.ParseInt(p.lease, 16, 64)
	if err != nil {
		return client.Op{}, badArguments("bad lease ID (%w), expecting ID in Hex", err)
	}
	value := ""
	switch {
	case p.ignoreValue && len(args) > 1:
		return client.Op{}, badArguments("put command needs only 1 argument when 'ignore-value' is set")
	case p.ignoreValue:
	case len(args) > 1:
		value = args[1]
	case stdin == nil:
		return client.Op{}, missing
	default:
		if value, err = stdin(); err != nil {
			return client.Op{}, err
		}
		if value == "" {
			return client.Op{}, missing
		}
	}
	var options []client.OpOption
	if lease != 0 {
		options = append(options, client.WithLease(client.LeaseID(lease)))
	}
	if p.prevKV {
		options = append(options, client.WithPrevKV())
	}
	if p.ignoreValue {
		options = append(options, client.WithIgnoreValue())
	}
	if p.ignoreLease {
		options = append(options, client.WithIgnoreLease())
	}
	return client.OpPut(args[0], value, options...), nil
}

// readValue reads all of stdin, no more than a request may have.
func (t *tool) readValue() (string, error) {
	limit := t.requestLimit()
	value, err := io.ReadAll(io.LimitReader(t.stdin, int64(limit)+1))
	if err != nil {
		return "", badInput("read the value from stdin: %w", err)
	}
	if len(value) > limit {
		return "", badInput("the value on stdin is larger than %d bytes (--max-request-bytes)", limit)
	}
	return string(value), nil
}

func (t *tool) putCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "put [options] <key> <value>",
		Short: "Put a key",
		Long: `Put a key.

A value that is not given is read from stdin as it is, up to its end. A key or
value that begins with - must stand behind --.`,
	}
	flags := newPutFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		op, err := flags.op(args, t.readValue)
		if err != nil {
			return err
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			res, err := c.Do(ctx, op)
			if err != nil {
				return err
			}
			return t.show(t.shownPut(res.Put))
		})
	}
	return cmd
}

func (t *tool) shownPut(r *client.PutResponse) shown {
	return shown{
		simple: func(w io.Writer) {
			fmt.Fprintln(w, "OK")
			if r.PrevKv != nil {
				t.writePair(w, r.PrevKv)
			}
		},
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			if r.PrevKv != nil {
				t.fieldPair(w, "Prev", r.PrevKv)
			}
		},
		json:  func() any { return toJSONPut(r) },
		proto: r,
	}
}
