package score

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// leaf returns the hash of the kept part of an event: the id, the time of receipt and
// whether the receipt was in time.
func (s Sighting) leaf() [32]byte {
	var b [1 + 32 + 8 + 1]byte
	copy(b[1:], s.ID[:]) // the first byte is 0 in leaves and 1 in nodes
	binary.BigEndian.PutUint64(b[33:], uint64(s.Received))
	if s.Witness {
		b[41] = 1
	}
	return sha256.Sum256(b[:])
}

// merkle sorts leaves and returns the Merkle root. The node of two hashes is sha256(1 ||
// left || right). A hash without a neighbour moves up unchanged. If there are no leaves,
// the root is 32 zero bytes.
func merkle(leaves [][32]byte) [32]byte {
	slices.SortFunc(leaves, compareLeaves)
	return merkleOf(leaves)
}

func compareLeaves(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }

// merkleOf returns the root of sorted leaves, and does not change the slice.
func merkleOf(level [][32]byte) (root [32]byte) {
	if len(level) == 0 {
		return root
	}
	next := make([][32]byte, (len(level)+1)/2)
	b := [65]byte{1}
	for len(level) > 1 {
		for i := 0; i+1 < len(level); i += 2 {
			copy(b[1:], level[i][:])
			copy(b[33:], level[i+1][:])
			next[i/2] = sha256.Sum256(b[:])
		}
		if len(level)%2 == 1 {
			next[len(level)/2] = level[len(level)-1]
		}
		level = next[:(len(level)+1)/2]
	}
	return level[0]
}

// tree keeps the leaves of a node's facts sorted, so that a new fact can be merged. A nil
// tree ignores changes. root builds a nil tree again.
type tree struct {
	leaves  [][32]byte
	in, out [][32]byte // leaves added and dropped since the last merge
	root    string     // "" if not yet computed
}

func (t *tree) add(leaf func() [32]byte) {
	if t != nil {
		t.in = append(t.in, leaf())
	}
}

func (t *tree) drop(leaf func() [32]byte) {
	if t != nil {
		t.out = append(t.out, leaf())
	}
}

// replace adds a leaf. If ok is set, replace also drops the leaf of held.
func (t *tree) replace(held Sighting, ok bool, s Sighting) {
	if ok {
		t.drop(held.leaf)
	}
	t.add(s.leaf)
}

// merge applies the added and dropped leaves. merge returns false if a dropped leaf was
// not in the tree.
func (t *tree) merge() bool {
	if len(t.in)+len(t.out) == 0 {
		return true
	}
	slices.SortFunc(t.in, compareLeaves)
	slices.SortFunc(t.out, compareLeaves)
	old, in, out := t.leaves, t.in, t.out
	merged := make([][32]byte, 0, len(old)+len(in))
	for len(old)+len(in) > 0 {
		next := &old
		if len(old) == 0 || len(in) > 0 && compareLeaves(in[0], old[0]) < 0 {
			next = &in
		}
		leaf := (*next)[0]
		*next = (*next)[1:]
		if len(out) > 0 && out[0] == leaf {
			out = out[1:]
			continue
		}
		merged = append(merged, leaf)
	}
	t.leaves, t.in, t.out, t.root = merged, nil, nil, ""
	return len(out) == 0
}

// root returns the Merkle root of the versions of an order.
func (p packed) root() [32]byte {
	leaves := make([][32]byte, 0, len(p)/packedSize)
	for v := range p.all() {
		leaves = append(leaves, v.leaf())
	}
	return merkle(leaves)
}

// root returns the Merkle root of all facts about a node. The facts about an order are a
// subtree.
func (n *node) root() string {
	if n.tree == nil || !n.tree.merge() {
		n.tree = &tree{leaves: n.leaves()}
	}
	if n.tree.root == "" {
		root := merkleOf(n.tree.leaves)
		n.tree.root = hex.EncodeToString(root[:])
	}
	return n.tree.root
}

// leaves returns the sorted leaves of all facts about a node.
func (n *node) leaves() [][32]byte {
	leaves := make([][32]byte, 0, n.orders.len()+len(n.Ratings)+len(n.Infos)+len(n.Users)+len(n.Fees)+len(n.Disputes)+len(n.Erased))
	for _, o := range n.orders.each() {
		leaves = append(leaves, n.orders.all.versions(o).root())
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
	slices.SortFunc(leaves, compareLeaves)
	return leaves
}
