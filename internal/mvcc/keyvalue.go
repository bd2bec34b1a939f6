package mvcc

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of a KeyValue message.
const (
	fieldKey     protowire.Number = 1
	fieldCreate  protowire.Number = 2
	fieldMod     protowire.Number = 3
	fieldVersion protowire.Number = 4
	fieldValue   protowire.Number = 5
	fieldLease   protowire.Number = 6
)

// appendKeyValue appends the canonical encoding of a KeyValue: fields
// ascending, zero fields left out. Members hash these bytes, so there is one
// way to write them.
func appendKeyValue[K, V ~string | ~[]byte](b []byte, key K, create, mod, count int64, value V, lease int64) []byte {
	if len(key) > 0 {
		b = protowire.AppendTag(b, fieldKey, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(len(key)))
		b = append(b, key...)
	}
	b = appendInt(b, fieldCreate, create)
	b = appendInt(b, fieldMod, mod)
	b = appendInt(b, fieldVersion, count)
	if len(value) > 0 {
		b = protowire.AppendTag(b, fieldValue, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(len(value)))
		b = append(b, value...)
	}
	return appendInt(b, fieldLease, lease)
}

func appendInt(b []byte, f protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, f, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v))
}

// maxKeyValueOverhead is the most that the encoding adds to key and value.
const maxKeyValueOverhead = 2*(1+5) + 4*(1+10)

// keyValue is a decoded record. Its slices alias the record.
type keyValue struct {
	key, value                []byte
	create, mod, count, lease int64
}

var errRecord = errors.New("mvcc: record is no KeyValue")

func decodeKeyValue(b []byte) (kv keyValue, err error) {
	for len(b) > 0 {
		f, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return kv, errRecord
		}
		b = b[n:]
		switch typ {
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return kv, errRecord
			}
			b = b[n:]
			switch f {
			case fieldKey:
				kv.key = v
			case fieldValue:
				kv.value = v
			}
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return kv, errRecord
			}
			b = b[n:]
			switch f {
			case fieldCreate:
				kv.create = int64(v)
			case fieldMod:
				kv.mod = int64(v)
			case fieldVersion:
				kv.count = int64(v)
			case fieldLease:
				kv.lease = int64(v)
			}
		default:
			return kv, errRecord
		}
	}
	return kv, nil
}

// Value is the value inside a record that a View or an Update gave out. It
// aliases the record.
func Value(record []byte) []byte {
	kv, _ := decodeKeyValue(record)
	return kv.value
}
