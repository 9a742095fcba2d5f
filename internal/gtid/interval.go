package gtid

import "sort"

// interval is half open: start <= n < end, 1 <= start < end <= endSeq.
type interval struct{ start, end uint64 }

// intervals ascend and neither overlap nor touch.
type intervals []interval

// after is the index of the first interval that ends after n.
func (ivs intervals) after(n uint64) int {
	return sort.Search(len(ivs), func(i int) bool { return ivs[i].end > n })
}

func (ivs intervals) contains(n uint64) bool {
	i := ivs.after(n)
	return i < len(ivs) && ivs[i].start <= n
}

// covers says whether every number of iv is in ivs. Since intervals do not
// touch, it takes a single one to do so.
func (ivs intervals) covers(iv interval) bool {
	i := ivs.after(iv.start)
	return i < len(ivs) && ivs[i].start <= iv.start && iv.end <= ivs[i].end
}

// add merges iv in. In a log numbers mostly arrive in order, so the end of the
// last interval is looked at first.
func (ivs intervals) add(iv interval) intervals {
	if n := len(ivs); n == 0 || iv.start > ivs[n-1].end {
		return append(ivs, iv)
	} else if last := &ivs[n-1]; iv.start >= last.start {
		last.end = max(last.end, iv.end)
		return ivs
	}
	lo := ivs.after(iv.start - 1) // the first that overlaps or touches from the left
	hi := lo
	for hi < len(ivs) && ivs[hi].start <= iv.end {
		iv.start = min(iv.start, ivs[hi].start)
		iv.end = max(iv.end, ivs[hi].end)
		hi++
	}
	return splice(ivs, lo, hi, iv)
}

// remove takes every number of iv out.
func (ivs intervals) remove(iv interval) intervals {
	lo := ivs.after(iv.start)
	hi := lo
	var rest []interval
	for hi < len(ivs) && ivs[hi].start < iv.end {
		if ivs[hi].start < iv.start {
			rest = append(rest, interval{ivs[hi].start, iv.start})
		}
		if ivs[hi].end > iv.end {
			rest = append(rest, interval{iv.end, ivs[hi].end})
		}
		hi++
	}
	return splice(ivs, lo, hi, rest...)
}

// splice replaces ivs[lo:hi].
func splice(ivs intervals, lo, hi int, with ...interval) intervals {
	if hi-lo == len(with) {
		copy(ivs[lo:], with)
		return ivs
	}
	tail := append(intervals(nil), ivs[hi:]...)
	return append(append(ivs[:lo], with...), tail...)
}
