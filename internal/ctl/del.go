package ctl

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"etcd.alt/client"
)

// delFlags are the flags of del, which a transaction has too.
type delFlags struct{ prefix, fromKey, prevKV, isRange bool }

func newDelFlags(f *pflag.FlagSet) *delFlags {
	d := &delFlags{}
	f.BoolVar(&d.prefix, "prefix", false, "every key that begins with <key>")
	f.BoolVar(&d.fromKey, "from-key", false, "every key from <key> on")
	f.BoolVar(&d.prevKV, "prev-kv", false, "print what was deleted")
	f.BoolVar(&d.isRange, "range", false, "two arguments are meant as a range: do not pause")
	return d
}

func (d *delFlags) op(args []string) (client.Op, error) {
	if len(args) == 0 || len(args) > 2 {
		return client.Op{}, badArguments("del command needs one argument as key and an optional argument as range_end")
	}
	options, err := rangeOptions(args, d.prefix, d.fromKey)
	if err != nil {
		return client.Op{}, err
	}
	if d.prevKV {
		options = append(options, client.WithPrevKV())
	}
	return client.OpDelete(args[0], options...), nil
}

// second thoughts are possible for so long when two arguments may have been
// meant as two keys.
const secondThoughts = 2 * time.Second

func (t *tool) delCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "del [options] <key> [range_end]",
		Short: "Delete a key, or the keys from <key> up to <range_end>",
	}
	flags := newDelFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		op, err := flags.op(args)
		if err != nil {
			return err
		}
		if len(args) == 2 && !flags.isRange {
			fmt.Fprintf(t.stderr, "Warning: this deletes every key from %q up to %q, not two keys; it begins in %v. With --range there is no pause.\n",
				args[0], args[1], secondThoughts)
			select {
			case <-time.After(secondThoughts):
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			}
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			res, err := c.Do(ctx, op)
			if err != nil {
				return err
			}
			return t.show(t.shownDelete(res.Delete))
		})
	}
	return cmd
}

func (t *tool) shownDelete(r *client.DeleteResponse) shown {
	return shown{
		simple: func(w io.Writer) {
			fmt.Fprintln(w, r.Deleted)
			for _, kv := range r.PrevKvs {
				t.writePair(w, kv)
			}
		},
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			fmt.Fprintf(w, "\"Deleted\" : %d\n", r.Deleted)
			for _, kv := range r.PrevKvs {
				t.fieldPair(w, "Prev", kv)
			}
		},
		json:  func() any { return toJSONDelete(r) },
		proto: r,
	}
}
