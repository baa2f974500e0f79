package relay

import (
	"encoding/binary"
	"strconv"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/mostrodex/mostrodex/internal/jsonscan"
)

// appendHeader appends the header of one unmasked, unfragmented websocket
// frame whose payload has n bytes.
func appendHeader(dst []byte, op ws.OpCode, n int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case n < 126:
		return append(dst, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
}

// appendText appends a whole text frame.
func appendText(dst, payload []byte) []byte {
	return append(appendHeader(dst, ws.OpText, len(payload)), payload...)
}

// eventPrefix returns the part of an EVENT frame before the event.
func eventPrefix(sub string) []byte {
	return append(jsonscan.AppendQuoted([]byte(`["EVENT",`), sub), ',')
}

// appendEvent appends an EVENT frame around a stored body.
func appendEvent(dst, prefix, body []byte) []byte {
	dst = appendHeader(dst, ws.OpText, len(prefix)+len(body)+1)
	dst = append(dst, prefix...)
	dst = append(dst, body...)
	return append(dst, ']')
}

func appendOK(dst []byte, id string, ok bool, reason string) []byte {
	var room [256]byte
	p := jsonscan.AppendQuoted(append(room[:0], `["OK",`...), id)
	p = strconv.AppendBool(append(p, ','), ok)
	p = jsonscan.AppendQuoted(append(p, ','), reason)
	return appendText(dst, append(p, ']'))
}

// appendReply appends [label, a] or, for CLOSED, [label, a, b].
func appendReply(dst []byte, label string, words ...string) []byte {
	var room [256]byte
	p := append(room[:0], `["`...)
	p = append(append(p, label...), '"')
	for _, w := range words {
		p = jsonscan.AppendQuoted(append(p, ','), w)
	}
	return appendText(dst, append(p, ']'))
}

func appendCount(dst []byte, sub string, n int) []byte {
	var room [256]byte
	p := jsonscan.AppendQuoted(append(room[:0], `["COUNT",`...), sub)
	p = strconv.AppendInt(append(p, `,{"count":`...), int64(n), 10)
	return appendText(dst, append(p, "}]"...))
}

// appendClose appends a close frame. A reason that is too long for a close frame is cut.
func appendClose(dst []byte, code ws.StatusCode, reason string) []byte {
	for len(reason) > ws.MaxControlFramePayloadSize-2 || !utf8.ValidString(reason) {
		reason = reason[:len(reason)-1]
	}
	dst = appendHeader(dst, ws.OpClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}
