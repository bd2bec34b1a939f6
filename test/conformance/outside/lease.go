package main

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcd.alt/test/fault/outside"
)

// askLease does what l asks for, and takes down the answer in it.
func askLease(ctx context.Context, c *clientv3.Client, l *outside.Lease) error {
	switch l.Call {
	case outside.Grant:
		res, err := c.Grant(ctx, l.TTL)
		if err != nil {
			return err
		}
		l.ID, l.TTL = int64(res.ID), res.TTL
	case outside.Attach:
		_, err := c.Put(ctx, l.Key, "", clientv3.WithLease(clientv3.LeaseID(l.ID)))
		return err
	default:
		res, err := c.KeepAliveOnce(ctx, clientv3.LeaseID(l.ID))
		if err != nil {
			return err
		}
		l.TTL = res.TTL
	}
	return nil
}
