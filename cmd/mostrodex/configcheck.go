package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// knownKeys returns every key of the config, such as "relay.url", sorted.
func knownKeys() (keys []string) {
	var walk func(prefix string, t reflect.Type)
	walk = func(prefix string, t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			key := prefix + f.Tag.Get("toml")
			inner := f.Type
			if inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				walk(key+".", inner)
			} else {
				keys = append(keys, key)
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
	slices.Sort(keys)
	return keys
}

// nearestKey returns the known key that an operator may have meant by an unknown one, or "". A
// key in the wrong section is recognized by its last part.
func nearestKey(unknown string) string {
	last := func(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
	best, least := "", 0
	for _, key := range knownKeys() {
		distance := min(editDistance(unknown, key), 1+editDistance(last(unknown), last(key))*2)
		if best == "" || distance < least {
			best, least = key, distance
		}
	}
	if least > max(2, (len(last(unknown))+2)/3) {
		return ""
	}
	return best
}

// maxKeyLength bounds the unknown keys for which a known one is looked for.
const maxKeyLength = 100

// editDistance returns the number of inserted, deleted, replaced and swapped bytes between two
// keys.
func editDistance(a, b string) int {
	if len(a) > maxKeyLength || len(b) > maxKeyLength {
		return max(len(a), len(b))
	}
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	var older []int
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		older, before, row = before, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(before[j]+cost, before[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], older[j-1]+1)
			}
		}
	}
	return row[len(b)]
}

func newConfigCmd() *cobra.Command {
	return groupOf("config", "Check a configuration", newConfigCheckCmd())
}

func newConfigCheckCmd() *cobra.Command {
	var configPath string
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Read a configuration, and say what is wrong with it",
		Long: `Read a configuration file and the MOSTRODEX_SECTION_KEY variables as serve does,
and say what is wrong: unknown keys with the known key that may be meant, invalid
values, and what serve would warn of. Nobody is asked; 'mostrodex doctor' checks
the Lightning node and the relays as well.

The exit code is 3 if serve would not start. Warnings do not change it.`,
		Example: `  mostrodex config check /etc/mostrodex.toml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && configPath != "" {
				return usagef("config check takes one file")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				configPath = args[0]
			}
			cfg, err := loadConfig(configPath, os.Environ())
			if err != nil {
				return configError{err}
			}
			list := slices.DeleteFunc(advice(&cfg), func(f finding) bool { return f.State == isFine })
			if err := printFindings(cmd.OutOrStdout(), list); err != nil {
				return err
			}
			if n := failures(list); n > 0 {
				return configError{errors.New("serve would not start")}
			}
			name := configPath
			if name == "" {
				name = "the default configuration"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is valid, with %d warnings\n", name, len(list))
			return err
		},
	}
	cmd.Flags().StringVarP(&configPath, "config", "c", "", "config file (TOML)")
	return cmd
}
