// Package openapi makes an OpenAPI 3.1 document and a field dictionary from the route table
// (internal/route). The schema of an answer follows from the Go type of Route.Answer: the JSON
// tags are the names, and the struct tags doc, unit, null and source describe a field. A pointer
// may be null, and so may a slice or a map with the tag null:
//
//	Sats *int64 `json:"sats" unit:"sats" null:"the rate is unknown" doc:"after the fee"`
package openapi

import (
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/mostrodex/mostrodex/internal/route"
)

// Info is the head of a document.
type Info struct {
	Title, Description, Version, License string
	// Schemas holds the schemas of types whose JSON does not follow from their fields.
	Schemas map[reflect.Type]Schema
	// Also holds values of types to which these schemas refer.
	Also []any
	// Docs holds the meaning of fields without the tag doc, by "Type.field" or by "field".
	Docs map[string]string
	// Sources holds the source of fields without the tag source, by type; "" is any other type.
	Sources map[string]string
}

// Schema is a JSON schema.
type Schema = map[string]any

// generator collects the schemas of named types.
type generator struct {
	info  *Info
	named map[string]Schema
	types map[string]reflect.Type
}

// Document returns the OpenAPI document of the public routes below /api/ that a table lists.
func Document(info Info, table route.Table) ([]byte, error) {
	g := &generator{info: &info, named: map[string]Schema{}, types: map[string]reflect.Type{}}
	if err := g.also(); err != nil {
		return nil, err
	}
	paths := map[string]map[string]any{}
	for i := range table {
		r := &table[i]
		if r.Summary == "" || !strings.HasPrefix(r.Path, "/api/") || r.Listener == route.Private {
			continue
		}
		at := pathOf(r)
		if paths[at] == nil {
			paths[at] = map[string]any{}
		}
		operation, err := g.operation(r, at)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", r.Method, at, err)
		}
		paths[at][strings.ToLower(cmp.Or(r.Method, http.MethodGet))] = operation
	}
	g.named["Problem"] = problemSchema
	head := Schema{"title": info.Title, "version": info.Version, "description": info.Description}
	if info.License != "" {
		head["license"] = Schema{"name": info.License, "identifier": info.License}
	}
	return json.MarshalIndent(Schema{
		"openapi": "3.1.0", "info": head, "servers": []any{Schema{"url": "/"}}, "security": []any{}, "paths": paths,
		"components": Schema{"schemas": g.named},
	}, "", " ")
}

// also makes the schemas of Info.Also.
func (g *generator) also() error {
	for _, v := range g.info.Also {
		if _, err := g.schema(reflect.TypeOf(v)); err != nil {
			return err
		}
	}
	return nil
}

// problemSchema is a problem document (RFC 9457).
var problemSchema = Schema{"type": "object", "description": "problem document, RFC 9457", "required": []string{"type", "title", "status", "detail"}, "properties": Schema{
	"type": Schema{"type": "string"}, "title": Schema{"type": "string"}, "status": Schema{"type": "integer"},
	"detail": Schema{"type": "string", "description": "how to correct the request"},
	"param":  Schema{"type": "string", "description": "the parameter that is not understood"}}}

var wildcard = regexp.MustCompile(`\{([a-z_]+)(\.\.\.)?\}`)

// pathOf returns the path of a route as OpenAPI writes it.
func pathOf(r *route.Route) string {
	return wildcard.ReplaceAllString(strings.ReplaceAll(r.Path, "{$}", ""), "{$1}")
}

