package main

import (
	"encoding/binary"
	"fmt"
)

const valueBytes = 256

// mix is splitmix64: neighbours in, strangers out, and no two alike.
func mix(i uint64) uint64 {
	i += 0x9e3779b97f4a7c15
	i = (i ^ i>>30) * 0xbf58476d1ce4e5b9
	i = (i ^ i>>27) * 0x94d049bb133111eb
	return i ^ i>>31
}

// key is the i-th of the many keys: 32 bytes, in no order.
func key(i int) []byte { return fmt.Appendf(nil, "%016x%016x", mix(uint64(i)), i) }

// value is what the i-th key holds: bytes that do not compress.
func value(i int) []byte {
	b := make([]byte, 0, valueBytes)
	for w := uint64(0); len(b) < valueBytes; w++ {
		b = binary.LittleEndian.AppendUint64(b, mix(uint64(i)<<8|w))
	}
	return b
}

// pick is the number of the key that the i-th request of a run asks for: of n,
// all alike, the same for every server.
func pick(run, i, n int) int { return int(mix(uint64(run)<<40|uint64(i)) % uint64(n)) }
