package rpc

// Ready says whether Recv would return at once.
func (s *Stream) Ready() bool {
	call := s.call
	c := call.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(call.inbox) > 0 || call.inboxEnd != nil || call.stopped || call.answered || call.closed
}