func (g *generator) operation(r *route.Route, at string) (Schema, error) {
	summary, rest, _ := strings.Cut(r.Summary, "\n")
	op := Schema{"summary": summary, "operationId": operationID(r, at), "tags": []string{tagOf(at)}}
	if rest != "" {
		op["description"] = rest
	}
	params := []any{}
	for _, match := range wildcard.FindAllStringSubmatch(r.Path, -1) {
		name := match[1]
		p := route.Param{Name: name, Doc: name}
		if i := slices.IndexFunc(r.Params, func(p route.Param) bool { return p.InPath && p.Name == name }); i >= 0 {
			p = r.Params[i]
		}
		params = append(params, Schema{"name": name, "in": "path", "required": true, "description": p.Doc, "schema": paramSchema(&p)})
	}
	for i := range r.Params {
		if p := &r.Params[i]; !p.InPath {
			one := Schema{"name": p.Name, "in": "query", "description": p.Doc, "schema": paramSchema(p)}
			if p.Needed {
				one["required"] = true
			}
			params = append(params, one)
		}
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	if r.Body != nil {
		s, err := g.schema(reflect.TypeOf(r.Body))
		if err != nil {
			return nil, err
		}
		op["requestBody"] = Schema{"required": true, "content": Schema{"application/json": Schema{"schema": s}}}
	}
	media := Schema{}
	if r.Answer != nil {
		s, err := g.schema(reflect.TypeOf(r.Answer))
		if err != nil {
			return nil, err
		}
		media["schema"] = s
	}
	responses := Schema{
		"200":     Schema{"description": "the answer", "content": Schema{cmp.Or(r.Media, "application/json"): media}},
		"default": Schema{"description": "the request was refused or failed", "content": Schema{"application/problem+json": Schema{"schema": ref("Problem")}}},
	}
	if r.Answer != nil {
		responses["304"] = Schema{"description": "the client has this answer (If-None-Match)"}
	}
	responses["4XX"] = responses["default"]
	op["responses"] = responses
	return op, nil
}

func operationID(r *route.Route, path string) string {
	if r.Name != "" {
		return r.Name
	}
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(r.Method+path), "_"), "_")
}

// tagOf returns the noun behind /api/v1/ in a path.
func tagOf(path string) string {
	parts := strings.Split(strings.TrimPrefix(path, "/api/v1/"), "/")
	noun, _, _ := strings.Cut(parts[0], ".")
	return noun
}

func paramSchema(p *route.Param) Schema {
	s := Schema{"type": cmp.Or(p.Type, "string")}
	if len(p.Enum) > 0 {
		s["enum"] = p.Enum
	}
	if p.Default != "" {
		s["default"] = json.RawMessage(p.Default)
		if p.Type != "integer" && p.Type != "number" && p.Type != "boolean" {
			s["default"] = p.Default
		}
	}
	if p.Many {
		return Schema{"type": "array", "items": s}
	}
	return s
}

func ref(name string) Schema { return Schema{"$ref": "#/components/schemas/" + name} }

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	rawJSON       = reflect.TypeFor[json.RawMessage]()
)

// schema returns the schema of a type. A struct is a reference to a named schema.
func (g *generator) schema(t reflect.Type) (Schema, error) {
	if s, ok := g.info.Schemas[t]; ok {
		return s, nil
	}
	if t == rawJSON || t.Kind() == reflect.Interface {
		return Schema{}, nil
	}
	if t.Kind() == reflect.Pointer {
		s, err := g.schema(t.Elem())
		if err != nil {
			return nil, err
		}
		return orNull(s), nil
	}
	if t.Implements(jsonMarshaler) || reflect.PointerTo(t).Implements(jsonMarshaler) {
		if k := t.Kind(); k >= reflect.Int && k <= reflect.Float64 { // such as a number with six decimals
			return Schema{"type": "number"}, nil
		}
		return nil, fmt.Errorf("type %s has JSON of its own, and no schema", t)
	}
	if t.Implements(textMarshaler) {
		return Schema{"type": "string"}, nil
	}
	switch t.Kind() {
	case reflect.String:
		return Schema{"type": "string"}, nil
	case reflect.Bool:
		return Schema{"type": "boolean"}, nil
	case reflect.Float32, reflect.Float64:
		return Schema{"type": "number"}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return Schema{"type": "integer"}, nil
	case reflect.Slice, reflect.Array:
		items, err := g.schema(t.Elem())
		return Schema{"type": "array", "items": items}, err
	case reflect.Map:
		values, err := g.schema(t.Elem())
		return Schema{"type": "object", "additionalProperties": values}, err
	case reflect.Struct:
		name := nameOf(t)
		if held, ok := g.types[name]; ok && held != t { // of another package
			name = strings.ToUpper(path.Base(t.PkgPath())[:1]) + path.Base(t.PkgPath())[1:] + name
		}
		if held, ok := g.types[name]; ok {
			if held != t {
				return nil, fmt.Errorf("types %s and %s have one name", held, t)
			}
			return ref(name), nil
		}
		g.types[name] = t // before the fields, which may refer to the type
		s, err := g.object(name, t)
		g.named[name] = s
		return ref(name), err
	}
	return nil, fmt.Errorf("type %s has no JSON", t)
}

