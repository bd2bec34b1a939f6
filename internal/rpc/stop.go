package rpc

// Ready says whether Recv would return at once.
func (s *Stream) Ready() bool {
	call := s.call
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(call.inbox) > 0 || call.inboxEnd != nil || call.stopped || call.answered || call.closed
}

// StopRecv has Recv return io.EOF from now on, where it waits too; what has come
// and was not taken is dropped. So a handler can be told to end by others.
func (s *Stream) StopRecv() {
	call := s.call
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(call.inbox) > 0 {
		call.popLocked()
	}
	call.stopped = true
	call.recvable.Broadcast()
}
