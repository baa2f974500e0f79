package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mostrodex/mostrodex/internal/newfile"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/spf13/cobra"
)

// maxKeyFile is the maximum size of a key file in bytes.
const maxKeyFile = 4096

// newKeysCmd returns the verbs for key files.
func newKeysCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make, derive and show keys",
		Long: `Make, derive and show keys.

A key file holds a secret key as 64 hex digits or as nsec, or a seed phrase of
BIP-39 words from which the identity key (index 0) and the trade keys (1, 2,
3...) derive by m/44'/1237'/38383'/0/i. Secrets are written to files only, with
mode 0600, and never printed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeysNewCmd(), newKeysDeriveCmd(), newKeysShowCmd())
	return cmd
}

func newKeysNewCmd() *cobra.Command {
	var file, words string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "new --key FILE | --words FILE",
		Short: "Make a new secret key, or a seed phrase",
		Example: `  mostrodex keys new --key node.key
  mostrodex keys new --words seed.txt`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if words == "" {
				keys, err := envelope.NewKeys(nil)
				if err != nil {
					return err
				}
				if err := writeSecret(file, hexOf(keys)); err != nil {
					return err
				}
				return printKeys(cmd.OutOrStdout(), keys, asJSON)
			}
			phrase, err := envelope.NewWords()
			if err != nil {
				return fmt.Errorf("make a seed phrase: %w", err)
			}
			keys, err := keysOf(phrase)
			if err != nil {
				return err
			}
			if err := writeSecret(words, phrase); err != nil {
				return err
			}
			return printKeys(cmd.OutOrStdout(), keys, asJSON)
		},
	}
	cmd.Flags().StringVar(&file, "key", "", "file to write the secret key to; it must not exist")
	cmd.Flags().StringVar(&words, "words", "", "file to write a seed phrase of 24 words to instead; its identity key is shown")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.MarkFlagsOneRequired("key", "words")
	cmd.MarkFlagsMutuallyExclusive("key", "words")
	return cmd
}

func newKeysDeriveCmd() *cobra.Command {
	var file, words string
	var index uint32
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "derive [--words FILE] [--index N] [--key FILE]",
		Short: "Derive the identity or a trade key from a seed phrase",
		Long: `Derive the identity key or a trade key from a seed phrase, which is read from
--words, or from standard input. The derived secret is written to --key; without
it, only the public key is shown. If --words is not given and --key exists, the
seed phrase is read from there and nothing is written.`,
		Example: `  mostrodex keys derive --words seed.txt                          the identity key
  mostrodex keys derive --words seed.txt --index 3 --key trade3.key`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if words == "" && file != "" {
				if _, err := os.Stat(file); err == nil {
					words, file = file, ""
				}
			}
			var text string
			var err error
			if words == "" || words == "-" {
				words = "standard input"
				text, err = readSecretFrom(cmd.InOrStdin(), words)
			} else {
				text, err = readSecret(words)
			}
			if err != nil {
				return err
			}
			w, err := envelope.ParseWords(text)
			if err != nil {
				return fmt.Errorf("%s: %w", words, err)
			}
			var keys *envelope.Keys
			if index == 0 {
				keys, err = w.Identity()
			} else {
				keys, err = w.Trade(index)
			}
			if err != nil {
				return err
			}
			if file != "" {
				if err := writeSecret(file, hexOf(keys)); err != nil {
					return err
				}
			}
			return printKeys(cmd.OutOrStdout(), keys, asJSON)
		},
	}
	cmd.Flags().StringVar(&words, "words", "", "file with the seed phrase, - for standard input")
	cmd.Flags().Uint32Var(&index, "index", 0, "0 for the identity key, 1 and up for trade keys")
	cmd.Flags().StringVar(&file, "key", "", "file to write the derived secret key to")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newKeysShowCmd() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:          "show --key FILE",
		Short:        "Show the public key of a key file",
		Example:      "  mostrodex keys show --key node.key --json",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := loadKeys(file)
			if err != nil {
				return err
			}
			return printKeys(cmd.OutOrStdout(), keys, asJSON)
		},
	}
	cmd.Flags().StringVar(&file, "key", "", "key file: hex, nsec, or a seed phrase (its identity key)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	markRequired(cmd, "key")
	return cmd
}

// loadKeys reads a key file.
func loadKeys(file string) (*envelope.Keys, error) {
	text, err := readSecret(file)
	if err != nil {
		return nil, err
	}
	keys, err := keysOf(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// keysOf parses a secret. One word is a key, and several words are a seed phrase.
func keysOf(text string) (*envelope.Keys, error) {
	if len(strings.Fields(text)) > 1 {
		w, err := envelope.ParseWords(text)
		if err != nil {
			return nil, err
		}
		return w.Identity()
	}
	return envelope.ParseSecret(text)
}

func readSecret(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("key file: %w", err)
	}
	defer f.Close()
	return readSecretFrom(f, file)
}

func readSecretFrom(r io.Reader, name string) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	if err != nil {
		return "", fmt.Errorf("key file: %w", err)
	}
	if len(b) > maxKeyFile {
		return "", fmt.Errorf("%s: larger than %d bytes", name, maxKeyFile)
	}
	return string(b), nil
}

// writeSecret writes a key file in whole or not at all. It returns an error if the file exists,
// because the trades of an overwritten key would be lost.
func writeSecret(file, secret string) error {
	if err := newfile.Write(file, []byte(secret+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	return nil
}

func hexOf(keys *envelope.Keys) string {
	secret := keys.Secret()
	return hex.EncodeToString(secret[:])
}

func printKeys(w io.Writer, keys *envelope.Keys, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Pubkey string `json:"pubkey"`
			Npub   string `json:"npub"`
		}{keys.Pubkey(), keys.Npub()})
	}
	_, err := fmt.Fprintf(w, "pubkey  %s\nnpub    %s\n", keys.Pubkey(), keys.Npub())
	return err
}

// markRequired marks flags that were just defined as required.
func markRequired(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag does not exist, which is a mistake in the caller
		}
	}
}
