package ctl

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/client"
)

// txnText is a transaction as it was read.
type txnText struct {
	compares         []client.Cmp
	success, failure []txnOp
}

// txnOp is an operation and how its answer is shown.
type txnOp struct {
	op         client.Op
	valuesOnly bool
}

func (t *tool) txnCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "txn [options]",
		Short: "Run a transaction that is read from stdin",
		Long: `Run a transaction that is read from stdin.

It has three parts, each of which ends with an empty line: comparisons, one a
line, that must all hold; the operations that are run if they do; and those that
are run if they do not.

  mod("key1") > "0"
  value("key2") = "overwrite-me"

  put key1 "created when absent"
  get key2 --print-value-only

  del key1 --prefix

Compared are value, version, create and mod (the revisions), and lease (in
hexadecimal), with =, !=, < or >. Operations are written as the commands get,
put and del.`,
		Args: cobra.NoArgs,
	}
	interactive := cmd.Flags().BoolP("interactive", "i", false, "ask for the three parts")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		text, err := t.readTxn(*interactive)
		if err != nil {
			return err
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			res, err := c.Txn().If(text.compares...).Then(ops(text.success)...).Else(ops(text.failure)...).Commit(ctx)
			if err != nil {
				return err
			}
			return t.show(t.shownTxn(res, text))
		})
	}
	return cmd
}

func ops(list []txnOp) []client.Op {
	var all []client.Op
	for _, o := range list {
		all = append(all, o.op)
	}
	return all
}

// writtenLonger is how much longer the text of a transaction may be than its
// request: a byte may be written as \x00, and flags take no room there.
const writtenLonger = 8

// readTxn reads the three parts of a transaction.
func (t *tool) readTxn(interactive bool) (*txnText, error) {
	text := &txnText{}
	left := writtenLonger * t.requestLimit()
	ask := func(what string) {
		if interactive {
			fmt.Fprintln(t.stdout, what)
		}
	}
	ask("compares:")
	err := t.readPart(&left, func(line string) error {
		c, err := parseCompare(line)
		text.compares = append(text.compares, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	ask("success requests (get, put, del):")
	if text.success, err = t.readOps(&left); err != nil {
		return nil, err
	}
	ask("failure requests (get, put, del):")
	if text.failure, err = t.readOps(&left); err != nil {
		return nil, err
	}
	return text, nil
}

func (t *tool) readOps(left *int) ([]txnOp, error) {
	var all []txnOp
	err := t.readPart(left, func(line string) error {
		o, err := parseTxnOp(line)
		all = append(all, o)
		return err
	})
	return all, err
}

// readPart reads lines up to an empty one, of at most *left bytes.
func (t *tool) readPart(left *int, take func(line string) error) error {
	for {
		line, err := t.readLine(*left)
		if err != nil {
			return &failure{exitInput, err}
		}
		*left -= len(line) + 1
		line = strings.TrimSpace(line)
		if line == "" {
			return nil
		}
		if err := take(line); err != nil {
			return err
		}
	}
}

// parseTxnOp reads an operation, which is written as a command.
func parseTxnOp(line string) (txnOp, error) {
	args, err := splitArguments(line)
	if err != nil {
		return txnOp{}, badInput("invalid txn request: %s (%w)", line, err)
	}
	flags := pflag.NewFlagSet(args[0], pflag.ContinueOnError)
	flags.Usage = func() {}
	parse := func() error {
		if err := flags.Parse(args[1:]); err != nil {
			return badInput("invalid txn request: %s (%w)", line, err)
		}
		return nil
	}
	var o txnOp
	switch args[0] {
	case "get":
		get := newGetFlags(flags)
		if err := parse(); err != nil {
			return o, err
		}
		key, options, err := get.request(flags.Args())
		if err != nil {
			return o, err
		}
		o = txnOp{client.OpGet(key, options...), get.valOnly}
	case "put":
		put := newPutFlags(flags)
		if err := parse(); err != nil {
			return o, err
		}
		if o.op, err = put.op(flags.Args(), nil); err != nil {
			return o, err
		}
	case "del":
		del := newDelFlags(flags)
		if err := parse(); err != nil {
			return o, err
		}
		if o.op, err = del.op(flags.Args()); err != nil {
			return o, err
		}
	default:
		return o, badInput("invalid txn request: %s", line)
	}
	return o, nil
}

// shownTxn shows each answer as its own command would.
func (t *tool) shownTxn(r *client.TxnResponse, text *txnText) shown {
	list := text.failure
	if r.Succeeded {
		list = text.success
	}
	inner := func(i int) shown {
		switch v := r.Responses[i].Response.(type) {
		case *etcdserverpb.ResponseOp_ResponseRange:
			return t.shownGet(v.ResponseRange, i < len(list) && list[i].valuesOnly)
		case *etcdserverpb.ResponseOp_ResponsePut:
			return t.shownPut(v.ResponsePut)
		case *etcdserverpb.ResponseOp_ResponseDeleteRange:
			return t.shownDelete(v.ResponseDeleteRange)
		}
		nothing := func(io.Writer) {}
		return shown{simple: nothing, fields: nothing}
	}
	return shown{
		simple: func(w io.Writer) {
			if r.Succeeded {
				fmt.Fprintln(w, "SUCCESS")
			} else {
				fmt.Fprintln(w, "FAILURE")
			}
			for i := range r.Responses {
				fmt.Fprintln(w)
				inner(i).simple(w)
			}
		},
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			fmt.Fprintf(w, "\"Succeeded\" : %v\n", r.Succeeded)
			for i := range r.Responses {
				inner(i).fields(w)
			}
		},
		json:  func() any { return toJSONTxn(r) },
		proto: r,
	}
}
