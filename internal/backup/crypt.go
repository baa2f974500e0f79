package backup

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// Errors of a secret part. Each text is a complete sentence for the operator.
var (
	ErrNoIdentity = errors.New("the secret part of the backup cannot be opened with this identity or passphrase: name the one that belongs to the recipient of the backup")
	ErrPassphrase = errors.New("the passphrase is empty, or longer than 4096 bytes: write it on one line of the file")
)

// Passphrase returns the text of a file with a passphrase, without the end of its line.
func Passphrase(text string) (string, error) {
	text = strings.TrimRight(text, "\r\n")
	if text == "" || len(text) > 4096 {
		return "", ErrPassphrase
	}
	return text, nil
}

// Recipients parses the recipients of age, one a line; # begins a comment.
func Recipients(text string) ([]age.Recipient, error) {
	list, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("recipients: %w: name public keys of age, which begin with age1 (make one with 'age-keygen')", err)
	}
	return list, nil
}

// PassphraseRecipient returns the recipient of a passphrase.
func PassphraseRecipient(passphrase string) (age.Recipient, error) {
	return age.NewScryptRecipient(passphrase)
}

// Identities parses the identities of age, one a line; # begins a comment.
func Identities(text string) ([]age.Identity, error) {
	list, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		// The error of age may quote a line of the file, which is a secret.
		return nil, errors.New("the file of identities has no key of age: its lines begin with AGE-SECRET-KEY-1")
	}
	return list, nil
}

// PassphraseIdentity returns the identity of a passphrase.
func PassphraseIdentity(passphrase string) (age.Identity, error) {
	return age.NewScryptIdentity(passphrase)
}

// Encrypt returns a writer that encrypts to w. The caller closes the writer.
func Encrypt(w io.Writer, to []age.Recipient) (io.WriteCloser, error) {
	return age.Encrypt(w, to...)
}

// Decrypt returns the content of r.
func Decrypt(r io.Reader, with []age.Identity) (io.Reader, error) {
	if len(with) == 0 {
		return nil, ErrNoIdentity
	}
	in, err := age.Decrypt(r, with...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, ErrNoIdentity
	}
	if err != nil {
		return nil, damagef("its secret part is not legible")
	}
	return decrypted{in}, nil
}

type decrypted struct{ in io.Reader }

func (d decrypted) Read(b []byte) (int, error) {
	n, err := d.in.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damagef("its secret part was changed, or ends too early")
	}
	return n, err
}
