package etcdserverpb

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

// The data of entries recorded from members of upstream 3.7, one of each kind,
// decode and encode again to the same bytes.
func TestRecordedEntries(t *testing.T) {
	text, err := os.ReadFile("testdata/recorded-entries.json")
	require.NoError(t, err)
	var recorded map[string]struct {
		Type string `json:"entry_type"`
		Data string `json:"data_hex"`
	}
	require.NoError(t, json.Unmarshal(text, &recorded))
	require.NotEmpty(t, recorded)
	kinds := 0
	for name, e := range recorded {
		data, err := hex.DecodeString(e.Data)
		require.NoError(t, err)
		if e.Type != "EntryNormal" || len(data) == 0 {
			continue
		}
		kinds++
		for _, decode := range []func(*InternalRaftRequest, []byte) error{(*InternalRaftRequest).UnmarshalVT, (*InternalRaftRequest).UnmarshalVTUnsafe} {
			r := &InternalRaftRequest{}
			require.NoError(t, decode(r, data), name)
			require.Empty(t, r.ProtoReflect().GetUnknown(), name)
			require.NotZero(t, r.Header.GetID(), name)
			again, err := r.MarshalVT()
			require.NoError(t, err)
			require.Equal(t, data, again, name)
			slow, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
			require.NoError(t, err)
			require.Equal(t, data, slow, name)
		}
	}
	require.Greater(t, kinds, 20)
}
