package web

import (
	"net/http"
	"reflect"
	"time"

	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/openapi"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/nbd-wtf/go-nostr"
)

// directoryAnswer stands for the two answers of GET /api/v1/instances.
type directoryAnswer struct {
	Now  instanceList
	Past instancesAt
}

// APIInfo is the head of the OpenAPI document, and the schemas of types with JSON of their own.
func APIInfo() openapi.Info {
	fiat := openapi.Schema{"type": "object", "required": []string{"amount", "code"}, "properties": openapi.Schema{"amount": openapi.Schema{"type": "string"}, "code": openapi.Schema{"type": "string"}}}
	return openapi.Info{
		Title: "Mostrodex", Version: "1", License: "MIT",
		Description: "Orders, instances, statistics and markets of Mostros and of other platforms that publish Nostr orders of kind 38383. All answers rest on signed events. " +
			"Times are unix seconds or RFC 3339, amounts of bitcoin are sats, amounts of fiat are decimal texts. An unknown value is null and never 0. Answers have an ETag.",
		Schemas: map[reflect.Type]openapi.Schema{
			reflect.TypeFor[time.Time]():       {"type": "string", "format": "date-time"},
			reflect.TypeFor[stats.Value]():     {"type": []string{"number", "string", "null"}},
			reflect.TypeFor[figureValue]():     {"anyOf": []any{fiat, openapi.Schema{"type": []string{"number", "string", "null"}}}},
			reflect.TypeFor[directoryAnswer](): {"anyOf": []any{openapi.Schema{"$ref": "#/components/schemas/InstanceList"}, openapi.Schema{"$ref": "#/components/schemas/InstancesAt"}}},
			reflect.TypeFor[nostr.Event](): {"type": "object", "description": "Nostr event, NIP-01", "required": []string{"id", "pubkey", "created_at", "kind", "tags", "content", "sig"},
				"properties": openapi.Schema{"id": openapi.Schema{"type": "string"}, "pubkey": openapi.Schema{"type": "string"}, "created_at": openapi.Schema{"type": "integer"}, "kind": openapi.Schema{"type": "integer"},
					"tags": openapi.Schema{"type": "array", "items": openapi.Schema{"type": "array", "items": openapi.Schema{"type": "string"}}}, "content": openapi.Schema{"type": "string"}, "sig": openapi.Schema{"type": "string"}}},
		},
		Also: []any{instanceList{}, instancesAt{}},
		Docs: glossary, Sources: sources,
	}
}

// OpenAPI returns the row of the OpenAPI document of a table, which the document includes.
func (x *Site) OpenAPI(t route.Table) (route.Route, error) {
	row := route.Route{Method: http.MethodGet, Path: "/api/v1/openapi.json", Name: "openapi", Summary: "this API as an OpenAPI 3.1 document"}
	body, err := openapi.Document(APIInfo(), append(t[:len(t):len(t)], row))
	if err != nil {
		return row, err
	}
	tag := tagOf(body)
	row.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		serveTagged(w, r, body, tag)
	})
	return row, nil
}
