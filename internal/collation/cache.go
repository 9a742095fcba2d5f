package collation

// DefaultCacheBytes bounds what a Collation remembers of the server's answers:
// the values of a table's keys that are not plain ASCII. 32 MiB hold some
// 200,000 short values; a table with more is asked for again, in batches.
const DefaultCacheBytes = 32 << 20

// entryOverhead is what a map entry of two strings costs beside their bytes.
const entryOverhead = 64

// cache keeps two generations. Between calls of Resolve it holds at most limit
// bytes or, if that is more, what the last call added and half the limit: values
// that one call resolves stay until the next begins.
type cache struct {
	limit     int
	young     map[string]string
	old       map[string]string
	youngSize int
}

func (c *cache) get(raw []byte) (string, bool) {
	if key, ok := c.young[string(raw)]; ok {
		return key, true
	}
	key, ok := c.old[string(raw)]
	return key, ok
}

func (c *cache) put(raw, key string) {
	if _, ok := c.young[raw]; ok {
		return
	}
	if c.young == nil {
		c.young = map[string]string{}
	}
	c.young[raw] = key
	c.youngSize += len(raw) + len(key) + entryOverhead
}

// age makes the young generation the old one when it has had its share.
func (c *cache) age() {
	if c.youngSize > c.limit/2 {
		c.old, c.young, c.youngSize = c.young, nil, 0
	}
}

// keep says whether raw is known, and that it must stay known.
func (c *cache) keep(raw []byte) bool {
	if _, ok := c.young[string(raw)]; ok {
		return true
	}
	key, ok := c.old[string(raw)]
	if ok {
		c.put(string(raw), key)
	}
	return ok
}
