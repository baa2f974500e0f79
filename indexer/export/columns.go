package export

import (
	"reflect"
	"slices"
	"time"
)

// Type is the type of a column, as Frictionless names it.
type Type string

// Types of columns.
const (
	Text    Type = "string"
	Integer Type = "integer"
	Number  Type = "number"
	Boolean Type = "boolean"
	Time    Type = "datetime"
	List    Type = "array" // of texts
)

// Column is a column of a data set.
type Column struct {
	Name string
	Type Type
	Unit string
	Null string // when the column is null; "": never
	Doc  string

	index []int
}

// Set is a data set.
type Set struct {
	Name    string
	Doc     string
	Key     []string // columns that identify a row of one file
	Columns []Column
	// Monthly is true if there are files of closed months.
	Monthly bool

	row reflect.Type
}

var sets = []*Set{
	newSet[OrderRow]("orders", "one row for each order with a version received in the time of the export: its state at the end", "pubkey", "d"),
	newSet[HistoryRow]("history", "one row for each version of an order", "event_id"),
	newSet[TradeRow]("trades", "one row for each completed order: its newest version has the status success", "pubkey", "d"),
	newSet[StatsRow]("stats", "one row for each figure of each period", "from", "by", "metric"),
	newSet[EventRow]("events", "one row for each signed event, without private messages and states of health", "id"),
	newSet[InstanceRow]("instances", "one row for each info event, in which a Mostro describes itself", "event_id"),
}

// Sets returns all data sets.
func Sets() []*Set { return slices.Clone(sets) }

// SetOf returns the data set with a name.
func SetOf(name string) (*Set, bool) {
	at := slices.IndexFunc(sets, func(s *Set) bool { return s.Name == name })
	if at < 0 {
		return nil, false
	}
	return sets[at], true
}

func newSet[T any](name, doc string, key ...string) *Set {
	s := &Set{Name: name, Doc: doc, Key: key, Monthly: true, row: reflect.TypeFor[T]()}
	s.add(s.row, nil)
	return s
}

var timeType = reflect.TypeFor[time.Time]()

// add appends the columns of a struct type.
func (s *Set) add(t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		if f.Anonymous {
			s.add(f.Type, at)
			continue
		}
		of := f.Type
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		c := Column{Name: f.Tag.Get("export"), Unit: f.Tag.Get("unit"), Null: f.Tag.Get("null"), Doc: f.Tag.Get("doc"), index: at}
		switch {
		case of == timeType:
			c.Type = Time
		case of.Kind() == reflect.String:
			c.Type = Text
		case of.Kind() == reflect.Int64:
			c.Type = Integer
		case of.Kind() == reflect.Float64:
			c.Type = Number
		case of.Kind() == reflect.Bool:
			c.Type = Boolean
		case of.Kind() == reflect.Slice:
			c.Type = List
		default:
			panic("column " + c.Name + " has no type") // a mistake in rows.go
		}
		s.Columns = append(s.Columns, c)
	}
}
