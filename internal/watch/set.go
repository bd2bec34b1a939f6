package watch

// set is a set of streams that is walked in an order which depends on nothing but
// what was done to it: a simulator's runs must go one way.
type set struct {
	at   map[*Stream]int
	list []*Stream
}

func (s *set) add(one *Stream) {
	if s.at == nil {
		s.at = map[*Stream]int{}
	}
	if _, ok := s.at[one]; !ok {
		s.at[one] = len(s.list)
		s.list = append(s.list, one)
	}
}

func (s *set) remove(one *Stream) {
	i, ok := s.at[one]
	if !ok {
		return
	}
	end := len(s.list) - 1
	s.list[i] = s.list[end]
	s.at[s.list[i]] = i
	s.list[end] = nil
	s.list = s.list[:end]
	delete(s.at, one)
}
