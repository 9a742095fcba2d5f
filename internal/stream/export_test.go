package stream

// Pauses is how often a stream has let more gather.
func (s *Stream) Pauses() int { return s.wire.gather.pauses }
