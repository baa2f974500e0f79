package mostro

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// makerRating parses the values of an order's `rating` tag in all published forms:
//
//	["rating",{"days":41,"since":S,"total_rating":4.5,"total_reviews":7}]   one value: Mostro since 0.20, with the day of the first trade
//	["rating",{"days":41,"total_rating":4.5,"total_reviews":7}]   one value: Mostro since 0.13.2
//	{"total_reviews":1,"total_rating":3.0,...}                    one value: Mostro 0.12, Peach, HodlHodl's bridge
//	{"trades_count":12,"rating":0.9}                              one value: HodlHodl
//	4.75, 120, 37                                                 three values: lnp2pBot's mean, days, reviews
//
// top is the top of the platform's scale, or 0 if unknown. For placeholders and free
// text makerRating returns nil.
func makerRating(values []string, top float64) *MakerRating {
	var r MakerRating
	switch {
	case len(values) >= 3 && decimalOrNil(values[0]) != nil:
		r = MakerRating{
			Mean: finite(values[0]), Days: wholeNumber(strings.TrimSpace(values[1])),
			Reviews: wholeNumber(strings.TrimSpace(values[2])), Max: 5,
		}
	case len(values) >= 1:
		fields := ratingFields(values[0])
		if len(fields) == 0 {
			return nil
		}
		r = MakerRating{Mean: jsonFinite(fields["total_rating"]), Reviews: jsonWhole(fields["total_reviews"]), Days: jsonWhole(fields["days"]), Max: top}
		if since := jsonWhole(fields["since"]); since != nil && *since <= lastSecond {
			r.Since = nostr.Timestamp(*since)
		}
		if r.Mean == nil {
			r.Mean = jsonFinite(fields["rating"])
		}
		if r.Reviews == nil {
			r.Reviews = jsonWhole(fields["trades_count"])
		}
	default:
		return nil
	}
	if r.Mean != nil && (r.Max > 0 && *r.Mean > r.Max || r.Reviews != nil && *r.Reviews == 0) {
		r.Mean = nil
	}
	if r.Mean == nil && r.Reviews == nil && r.Days == nil && r.Since == 0 {
		return nil
	}
	return &r
}

// ratingFields returns the fields of the JSON in a rating's first value: an object, or
// the array ["rating", object].
func ratingFields(text string) map[string]json.RawMessage {
	text = strings.Trim(text, " \t\r\n") // the white space of JSON, and no other
	if object, ok := strings.CutPrefix(text, `["rating",`); ok {
		if fields, ok := flatFields(strings.TrimSuffix(object, "]")); ok && strings.HasSuffix(object, "}]") {
			return fields
		}
	}
	if strings.HasPrefix(text, "[") {
		var pair []json.RawMessage
		if json.Unmarshal([]byte(text), &pair) != nil || len(pair) < 2 || jsonText(pair[0]) != "rating" {
			return nil
		}
		text = string(pair[1])
	}
	if fields, ok := flatFields(text); ok {
		return fields
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &fields) != nil {
		return nil
	}
	return fields
}

// flatFields returns the fields of an object in Mostro's form: no white space, plain
// names, whole or decimal numbers. For any other text it returns false.
func flatFields(text string) (map[string]json.RawMessage, bool) {
	if len(text) < 3 || text[0] != '{' || text[len(text)-1] != '}' {
		return nil, false
	}
	rest := text[1 : len(text)-1]
	fields := make(map[string]json.RawMessage, 4)
	for more := true; more; {
		name, value, _ := strings.Cut(rest, `":`) // an absent value is not a number
		name, ok := strings.CutPrefix(name, `"`)
		if !ok || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return nil, false
		}
		value, rest, more = strings.Cut(value, ",")
		if !plainNumber(value) {
			return nil, false
		}
		fields[name] = json.RawMessage(value)
	}
	return fields, true
}

// plainNumber reports whether s is a JSON number without sign or exponent.
func plainNumber(s string) bool {
	whole, part, dotted := strings.Cut(s, ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return digits(whole) && (whole == "0" || whole[0] != '0') && (!dotted || digits(part))
}

// jsonText returns a JSON number or string as text.
func jsonText(raw json.RawMessage) string {
	var s string
	if len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
		return strings.TrimSpace(s)
	}
	return string(raw)
}

func jsonFinite(raw json.RawMessage) *float64 { return finite(jsonText(raw)) }

func jsonWhole(raw json.RawMessage) *int64 { return wholeNumber(jsonText(raw)) }

// finite parses a finite, non-negative number. Means are floats of the publisher, so an
// exponent is accepted. Text that only ParseFloat accepts ("Inf", "0x1p3", "1_0") is
// refused. The longest float64 in Rust's Display has 327 characters before its 17
// digits end.
func finite(text string) *float64 {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > 400 || strings.Trim(text, "+-.0123456789eE") != "" {
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || f < 0 {
		return nil
	}
	if f == 0 {
		f = 0 // not -0
	}
	return &f
}

// mostroRating returns the value of a pending order's rating tag in Mostro's form: keys
// in alphabetical order, the mean as serde writes a float (0.0 if there are no
// reviews), and "{}" if all fields are unknown. A single unknown field is omitted. A
// mean on another scale than Mostro's is also omitted. Since is cut to its day, because
// the seconds would link the keys of a maker.
func mostroRating(r *MakerRating) string {
	if r == nil {
		return "{}"
	}
	var fields []string
	if r.Days != nil {
		fields = append(fields, `"days":`+strconv.FormatInt(*r.Days, 10))
	}
	if day := startOfDay(r.Since); day > 0 {
		fields = append(fields, `"since":`+strconv.FormatInt(int64(day), 10))
	}
	if r.Mean != nil && (r.Max == 0 || r.Max == 5) && *r.Mean <= 5 {
		fields = append(fields, `"total_rating":`+serdeFloat(*r.Mean))
	} else if r.Reviews != nil && *r.Reviews == 0 {
		fields = append(fields, `"total_rating":0.0`)
	}
	if r.Reviews != nil {
		fields = append(fields, `"total_reviews":`+strconv.FormatInt(*r.Reviews, 10))
	}
	if len(fields) == 0 {
		return "{}"
	}
	return `["rating",{` + strings.Join(fields, ",") + `}]`
}
