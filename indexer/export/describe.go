package export

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Licence of the compilation. The texts of events are their authors'.
const (
	LicenceName  = "CC0-1.0"
	LicenceTitle = "Creative Commons Zero v1.0 Universal"
	LicenceURL   = "https://creativecommons.org/publicdomain/zero/1.0/"
	// LicenceLine is the line about the licence in every description of the data.
	LicenceLine = "The operator of this relay places the compilation under CC0-1.0. The rows repeat public signed events; their texts are statements of their authors."
)

// File is a file of one data set and one closed month.
type File struct {
	Set    string    `json:"set" doc:"name of the data set"`
	Month  Month     `json:"month" doc:"month of receipt in UTC, such as 2026-09"`
	Format Format    `json:"format" doc:"parquet or csv.gz"`
	Path   string    `json:"path" doc:"path of the file below /api/v1/export/"`
	Rows   int64     `json:"rows" doc:"rows of the file"`
	Bytes  int64     `json:"bytes" unit:"bytes" doc:"size of the file"`
	SHA256 string    `json:"sha256" doc:"hash of the file; the ETag is made of it"`
	MadeAt time.Time `json:"made_at" unit:"RFC 3339" doc:"time at which the file was written; a file is written again if an event left it"`
}

// Format is the format of a file, which is also the ending of its name.
type Format string

// Formats of files.
const (
	Parquet Format = "parquet"
	CSV     Format = "csv.gz"
)

// Month is a month in UTC, such as "2026-09".
type Month string

const monthLayout = "2006-01"

// MonthOf returns the month of a time.
func MonthOf(t time.Time) Month { return Month(t.UTC().Format(monthLayout)) }

// Window returns the time that the month covers. The month must come from MonthOf or
// ParseMonth.
func (m Month) Window() Window {
	from, err := time.Parse(monthLayout, string(m))
	if err != nil {
		return Window{}
	}
	return Window{from, from.AddDate(0, 1, 0)}
}

// ParseMonth parses a month.
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse(monthLayout, s)
	if err != nil || t.Year() < 1970 {
		return "", fmt.Errorf("%q is no month such as 2026-09", s)
	}
	return MonthOf(t), nil
}

// PathOf returns the path of the file of a data set and a month, in the layout of Hive.
func PathOf(set string, m Month, format Format) string {
	year, month, _ := strings.Cut(string(m), "-")
	return set + "/year=" + year + "/month=" + month + "/" + set + "." + string(format)
}

// nameOf returns the name of a file in descriptions.
func nameOf(f *File) string { return f.Set + "-" + string(f.Month) }

const description = "Orders, versions of orders, completed trades, statistics, signed events and self-descriptions of Mostros, as one relay received them. " + LicenceLine

// noted returns the description with a notice before it.
func noted(notice string) string { return strings.TrimSpace(notice + " " + description) }

type object = map[string]any

// DataPackage returns the Frictionless data package (datapackage.json) of files. Its paths are
// relative to the place of the document. The files of CSV are tables with a schema. Those of
// Parquet describe themselves, and are listed with their hashes alone: Frictionless 5 takes the
// unknown integers of Parquet for errors. notice begins the description if it is not "", as it does
// for invented data.
func DataPackage(files []File, notice string) ([]byte, error) {
	resources := []any{}
	for i := range files {
		f := &files[i]
		set, ok := SetOf(f.Set)
		if !ok {
			return nil, fmt.Errorf("no data set %q", f.Set)
		}
		resource := object{"name": nameOf(f), "title": set.Name + " of " + string(f.Month), "description": set.Doc, "path": f.Path, "bytes": f.Bytes, "hash": "sha256:" + f.SHA256}
		resources = append(resources, resource)
		if f.Format == Parquet {
			resource["name"], resource["type"], resource["format"], resource["mediatype"] = nameOf(f)+"-parquet", "file", "parquet", "application/vnd.apache.parquet"
			continue
		}
		var fields []any
		for _, c := range set.Columns {
			field := object{"name": c.Name, "type": string(c.Type), "description": c.text()}
			if c.Null == "" && c.Type != List {
				field["constraints"] = object{"required": true}
			}
			fields = append(fields, field)
		}
		resource["type"], resource["format"], resource["compression"], resource["mediatype"], resource["encoding"] = "table", "csv", "gz", "application/gzip", "utf-8"
		resource["schema"] = object{"fields": fields, "primaryKey": set.Key}
	}
	doc := object{"name": "mostrodex", "title": "Market data of Mostros", "description": noted(notice), "created": latest(files).Format(time.RFC3339), "resources": resources,
		"licenses": []any{object{"name": LicenceName, "title": LicenceTitle, "path": LicenceURL}}}
	return json.MarshalIndent(doc, "", " ")
}

