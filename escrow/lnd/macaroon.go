package lnd

import (
	"encoding/binary"
	"errors"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxMacaroon bounds a macaroon file, in bytes. LND's admin.macaroon has some 280.
const maxMacaroon = 64 << 10

// The fields of a macaroon in the binary format, version 2.
const (
	macaroonEnd        = 0
	macaroonLocation   = 1
	macaroonIdentifier = 2
)

// errMacaroon is the answer to bytes that are no macaroon of LND. It contains none of the bytes.
var errMacaroon = errors.New("the file is no macaroon of LND (binary, version 2)")

// Granted returns the permissions of a macaroon of LND, sorted, as "entity:action", for example
// "onchain:write" or "uri:/lnrpc.Lightning/GetInfo". The macaroon itself lists
// the permissions, and the node is not asked. Caveats, which restrict a macaroon further, are not read.
func Granted(macaroon []byte) (list []string, err error) {
	if len(macaroon) > maxMacaroon || len(macaroon) == 0 || macaroon[0] != 2 {
		return nil, errMacaroon
	}
	id, err := identifier(macaroon[1:])
	if err != nil {
		return nil, err
	}
	if len(id) == 0 || id[0] != 3 { // the version of the identifiers that LND makes
		return nil, errMacaroon
	}
	err = eachField(id[1:], func(n protowire.Number, op []byte) error {
		if n != 3 {
			return nil
		}
		entity := ""
		return eachField(op, func(n protowire.Number, text []byte) error {
			switch n {
			case 1:
				entity = string(text)
			case 2:
				list = append(list, entity+":"+string(text))
			}
			return nil
		})
	})
	slices.Sort(list)
	return slices.Compact(list), err
}

// identifier returns the identifier of a macaroon.
func identifier(b []byte) ([]byte, error) {
	for {
		field, n := binary.Uvarint(b)
		if n <= 0 || field != macaroonLocation && field != macaroonIdentifier {
			return nil, errMacaroon
		}
		size, m := binary.Uvarint(b[n:])
		if m <= 0 || size > uint64(len(b)-n-m) {
			return nil, errMacaroon
		}
		data := b[n+m : n+m+int(size)]
		if field == macaroonIdentifier {
			return data, nil
		}
		b = b[n+m+int(size):]
	}
}

// eachField calls fn for each field of a message that has bytes.
func eachField(b []byte, fn func(protowire.Number, []byte) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMacaroon
		}
		b = b[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
				return errMacaroon
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return errMacaroon
		}
		if err := fn(number, value); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Excess returns the permissions beyond Permissions and OptionalPermissions.
func Excess(granted []string) (list []string) {
	for _, g := range granted {
		if !slices.Contains(Permissions(), g) && !slices.Contains(OptionalPermissions(), g) {
			list = append(list, g)
		}
	}
	return list
}
