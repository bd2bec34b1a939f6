package client

import (
	"errors"
	"fmt"

	"etcd.alt/api/etcdserverpb"
)

// Cmp is a condition of a transaction. Compare makes it from what is compared.
type Cmp struct {
	message *etcdserverpb.Compare
	err     error
}

func target(key string, t etcdserverpb.Compare_CompareTarget) Cmp {
	return Cmp{message: &etcdserverpb.Compare{Key: []byte(key), Target: t}}
}

// Value is the value of a key. Of a key that is not there, no comparison holds.
func Value(key string) Cmp { return target(key, etcdserverpb.Compare_VALUE) }

// Version is the number of puts since the key was created, 0 if it is not
// there.
func Version(key string) Cmp { return target(key, etcdserverpb.Compare_VERSION) }

// CreateRevision is the revision that created the key, 0 if it is not there.
func CreateRevision(key string) Cmp { return target(key, etcdserverpb.Compare_CREATE) }

// ModRevision is the revision that last wrote the key, 0 if it is not there.
func ModRevision(key string) Cmp { return target(key, etcdserverpb.Compare_MOD) }

// LeaseValue is the lease that the key is attached to, 0 for none.
func LeaseValue(key string) Cmp { return target(key, etcdserverpb.Compare_LEASE) }

// Compare completes a condition. op is one of "=", "!=", "<" and ">". v is a
// string or []byte for Value, an int, int64 or LeaseID for the others.
func Compare(c Cmp, op string, v any) Cmp {
	if c.message == nil {
		return c
	}
	m := &etcdserverpb.Compare{Key: c.message.Key, RangeEnd: c.message.RangeEnd, Target: c.message.Target}
	c = Cmp{message: m, err: c.err}
	switch op {
	case "=":
		m.Result = etcdserverpb.Compare_EQUAL
	case "!=":
		m.Result = etcdserverpb.Compare_NOT_EQUAL
	case "<":
		m.Result = etcdserverpb.Compare_LESS
	case ">":
		m.Result = etcdserverpb.Compare_GREATER
	default:
		c.err = fmt.Errorf("client: Compare: operator %q is none of =, !=, <, >", op)
	}
	if m.Target == etcdserverpb.Compare_VALUE {
		switch v := v.(type) {
		case string:
			m.TargetUnion = &etcdserverpb.Compare_Value{Value: []byte(v)}
		case []byte:
			m.TargetUnion = &etcdserverpb.Compare_Value{Value: v}
		default:
			c.err = fmt.Errorf("client: Compare: a value cannot be compared with a %T", v)
		}
		return c
	}
	var n int64
	switch v := v.(type) {
	case int:
		n = int64(v)
	case int64:
		n = v
	case LeaseID:
		n = int64(v)
	default:
		c.err = fmt.Errorf("client: Compare: a number cannot be compared with a %T", v)
	}
	switch m.Target {
	case etcdserverpb.Compare_VERSION:
		m.TargetUnion = &etcdserverpb.Compare_Version{Version: n}
	case etcdserverpb.Compare_CREATE:
		m.TargetUnion = &etcdserverpb.Compare_CreateRevision{CreateRevision: n}
	case etcdserverpb.Compare_MOD:
		m.TargetUnion = &etcdserverpb.Compare_ModRevision{ModRevision: n}
	case etcdserverpb.Compare_LEASE:
		m.TargetUnion = &etcdserverpb.Compare_Lease{Lease: n}
	}
	return c
}

// check is what is wrong with c.
func (c Cmp) check() error {
	if c.err == nil && c.message.GetTargetUnion() == nil {
		return errors.New("client: a condition of a transaction was not made by Compare")
	}
	return c.err
}

// WithRange has the condition hold for each key up to end, which is not among
// them.
func (c Cmp) WithRange(end string) Cmp {
	if c.message == nil {
		return c
	}
	m := c.message
	return Cmp{message: &etcdserverpb.Compare{Key: m.Key, RangeEnd: []byte(end), Target: m.Target, Result: m.Result, TargetUnion: m.TargetUnion}, err: c.err}
}

// WithPrefix has the condition hold for each key that begins with the key; for
// every key there is if that is empty.
func (c Cmp) WithPrefix() Cmp {
	if c.message == nil {
		return c
	}
	end := string(prefixEnd(c.message.Key))
	if c = c.WithRange(end); len(c.message.Key) == 0 {
		c.message.Key = []byte{0}
	}
	return c
}
