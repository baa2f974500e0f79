package stats

// feeTime returns the time that dates a fee, 0 if the clock knows none.
func (s *scan) feeTime(f *fee) uint32 {
	if s.q.Clock == Witnessed {
		return f.received
	}
	return f.created
}

// addFees adds the records of development fees. A fee whose order is known counts in the
// groups of the order. Another fee counts in the group of its node, or, without groups, if
// the filter names no dimension but instance and network.
func (s *scan) addFees() {
	want := part(0)
	if s.needs&needFeeOrders != 0 {
		want = partSuccess | partSats
	}
	s.eachFee(want, func(f *fee, author uint32, order *columns, k int, targets []int32, bucket int) {
		for _, g := range targets {
			s.addFee(s.tally(g, bucket), f, author, order, k)
		}
	})
}

// eachFee calls fn for each fee that counts, with its author, the columns and the row of its
// order (or nil), its groups and its bucket.
func (s *scan) eachFee(want part, fn func(f *fee, author uint32, order *columns, k int, targets []int32, bucket int)) {
	s.reads(want)
	for i := range s.views {
		s.views[i] = s.view
	}
	networks := matcher(s.q.Filter, ByNetwork, &s.c.networks)
	joined := s.split != "" && s.split != ByInstance // only fees of known orders count
	for dim, values := range s.q.Filter {
		joined = joined || dim != ByNetwork && dim != ByInstance && len(values) > 0
	}
	// A fee counts whatever its order is, if no order is left out.
	whole := s.match == nil && s.split == "" && s.needs&(needFeeOrders|needPolicies) == 0
	for i := range s.c.fees.n {
		f := s.c.fees.at(i)
		b := s.bucket(s.feeTime(f))
		if b <= 0 || f.is(feeBanned) {
			continue
		}
		if whole {
			fn(f, 0, nil, 0, noGroup, b)
			continue
		}
		var order *columns
		var targets []int32
		author, k := uint32(0), 0
		if row := s.c.fees.row(f); row >= 0 {
			n := row / rows
			k = row % rows
			c := s.views.of(n)
			if author = s.c.cohorts[c.cohort[k]].author; s.c.orders.chunks[n].blob[k] != 0 {
				order, targets = c, s.groupsOfCohort(c.cohort[k]) // nil if the author does not pass
			}
		} else {
			author = s.c.fees.orphans[f.owner].key.author
		}
		if order == nil && !joined && passes(s.authors, author) && passes(networks, s.c.fees.network(i)) {
			targets = s.groupsOf(author)
		}
		if targets != nil {
			fn(f, author, order, k, targets, b)
		}
	}
}

// feeAuthor returns the author of a fee.
func (s *scan) feeAuthor(f *fee) uint32 { return s.c.fees.orderOf(f, &s.c.orders, s.c.cohorts).author }

// groupsOf returns the groups of an event that has no property but its author.
func (s *scan) groupsOf(author uint32) []int32 {
	if s.split == "" {
		return noGroup
	}
	if g, ok := s.byGroup[author]; ok && s.split == ByInstance {
		return []int32{g}
	}
	return nil
}

func (s *scan) addFee(t *tally, f *fee, author uint32, c *columns, k int) {
	if !f.is(feeCanonical) {
		t.duplicates.add(f.received != 0)
		return
	}
	t.fees.add(f.received != 0)
	t.feeSats.add(f.sats())
	var sats int64
	settled := false
	if c != nil && s.needs&needFeeOrders != 0 {
		if success := c.at[s.q.Clock][firstSuccess][k]; success != 0 {
			t.lateness = append(t.lateness, int64(s.feeTime(f))-int64(success))
			settled = c.status[k] == statusSuccess && c.sats[k] > 0
			sats = c.sats[k]
		}
	}
	if s.needs&needPolicies == 0 {
		return
	}
	p := s.c.authors[author].policyAt(f.created)
	if p == nil || p.Fee == nil || *p.Fee <= 0 {
		return
	}
	share := *p.Fee * devFeeShare
	t.implied.add(float64(f.sats()) / share)
	t.impliedError.add(1 / share)
	if settled {
		t.settled.add(float64(f.sats()) / share)
		t.settledSats.add(sats)
	}
}

// addDisputes adds disputes. A dispute does not name its order, so the caller checks that
// the filter names no dimension but instance.
func (s *scan) addDisputes() {
	now := s.bounds[len(s.bounds)-1]
	for i := range s.c.disputes {
		d := &s.c.disputes[i]
		if !passes(s.authors, d.author) || len(d.versions) == 0 {
			continue
		}
		opened, closed, end := d.times(s.q.Clock)
		for _, g := range s.groupsOf(d.author) {
			if b := s.bucket(opened); b > 0 {
				t := s.tally(g, b)
				t.opened.add(d.versions[0].live)
				switch last := d.versions[len(d.versions)-1].state; {
				case last.final():
					t.resolvedDisputes++
				case last == disputeUnknown:
					t.unknownDisputes++
				default:
					t.activeDisputes++
				}
			}
			if b := s.bucket(closed); b > 0 {
				t := s.tally(g, b)
				t.closed.add(end.live)
				t.ends[end.state]++
				if opened != 0 && closed >= opened {
					t.resolution = append(t.resolution, closed-opened)
				}
			}
			if opened != 0 && int64(opened) <= now && (closed == 0 || int64(closed) > now) {
				s.tally(g, len(s.bounds)-2).openDisputes++
			}
		}
	}
}

// times returns the time of the opening, and the first terminal version with its time.
func (d *dispute) times(clock Clock) (opened, closed uint32, end *disputeVersion) {
	for i := range d.versions {
		v := &d.versions[i]
		if clock == Witnessed {
			if v.live && (opened == 0 || v.received < opened) {
				opened = v.received
			}
			if v.live && v.state.final() && (closed == 0 || v.received < closed) {
				closed, end = v.received, v
			}
			continue
		}
		if v.state.final() && closed == 0 {
			closed, end = v.created, v
		}
		if opened == 0 {
			opened = v.opened
		}
	}
	if opened == 0 && clock == Signed {
		opened = d.versions[0].created
	}
	return opened, closed, end
}

func (s *scan) addInstances() {
	now := s.bounds[len(s.bounds)-1]
	for id := 1; id < len(s.c.authors); id++ {
		a := &s.c.authors[id]
		known, silent := a.knownAt(now)
		if !known || !passes(s.authors, uint32(id)) {
			continue
		}
		for _, g := range s.groupsOf(uint32(id)) {
			t := s.tally(g, len(s.bounds)-2)
			t.knownInstances++
			if silent {
				t.silent++
			}
		}
	}
}
