package compose

import "bytes"

// text returns the expansion of a picked secret. It is never nil, as null in a Secret's data means something else than
// empty. Without references it is the value itself, and its capacity ends with it, so that nobody appends to what is
// shared.
func (x *expansion) text(p pick) []byte {
	n := p.node()
	if n == nil || len(n.refs) == 0 {
		if value := p.value(); value != nil {
			return value[:len(value):len(value)]
		}
		return []byte{}
	}
	if n.text == nil {
		x.write(n, make([]byte, 0, n.size), true)
	}
	return n.text
}

// write appends the expansion of a node to a buffer, which must have room for it. With keep, the nodes on the way are
// written too: their texts are parts of this one, and need no memory of their own.
func (x *expansion) write(root *node, buf []byte, keep bool) []byte {
	type frame struct {
		*node
		next   int // of refs
		copied int // of the value
		start  int // in buf
	}
	calls := []frame{{node: root, start: len(buf)}}
	for len(calls) > 0 {
		f := &calls[len(calls)-1]
		value := f.value()
		if f.next == len(f.refs) {
			buf = append(buf, value[f.copied:]...)
			if keep {
				f.text = buf[f.start:len(buf):len(buf)]
			}
			calls = calls[:len(calls)-1]
			continue
		}
		r := f.refs[f.next]
		f.next++
		buf = append(buf, value[f.copied:r.start]...)
		f.copied = int(r.end)
		switch {
		case r.target == nil && x.in.Unresolved == UnresolvedEmpty:
		case r.target == nil:
			buf = append(buf, value[r.start:r.end]...)
		case r.target.size == 0: // without keep, the ways through empty secrets could be many
		case r.target.text != nil:
			buf = append(buf, r.target.text...)
		default:
			calls = append(calls, frame{node: r.target, start: len(buf)})
		}
	}
	return buf
}

// conflicts compares what was hidden with what is in the data. It expands into one buffer, again and again: what is compared is
// not to be kept.
func (x *expansion) conflicts(data map[string][]byte, c *choice) error {
	var (
		found []Conflict
		buf   []byte
	)
	for _, h := range c.hidden {
		if len(found) > 0 && found[len(found)-1].Key == h.key {
			continue
		}
		if h.size() == len(data[h.key]) {
			other := h.value()
			if n := h.node(); n != nil && len(n.refs) > 0 {
				buf = x.write(n, buf[:0], false)
				other = buf
			}
			if bytes.Equal(other, data[h.key]) {
				continue
			}
		}
		found = append(found, newConflict(h.key, c.chosen[h.key], h.pick))
	}
	if len(found) > 0 {
		return &ConflictError{Conflicts: found}
	}
	return nil
}
