package rpc

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
