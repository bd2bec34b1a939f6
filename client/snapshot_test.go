package client

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"etcd.alt/api/etcdserverpb"
)

// snapshots sends blobs, and then fails with failure if that is not nil.
func snapshots(blobs [][]byte, failure error) func(*received) error {
	return func(c *received) error {
		c.request(&etcdserverpb.SnapshotRequest{})
		for _, b := range blobs {
			if err := c.stream.SendMsg(&etcdserverpb.SnapshotResponse{Blob: b, Version: "3.7.0"}); err != nil {
				return err
			}
		}
		return failure
	}
}

func TestASnapshotIsReadAndChecked(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 7000)
	sum := sha256.Sum256(data)
	whole := append(bytes.Clone(data), sum[:]...)
	for name, tc := range map[string]struct {
		blobs   [][]byte
		failure error
		want    string
	}{
		"as servers send it":   {blobs: [][]byte{data[:32768], data[32768:65536], data[65536:], sum[:]}},
		"cut anywhere":         {blobs: [][]byte{whole[:10], whole[10:69990], whole[69990:]}},
		"in one piece":         {blobs: [][]byte{whole}},
		"without its hash":     {blobs: [][]byte{data}, want: "damaged or cut short"},
		"cut short":            {blobs: [][]byte{data[:100], sum[:]}, want: "damaged or cut short"},
		"damaged":              {blobs: [][]byte{bytes.ToUpper(append([]byte("x"), data...)), sum[:]}, want: "damaged or cut short"},
		"shorter than a hash":  {blobs: [][]byte{{1}}, want: "damaged or cut short"},
		"given up on the way":  {blobs: [][]byte{data}, failure: answer(codes.Internal, "disk"), want: "disk"},
		"given up at once":     {failure: answer(codes.Internal, "disk"), want: "disk"},
		"without any messages": {want: "the snapshot is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, snapshots(tc.blobs, tc.failure))
			c := connectTo(t, Config{Endpoints: []string{f.address}})
			s, err := c.Snapshot(within(t, 10*time.Second))
			var got []byte
			if err == nil {
				defer s.Close()
				require.Equal(t, "3.7.0", s.Version)
				got, err = io.ReadAll(s)
			}
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, whole, got)
		})
	}
}
