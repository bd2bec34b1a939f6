package member

import (
	"cmp"
	"crypto/sha1"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// ID is the id of a member: the first eight bytes of the SHA-1 of its sorted peer
// URLs and a salt, which is the cluster's token for the members that are there
// from its beginning, and the time of the request (LaterSalt) for others.
func ID(peerURLs []string, salt string) uint64 {
	urls := slices.Clone(peerURLs)
	slices.Sort(urls)
	sum := sha1.Sum([]byte(strings.Join(urls, "") + salt))
	return binary.BigEndian.Uint64(sum[:8])
}

// LaterSalt is the salt of a member that is added at a time, in seconds since
// 1970.
func LaterSalt(unix int64) string { return strconv.FormatInt(unix, 10) }

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
