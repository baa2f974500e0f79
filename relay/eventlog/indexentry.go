package eventlog

// entryAt returns the index entry of an address from memory, hidden or not.
func (l *live) entryAt(kind int, pubkey [32]byte, d string) (indexEntry, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n, ok := l.find(kind, pubkey, d)
	if !ok {
		return indexEntry{}, false
	}
	return l.indexEntry(n), true
}

// entryOf returns the index entry of an id from memory, and its address, which is empty
// for a regular event.
func (l *live) entryOf(id [32]byte) (indexEntry, address, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n, ok := l.entries.find(id)
	if !ok {
		return indexEntry{}, "", false
	}
	ie := l.indexEntry(n)
	return ie, ie.address(), true
}

// hiddenEntry returns the index entry and the address of a hidden entry. ok is false if
// the entry was reused since.
func (l *live) hiddenEntry(e expiry) (indexEntry, address, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if s := l.entries.At(e.entry); !s.used || s.seq != e.seq || !s.hidden {
		return indexEntry{}, "", false
	}
	ie := l.indexEntry(e.entry)
	return ie, ie.address(), true
}

// indexEntry rebuilds the index entry that a live entry was filled from. The caller
// holds mu.
func (l *live) indexEntry(n uint32) indexEntry {
	s := l.entries.At(n)
	tags := l.entries.tagsOf(s)
	r := indexEntry{seq: s.seq, chain: l.entries.chain(n), id: s.id, pubkey: l.authors.list.At(s.author).key, kind: int(s.kind),
		createdAt: s.createdAt, expiration: s.expiration, tags: make([]string, len(tags))}
	size := 0
	for _, t := range tags {
		size += len(l.tags.key(t))
	}
	all := make([]byte, 0, size)
	for _, t := range tags {
		all = append(all, l.tags.key(t)...)
	}
	text := string(all) // the tags are substrings of one string
	for i, t := range tags {
		n := len(l.tags.key(t))
		r.tags[i], text = text[:n], text[n:]
	}
	return r
}

// address returns the address of the event, or "" if the event is regular.
func (r *indexEntry) address() address {
	switch kindClass(r.kind) {
	case replaceable:
		return makeAddress(r.kind, r.pubkey, "")
	case addressable:
		for _, t := range r.tags {
			if t[0] == 'd' {
				return makeAddress(r.kind, r.pubkey, t[1:])
			}
		}
		return makeAddress(r.kind, r.pubkey, "")
	}
	return ""
}
