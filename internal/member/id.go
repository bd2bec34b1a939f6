package member

import (
	"cmp"
	"crypto/sha1"
	"encoding/binary"
	"slices"
	"strings"
)

// ID is the id of a member that is there from the cluster's beginning: the
// first eight bytes of the SHA-1 of its sorted peer URLs and the cluster's
// token.
func ID(peerURLs []string, token string) uint64 {
	urls := slices.Clone(peerURLs)
	slices.Sort(urls)
	sum := sha1.Sum([]byte(strings.Join(urls, "") + token))
	return binary.BigEndian.Uint64(sum[:8])
}

// ClusterID is the id of a cluster that begins with the members of these ids.
func ClusterID(ids []uint64) uint64 {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b uint64) int { return cmp.Compare(a, b) })
	var b []byte
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	sum := sha1.Sum(b)
	return binary.BigEndian.Uint64(sum[:8])
}
