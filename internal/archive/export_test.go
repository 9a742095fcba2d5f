package archive

// Edge is where a server's log ends, told by a test.
type Edge = edge

// NewEdge is newEdge.
var NewEdge = newEdge

// Tell is tell.
var Tell = (*edge).tell

// WithEdge are the options of a follower that knows it.
func (o Options) WithEdge(e *Edge) Options {
	o.edge = e
	return o
}
