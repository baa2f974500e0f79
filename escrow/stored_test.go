package escrow

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/escrow/users"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

var writeStored = flag.Bool("stored.write", false, "rewrite testdata/stored.json")

// TestStoredForm compares the bytes of every kind of row of the store, with every field set,
// with testdata/stored.json. If a name changes there, older stores lose the field without an
// error.
func TestStoredForm(t *testing.T) {
	var got bytes.Buffer
	for _, row := range []any{new(trade.Trade), new(trade.Input), new(OutboxRow), new(Head), new(User), new(Throttle), new(Issued), new(ReceiptKey), new(Solver), new(users.Input)} {
		n := 0
		setAll(t, reflect.ValueOf(row).Elem(), &n)
		b, err := trade.Encode(row)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s\n", b)
	}
	const file = "testdata/stored.json"
	if *writeStored {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the rows are stored as\n%s\nwant\n%s", got.Bytes(), want)
	}
}

// setAll sets every field of a value to a nonzero value.
func setAll(t *testing.T, v reflect.Value, n *int) {
	*n++
	switch p := v.Addr().Interface().(type) {
	case *message.Message:
		id, number := message.UUID{1}, uint64(*n)
		*p = message.Message{Wrapper: message.WrapperOrder, Version: 1, RequestID: &number, ID: &id, Action: message.ActionFiatSent}
		return
	case *nostr.Event:
		*p = nostr.Event{ID: "00", PubKey: "01", Kind: 1, Tags: nostr.Tags{}, Sig: "02"}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				setAll(t, v.Field(i), n)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setAll(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		setAll(t, v.Index(0), n)
	case reflect.Array:
		setAll(t, v.Index(0), n)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		setAll(t, key, n)
		setAll(t, value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(fmt.Sprint(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(*n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n % 256))
	default:
		t.Fatalf("a stored row has a field of kind %s", v.Type())
	}
}