// orNull returns a schema that also allows null.
func orNull(s Schema) Schema {
	if one, ok := s["type"].(string); ok {
		out := maps.Clone(s)
		out["type"] = []string{one, "null"}
		return out
	}
	return Schema{"anyOf": []any{s, Schema{"type": "null"}}}
}

// nameOf returns the name of a type in a document: without the ending View, in upper camel case.
func nameOf(t reflect.Type) string {
	name := strings.TrimSuffix(t.Name(), "View")
	return string(unicode.ToUpper(rune(name[0]))) + name[1:]
}

// Field is a field of an object.
type Field struct {
	Name, Type, Unit, Null, Source, Doc string

	of       reflect.Type
	optional bool
}

// fieldsOf returns the fields of a struct as encoding/json writes them. The fields of embedded
// structs come in their place; a name of an outer struct hides the same name further inside.
func fieldsOf(t reflect.Type) (out []Field) {
	for f := range t.Fields() {
		tag, ok := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		if f.Anonymous && name == "" {
			inner, optional := f.Type, false
			if inner.Kind() == reflect.Pointer {
				inner, optional = inner.Elem(), true
			}
			for _, field := range fieldsOf(inner) {
				if field.optional = field.optional || optional; !slices.ContainsFunc(out, func(o Field) bool { return o.Name == field.Name }) {
					out = append(out, field)
				}
			}
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		if !ok || name == "" {
			name = f.Name
		}
		field := Field{Name: name, Unit: cmp.Or(f.Tag.Get("unit"), unitOf(name)), Null: f.Tag.Get("null"), Source: f.Tag.Get("source"), Doc: f.Tag.Get("doc"), of: f.Type, optional: strings.Contains(options, "omitempty")}
		if at := slices.IndexFunc(out, func(o Field) bool { return o.Name == name }); at >= 0 {
			out[at] = field
		} else {
			out = append(out, field)
		}
	}
	return out
}

// fields returns the fields of a named type, with the meanings and sources of Info.
func (g *generator) fields(name string, t reflect.Type) []Field {
	out := fieldsOf(t)
	for i := range out {
		f := &out[i]
		base, _ := strings.CutSuffix(f.Name, "_rfc3339")
		f.Doc = cmp.Or(f.Doc, g.info.Docs[name+"."+f.Name], g.info.Docs[f.Name])
		if f.Doc == "" && base != f.Name {
			f.Doc = "the same as " + base
		}
		f.Source = cmp.Or(f.Source, g.info.Sources[name], g.info.Sources[""])
	}
	return out
}

// unitOf returns the unit that the ending of a name promises.
func unitOf(name string) string {
	for _, u := range [][2]string{{"_at", "unix seconds"}, {"_rfc3339", "RFC 3339"}, {"_sats", "sats"}, {"_pct", "percent"}, {"_seconds", "seconds"}, {"pubkey", "64 hex digits"}, {"event_id", "64 hex digits"}} {
		if strings.HasSuffix(name, u[0]) {
			return u[1]
		}
	}
	return ""
}

func (f *Field) description() string {
	var parts []string
	if f.Doc != "" {
		parts = append(parts, f.Doc)
	}
	for _, part := range [][2]string{{"unit: ", f.Unit}, {"null: ", f.Null}, {"from: ", f.Source}} {
		if part[1] != "" {
			parts = append(parts, part[0]+part[1])
		}
	}
	return strings.Join(parts, "; ")
}

func (g *generator) object(name string, t reflect.Type) (Schema, error) {
	properties, required := Schema{}, []string{}
	for _, f := range g.fields(name, t) {
		s, err := g.schema(f.of)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if k := f.of.Kind(); f.Null != "" && (k == reflect.Slice || k == reflect.Map) {
			s = orNull(s)
		}
		if text := f.description(); text != "" {
			s = maps.Clone(s)
			s["description"] = text
		}
		properties[f.Name] = s
		if !f.optional {
			required = append(required, f.Name)
		}
	}
	s := Schema{"type": "object", "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s, nil
}
