package web

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"etcd.alt/api/etcdserverpb"
)

// FuzzRequest feeds the gateway bodies. Whatever it makes of one is a message
// that the services can read, and its JSON means the same again.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "[]", `{"compare":[{"target":"VERSION","key":"Zm9v","version":"1","range_end":"AA=="}]}`,
		`{"success":[{"requestPut":{"key":"Zm9v","value":"_w"}},{"request_txn":{"failure":[{}]}}]} {}`,
		`{"success":[{"request_range":{"limit":-1,"sort_order":2}}],"x":{"y":[1,2,"\ud800"]}}`, `{"compare":`,
	} {
		f.Add([]byte(seed))
	}
	m := methodsByRoute()["/v3/kv/txn"]
	f.Fuzz(func(t *testing.T, body []byte) {
		const limit = 1 << 12
		r := newRequests(m, bytes.NewReader(body), limit)
		b, err := r.next()
		if err != nil {
			return
		}
		txn, again := &etcdserverpb.TxnRequest{}, &etcdserverpb.TxnRequest{}
		if err := txn.UnmarshalVT(b); err != nil {
			t.Fatalf("%q became %x: %v", body, b, err)
		}
		text, err := compact(txn)
		if err != nil {
			t.Fatal(err)
		}
		r = newRequests(m, bytes.NewReader(text), 16*limit)
		if b, err = r.next(); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := again.UnmarshalVT(b); err != nil || !proto.Equal(txn, again) {
			t.Fatalf("%q is %s, and that is %v, %v", body, text, again, err)
		}
	})
}
