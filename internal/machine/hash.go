package machine

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"

	"etcd.alt/internal/lease"
)

// Hash is the hash of all that is replicated, as members that are equal have it:
// CRC-32C over the keyspace as mvcc.View.Hash has it, the members, the alarms,
// the cluster's version and the leases. It says nothing across implementations. Errors: those of
// mvcc.View.Hash.
func (v *View) Hash() (uint32, error) {
	keys, err := v.Keys.Hash(0)
	if err != nil {
		return 0, err
	}
	b := binary.BigEndian.AppendUint32(nil, keys.Hash)
	b = binary.BigEndian.AppendUint64(b, uint64(keys.Revision))
	for _, m := range v.Members.Members {
		one, err := json.Marshal(m)
		if err != nil {
			return 0, err
		}
		b = append(b, one...)
	}
	for _, a := range v.Members.Alarms {
		b = binary.BigEndian.AppendUint64(b, a.MemberID)
		b = binary.BigEndian.AppendUint32(b, uint32(a.Type))
	}
	b = append(b, v.Members.Version...)
	v.Leases.Each(func(l lease.Lease) bool {
		b = binary.BigEndian.AppendUint64(b, uint64(l.ID))
		b = binary.BigEndian.AppendUint64(b, uint64(l.TTL))
		b = binary.BigEndian.AppendUint64(b, uint64(l.Remaining))
		return true
	})
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), nil
}
