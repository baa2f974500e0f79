package ledger

import (
	"fmt"

	"github.com/mostrodex/mostrodex/mostro"
)

// The journal of a trade has no rows about bonds yet. These functions return the
// transactions that such rows will have. The rules are those of the reference node: a bond
// is a hold invoice of the maker or of a taker. Bonds are returned, or settled and shared
// between the node and the other party.

// Bond is the bond of one party.
type Bond struct {
	Kind  Kind        // MakerBond or TakerBond
	Payer mostro.Side // the side of the party in the trade
	Msat  int64       // amount that the party has paid
}

func walletOf(side mostro.Side) Kind {
	if side == mostro.SideBuy {
		return BuyerWallet
	}
	return SellerWallet
}

func (b Bond) check() error {
	if b.Kind != MakerBond && b.Kind != TakerBond {
		return fmt.Errorf("%w: %s is not a bond", ErrAmount, b.Kind)
	}
	return inRange(b.Msat)
}

// Lock returns the transaction of a bond that the node has accepted.
func (b Bond) Lock(from Source) (Transaction, error) {
	if err := b.check(); err != nil {
		return Transaction{}, err
	}
	return from.transaction(BondLocked, Entry{walletOf(b.Payer), -b.Msat}, Entry{b.Kind, b.Msat}), nil
}

// Return returns the transaction of a bond that the party has received back.
func (b Bond) Return(from Source) (Transaction, error) {
	if err := b.check(); err != nil {
		return Transaction{}, err
	}
	return from.transaction(BondReturned, Entry{b.Kind, -b.Msat}, Entry{walletOf(b.Payer), b.Msat}), nil
}

// Settle returns the transaction of a bond that the node has claimed. nodeMsat is the node's
// share. The rest is owed to the other party, or, for a bond of a range order, to several
// parties and to the payer.
func (b Bond) Settle(from Source, nodeMsat int64) (Transaction, error) {
	if err := b.check(); err != nil {
		return Transaction{}, err
	}
	if nodeMsat < 0 || nodeMsat > b.Msat {
		return Transaction{}, fmt.Errorf("%w: the node's share is %d of %d msat", ErrAmount, nodeMsat, b.Msat)
	}
	return from.transaction(BondSettled, Entry{b.Kind, -b.Msat}, Entry{Forfeits, nodeMsat}, Entry{BondClaim, b.Msat - nodeMsat}), nil
}

// PayBondShare returns the transaction of a share that a party has received. The node pays
// the routing fee.
func PayBondShare(from Source, to mostro.Side, msat, feeMsat int64) (Transaction, error) {
	if err := inRange(msat, feeMsat); err != nil {
		return Transaction{}, err
	}
	return from.transaction(BondPaid, Entry{BondClaim, -msat}, Entry{walletOf(to), msat}, Entry{Income, -feeMsat}, Entry{Routing, feeMsat}), nil
}

// ForfeitBondShare returns the transaction of a share that no party has claimed in time.
func ForfeitBondShare(from Source, msat int64) (Transaction, error) {
	if err := inRange(msat); err != nil {
		return Transaction{}, err
	}
	return from.transaction(BondForfeited, Entry{BondClaim, -msat}, Entry{Forfeits, msat}), nil
}
