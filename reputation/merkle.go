package reputation

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// leaf is the hash of what is kept of one event: id, the time of its receipt
// and whether that was in time.
func (s Sighting) leaf() [32]byte {
	var b [1 + 32 + 8 + 1]byte
	copy(b[1:], s.ID[:]) // the first byte, 0, tells leaves from nodes
	binary.BigEndian.PutUint64(b[33:], uint64(s.Received))
	if s.Witness {
		b[41] = 1
	}
	return sha256.Sum256(b[:])
}

// merkle gives the root of leaves, which it sorts: of two hashes the node is
// sha256(1 || left || right), one without a neighbour goes up as it is, and
// of nothing it is 32 zeros.
func merkle(level [][32]byte) (root [32]byte) {
	if len(level) == 0 {
		return root
	}
	slices.SortFunc(level, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	for len(level) > 1 {
		next := level[:0]
		for i := 0; i < len(level); i += 2 {
			if i+1 == len(level) {
				next = append(next, level[i])
				break
			}
			var b [65]byte
			b[0] = 1
			copy(b[1:], level[i][:])
			copy(b[33:], level[i+1][:])
			next = append(next, sha256.Sum256(b[:]))
		}
		level = next
	}
	return level[0]
}

// root gives the Merkle root of all of a node's facts; those of an order are
// a tree of their own.
func (l *Ledger) root(n *node) string {
	leaves := make([][32]byte, 0, len(n.Orders)+len(n.Ratings)+len(n.Infos)+len(n.Users)+len(n.Fees)+len(n.Disputes)+len(n.Erased))
	for _, o := range n.Orders {
		if o.sum == nil {
			versions := make([][32]byte, 0, len(o.Versions)/packedSize)
			for v := range o.Versions.all() {
				versions = append(versions, v.leaf())
			}
			o.sum = new(merkle(versions))
		}
		leaves = append(leaves, *o.sum)
	}
	for _, q := range n.Disputes {
		for _, v := range q.Versions {
			leaves = append(leaves, v.leaf())
		}
	}
	for _, fees := range n.Fees {
		for _, f := range fees {
			leaves = append(leaves, f.leaf())
		}
	}
	for _, r := range n.Ratings {
		leaves = append(leaves, r.leaf())
	}
	for _, u := range n.Users {
		leaves = append(leaves, u.leaf())
	}
	for _, s := range n.Infos {
		leaves = append(leaves, s.leaf())
	}
	for _, s := range n.Erased {
		leaves = append(leaves, s.leaf())
	}
	root := merkle(leaves)
	return hex.EncodeToString(root[:])
}
