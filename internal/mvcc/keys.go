package mvcc

// keys are a node's keys in their order, end to end in one piece of memory: a
// search stays in a few cache lines, and to the collector a node's keys are one
// object without pointers.
type keys struct {
	bytes []byte
	ends  []uint32 // the i-th key ends here
}

func (k *keys) len() int { return len(k.ends) }

// size is the bytes of all keys.
func (k *keys) size() int { return len(k.bytes) }

func (k *keys) begin(i int) uint32 {
	if i == 0 {
		return 0
	}
	return k.ends[i-1]
}

// at is the i-th key. It aliases the node's memory.
func (k *keys) at(i int) string { return view(k.bytes[k.begin(i):k.ends[i]]) }

// find is the place of the first key that is not below key.
func (k *keys) find(key string) int {
	lo, hi := 0, len(k.ends)
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); k.at(m) < key {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// insert puts key at the i-th place.
func (k *keys) insert(i int, key string) {
	at, old, n := int(k.begin(i)), len(k.bytes), uint32(len(key))
	k.bytes = append(k.bytes, key...)
	if at < old {
		copy(k.bytes[at+len(key):], k.bytes[at:old])
		copy(k.bytes[at:], key)
	}
	k.ends = append(k.ends, 0)
	copy(k.ends[i+1:], k.ends[i:])
	k.ends[i] = uint32(at)
	for j := i; j < len(k.ends); j++ {
		k.ends[j] += n
	}
}

// remove takes the i-th key out.
func (k *keys) remove(i int) {
	begin, end := k.begin(i), k.ends[i]
	k.bytes = append(k.bytes[:begin], k.bytes[end:]...)
	k.ends = append(k.ends[:i], k.ends[i+1:]...)
	for j := i; j < len(k.ends); j++ {
		k.ends[j] -= end - begin
	}
}

// cut keeps the first n keys.
func (k *keys) cut(n int) {
	k.bytes = k.bytes[:k.begin(n)]
	k.ends = k.ends[:n]
}

// append adds the keys of o, which are greater.
func (k *keys) append(o *keys) {
	base := uint32(len(k.bytes))
	k.bytes = append(k.bytes, o.bytes...)
	for _, end := range o.ends {
		k.ends = append(k.ends, base+end)
	}
}

// clone copies the keys from the i-th on, with places for most keys and room
// for so many more bytes.
func (k *keys) clone(i, most, room int) keys {
	begin, n := k.begin(i), len(k.ends)-i
	c := keys{bytes: make([]byte, 0, len(k.bytes)-int(begin)+room), ends: make([]uint32, n, max(most, n))}
	c.bytes = append(c.bytes, k.bytes[begin:]...)
	copy(c.ends, k.ends[i:])
	if begin > 0 {
		for x := range c.ends {
			c.ends[x] -= begin
		}
	}
	return c
}
