package conformance

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"etcd.alt/api/errs"
	"etcd.alt/client"
)

// TestBothClientsInOneBinary links the official client and ours, and has each
// read what the other wrote. Two files that register one name would end the
// program before it begins.
func TestBothClientsInOneBinary(t *testing.T) {
	m := start(t)
	theirs := connect(t, m)
	ours, err := client.New(within(t), client.Config{Endpoints: []string{m.URL()}})
	require.NoError(t, err)
	t.Cleanup(func() { ours.Close() })

	for _, name := range []protoreflect.FullName{"etcdserverpb.PutRequest", "etcd.v3.server.PutRequest"} {
		_, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		require.NoError(t, err, "%s is linked", name)
	}

	written, err := theirs.Put(within(t), "k", "theirs")
	require.NoError(t, err)
	read, err := ours.Get(within(t), "k")
	require.NoError(t, err)
	require.Equal(t, "theirs", string(read.Kvs[0].Value))
	require.Equal(t, written.Header.Revision, read.Header.Revision)
	require.Equal(t, written.Header.MemberId, read.Header.MemberId)

	res, err := ours.Txn().
		If(client.Compare(client.ModRevision("k"), "=", written.Header.Revision)).
		Then(client.OpPut("k", "ours", client.WithPrevKV())).
		Commit(within(t))
	require.NoError(t, err)
	require.True(t, res.Succeeded)
	require.Equal(t, "ours", string(get(t, theirs, "k").Kvs[0].Value))

	// One refusal, told alike by both.
	_, theirErr := theirs.Get(within(t), "k", clientv3.WithRev(1000))
	require.ErrorIs(t, theirErr, rpctypes.ErrFutureRev)
	_, ourErr := ours.Get(within(t), "k", client.WithRev(1000))
	require.True(t, errors.Is(ourErr, errs.FutureRev))
	require.Equal(t, theirErr.Error(), ourErr.Error())

	theirHash, err := theirs.HashKV(within(t), m.URL(), 0)
	require.NoError(t, err)
	ourHash, err := ours.HashKV(within(t), m.URL(), 0)
	require.NoError(t, err)
	require.Equal(t, theirHash.Hash, ourHash.Hash)
}