// text returns the description of a column with its unit and its null rule.
func (c *Column) text() string {
	out := c.Doc
	if c.Unit != "" {
		out += "; unit: " + c.Unit
	}
	if c.Null != "" {
		out += "; null: " + c.Null
	}
	return out
}

func latest(files []File) (t time.Time) {
	for i := range files {
		if files[i].MadeAt.After(t) {
			t = files[i].MadeAt
		}
	}
	return t.UTC()
}

// croissantContext is the JSON-LD context of Croissant 1.0.
const croissantContext = `{"@language":"en","@vocab":"https://schema.org/","citeAs":"cr:citeAs","column":"cr:column","conformsTo":"dct:conformsTo","cr":"http://mlcommons.org/croissant/","data":{"@id":"cr:data","@type":"@json"},"dataBiases":"cr:dataBiases","dataCollection":"cr:dataCollection","dataType":{"@id":"cr:dataType","@type":"@vocab"},"dct":"http://purl.org/dc/terms/","examples":{"@id":"cr:examples","@type":"@json"},"extract":"cr:extract","field":"cr:field","fileProperty":"cr:fileProperty","fileObject":"cr:fileObject","fileSet":"cr:fileSet","format":"cr:format","includes":"cr:includes","isLiveDataset":"cr:isLiveDataset","jsonPath":"cr:jsonPath","key":"cr:key","md5":"cr:md5","parentField":"cr:parentField","path":"cr:path","personalSensitiveInformation":"cr:personalSensitiveInformation","recordSet":"cr:recordSet","references":"cr:references","regex":"cr:regex","repeated":"cr:repeated","replace":"cr:replace","sc":"https://schema.org/","separator":"cr:separator","source":"cr:source","subField":"cr:subField","transform":"cr:transform"}`

var croissantTypes = map[Type]string{Text: "sc:Text", Integer: "sc:Integer", Number: "sc:Float", Boolean: "sc:Boolean", Time: "sc:DateTime", List: "sc:Text"}

// Croissant returns the Croissant 1.0 metadata of the files of Parquet. base is the address below which the
// files are served, and ends with a slash. notice is as for DataPackage.
func Croissant(files []File, base, notice string) ([]byte, error) {
	distribution, records := []any{}, []any{}
	for i := range files {
		f := &files[i]
		set, ok := SetOf(f.Set)
		if !ok {
			return nil, fmt.Errorf("no data set %q", f.Set)
		}
		if f.Format != Parquet {
			continue
		}
		id := nameOf(f)
		distribution = append(distribution, object{"@type": "cr:FileObject", "@id": id + ".parquet", "name": id + ".parquet", "description": set.Doc, "contentUrl": base + f.Path, "contentSize": fmt.Sprintf("%d B", f.Bytes),
			"encodingFormat": "application/x-parquet", "sha256": f.SHA256})
		var fields []any
		for _, c := range set.Columns {
			field := object{"@type": "cr:Field", "@id": id + "/" + c.Name, "name": c.Name, "description": c.text(), "dataType": croissantTypes[c.Type],
				"source": object{"fileObject": object{"@id": id + ".parquet"}, "extract": object{"column": c.Name}}}
			if c.Type == List {
				field["repeated"] = true
			}
			fields = append(fields, field)
		}
		records = append(records, object{"@type": "cr:RecordSet", "@id": id, "name": id, "description": set.Doc, "field": fields})
	}
	at := latest(files)
	doc := object{"@context": json.RawMessage(croissantContext), "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0", "name": "mostrodex", "description": noted(notice),
		"license": LicenceURL, "url": base, "datePublished": at.Format(time.RFC3339), "version": at.Format("2006.1.2"), "isLiveDataset": true,
		"creator": object{"@type": "sc:Organization", "name": "the operator of the relay", "url": base}, "citeAs": "Market data of Mostros, " + base,
		"distribution": distribution, "recordSet": records}
	return json.MarshalIndent(doc, "", " ")
}

// Checksums returns the list of hashes in the form that sha256sum -c reads.
func Checksums(files []File) []byte {
	var out strings.Builder
	for i := range files {
		fmt.Fprintf(&out, "%s  %s\n", files[i].SHA256, files[i].Path)
	}
	return []byte(out.String())
}

// SortFiles sorts files by data set, month and format.
func SortFiles(files []File) {
	slices.SortFunc(files, func(a, b File) int {
		return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.Month, b.Month), cmp.Compare(a.Format, b.Format))
	})
}
