package client

import (
	"context"
	"errors"
)

// Txn builds a transaction:
//
//	res, err := c.Txn().
//		If(client.Compare(client.Version("k"), "=", 0)).
//		Then(client.OpPut("k", "v")).
//		Else(client.OpGet("k")).
//		Commit(ctx)
//
// Each part may be left out, and given once, in this order. What is wrong with
// it is said by Commit.
type Txn struct {
	client *Client
	op     Op
	parts  int // how many of If, Then, Else can no longer be given
	err    error
}

// Txn begins a transaction.
func (c *Client) Txn() *Txn { return &Txn{client: c, op: Op{kind: kindTxn}} }

// If sets what must hold for Then to run; nothing always holds.
func (t *Txn) If(compares ...Cmp) *Txn {
	t.part(1, "If")
	t.op.compares = append(t.op.compares, compares...)
	return t
}

// Then sets what runs if all of If holds.
func (t *Txn) Then(ops ...Op) *Txn {
	t.part(2, "Then")
	t.op.success = append(t.op.success, ops...)
	return t
}

// Else sets what runs otherwise.
func (t *Txn) Else(ops ...Op) *Txn {
	t.part(3, "Else")
	t.op.failure = append(t.op.failure, ops...)
	return t
}

func (t *Txn) part(n int, name string) {
	if t.parts >= n && t.err == nil {
		t.err = errors.New("client: " + name + " is given twice or too late in a transaction")
	}
	t.parts = max(t.parts, n)
}

// Commit runs the transaction.
func (t *Txn) Commit(ctx context.Context) (*TxnResponse, error) {
	if t.err != nil {
		return nil, t.err
	}
	res, err := t.client.Do(ctx, t.op)
	return res.Txn, err
}
