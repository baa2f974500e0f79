package openapi

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/route"
)

// columns is the width of prose in the dictionary. A row of a table may be wider.
const columns = 100

// Dictionary returns the routes of a table with their parameters, and the fields of all answers,
// as Markdown.
func Dictionary(info Info, table route.Table) (string, error) {
	g := &generator{info: &info, named: map[string]Schema{}, types: map[string]reflect.Type{}}
	if err := g.also(); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("## Routes\n")
	for i := range table {
		r := &table[i]
		if r.Answer == nil && len(r.Params) == 0 || r.Summary == "" || r.Listener == route.Private {
			continue
		}
		text := strings.ReplaceAll(sentence(r.Summary), "\n", " ") + "."
		fmt.Fprintf(&b, "\n### `%s %s`\n\n%s\n", r.Method, pathOf(r), strings.Join(route.Wrap(text, columns), "\n"))
		if r.Answer != nil {
			s, err := g.schema(reflect.TypeOf(r.Answer))
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "\nAnswer: %s.\n", typeText(s))
		} else if r.Media != "" {
			fmt.Fprintf(&b, "\nAnswer: `%s`.\n", r.Media)
		}
		if len(r.Params) > 0 {
			b.WriteString("\n| parameter | type | default | meaning |\n|---|---|---|---|\n")
			for _, p := range r.Params {
				kind := cmp.Or(p.Type, "string")
				switch {
				case len(p.Enum) > 0:
					kind = strings.Join(p.Enum, ", ")
				case p.InPath:
					kind += ", in the path"
				}
				if p.Many {
					kind += "; may be repeated"
				}
				if p.Needed {
					kind += "; needed"
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", p.Name, cell(kind), cell(p.Default), cell(p.Doc))
			}
		}
	}
	b.WriteString("\n## Fields\n")
	for _, name := range slices.Sorted(maps.Keys(g.types)) {
		fmt.Fprintf(&b, "\n### %s\n\n| field | type | unit | null if | source | meaning |\n|---|---|---|---|---|---|\n", name)
		for _, f := range g.fields(name, g.types[name]) {
			s, err := g.schema(f.of)
			if err != nil {
				return "", err
			}
			null := f.Null
			if null == "" && f.of.Kind() == reflect.Pointer && !f.optional {
				null = "unknown"
			}
			if f.optional {
				null = strings.TrimPrefix(null+", or absent", ", or ")
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", f.Name, cell(typeText(s)), cell(f.Unit), cell(null), cell(f.Source), cell(f.Doc))
		}
	}
	return b.String(), nil
}

// sentence returns a text with a capital letter at the begin.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".")
}

func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) }

// typeText returns a schema as a short text.
func typeText(s Schema) string {
	if name, ok := s["$ref"].(string); ok {
		name = name[strings.LastIndexByte(name, '/')+1:]
		return "[" + name + "](#" + strings.ToLower(name) + ")"
	}
	if any, ok := s["anyOf"].([]any); ok {
		return typeText(any[0].(Schema))
	}
	kind, _ := s["type"].(string)
	if several, ok := s["type"].([]string); ok {
		kind = several[0]
	}
	switch kind {
	case "array":
		return "list of " + typeText(s["items"].(Schema))
	case "object":
		if values, ok := s["additionalProperties"].(Schema); ok {
			return "map of text to " + typeText(values)
		}
	case "":
		return "any"
	}
	return kind
}
