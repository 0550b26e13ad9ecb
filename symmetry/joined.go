package symmetry

// Stack returns an entry of Layouts as one array: its members in order, and the layout of their concatenation, which for a virtual stack begins with
// one axis for each hole in the name.
func (s *Symmetry) Stack(key string) (Layout, []string, error) {
	st, err := s.stackOf(key, s.names())
	if err != nil {
		return nil, nil, err
	}
	return st.layout, st.members, nil
}
