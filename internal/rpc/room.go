package rpc

import "slices"

// Replies that are made elsewhere than on the connection's goroutine, on workers or when
// something was waited for, come whether or not the peer takes those before them. Handlers
// whose replies may be large ask for room first; nobody does it for them.

// rooms are the calls that wait for room, and what was promised to others. Guarded by
// Conn.mu.
type rooms struct {
	promised int // bytes of replies that are being made
	waiting  []roomCall
	gone     int // about how many of waiting are over
}

// roomCall is a call that waits.
type roomCall struct {
	call  *Call
	size  int
	ready func()
}

// Room says whether a reply of about size bytes may be made now. Where too much waits for
// the peer, or is being made, it may not, and ready is called when it may. It is called
// under the connection's lock: it may hand something over, and nothing else. It is not
// called for a call that is over by then. The call must have been kept.
func (call *Call) Room(size int, ready func()) bool {
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.mu.rooms
	switch {
	case call.answered, call.closed, c.mu.dead, c.local != nil, call.promised > 0:
		return true
	case len(r.waiting) == 0 && c.roomLocked():
		r.promised += size
		call.promised = size
		return true
	}
	call.waitsForRoom = true
	r.waiting = append(r.waiting, roomCall{call, size, ready})
	return false
}

// madeLocked ends what a call was promised, and is called when it is answered.
func (c *Conn) madeLocked(call *Call) {
	if call.promised > 0 {
		c.mu.rooms.promised -= call.promised
		call.promised = 0
		c.giveRoomLocked()
	}
}

// leaveRoomsLocked is for a call that is over.
func (c *Conn) leaveRoomsLocked(call *Call) {
	r := &c.mu.rooms
	if call.waitsForRoom {
		call.waitsForRoom = false
		if r.gone++; r.gone > max(fewGone, len(r.waiting)/2) {
			r.waiting = slices.DeleteFunc(r.waiting, func(one roomCall) bool { return one.call.closed })
			r.gone = 0
		}
	}
	c.madeLocked(call)
	c.giveRoomLocked()
}

// giveRoomLocked has those who wait make their replies, as far as there is room.
func (c *Conn) giveRoomLocked() {
	r := &c.mu.rooms
	for len(r.waiting) > 0 && c.roomLocked() && !c.mu.dead {
		one := r.waiting[0]
		r.waiting[0] = roomCall{}
		r.waiting = r.waiting[1:]
		if one.call.answered || one.call.closed {
			r.gone = max(r.gone-1, 0)
			continue
		}
		r.promised += one.size
		one.call.promised, one.call.waitsForRoom = one.size, false
		one.ready()
	}
}
