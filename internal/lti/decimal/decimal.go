// Package decimal computes with scores exactly.
//
// A score goes through several systems, and each of them compares it with
// something: with the maximum, with the one sent before, with the minimum to
// pass. Binary floating point turns 0.7 into something else on the way, so that
// an exam is failed by 10^-17. Here a number is the text of its digits, and is
// never rounded except where a function says so.
package decimal

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// Limits of [Parse]. No score needs as much; without them "1e999999999" is a
// gigabyte.
const (
	// MaxText is the longest text of a number, in bytes: enough for whatever
	// String returns for a number that was read.
	MaxText = 100
	// MaxDigits is the largest number of digits before the point, and after it.
	MaxDigits = 40
)

// ErrSyntax means that a text is no number, or one beyond the limits.
var ErrSyntax = errors.New("decimal: not a decimal number")

// A Decimal is an exact decimal number. The zero value is 0. Two decimals are
// equal exactly if == says so.
type Decimal struct {
	// text is canonical: an optional "-", digits without leading zeros (at
	// least one), and perhaps a point and digits without trailing zeros. 0 is
	// "", so that the zero value has the one text there is for 0.
	text string
}

// FromInt returns n.
func FromInt(n int64) Decimal { return canonical(strconv.FormatInt(n, 10)) }

// Parse reads a number: an optional sign, digits with or without a point, and
// perhaps an exponent. That is what JSON allows (RFC 8259 section 6), and
// besides "+1", ".5", "5." and leading zeros, which other systems send too.
// There is no rounding: a number with more than MaxDigits on either side of the
// point is an error, as is anything else.
func Parse(s string) (Decimal, error) {
	if len(s) > MaxText {
		return Decimal{}, ErrSyntax
	}
	negative := strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	exponent := 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		var ok bool
		if exponent, ok = parseExponent(s[i+1:]); !ok {
			return Decimal{}, ErrSyntax
		}
		s = s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	if whole+fraction == "" || !digits(whole) || !digits(fraction) {
		return Decimal{}, ErrSyntax
	}
	whole, fraction = shift(whole, fraction, exponent)
	whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	if len(whole) > MaxDigits || len(fraction) > MaxDigits {
		return Decimal{}, ErrSyntax
	}
	text := "0" + whole
	if fraction != "" {
		text += "." + fraction
	}
	if negative {
		text = "-" + text
	}
	return canonical(text), nil
}

// parseExponent reads the digits after "e".
func parseExponent(s string) (int, bool) {
	if d := strings.TrimLeft(s, "+-"); len(s)-len(d) > 1 || d == "" || !digits(d) {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	// Beyond this even MaxText digits leave the limits, unless they are zeros;
	// 0e9999 is nothing anybody sends.
	if err != nil || n > MaxText+MaxDigits || n < -MaxText-MaxDigits {
		return 0, false
	}
	return n, true
}

// shift moves the point by n places to the right.
func shift(whole, fraction string, n int) (string, string) {
	if n >= 0 {
		fraction += strings.Repeat("0", max(0, n-len(fraction)))
		return whole + fraction[:n], fraction[n:]
	}
	whole = strings.Repeat("0", max(0, -n-len(whole))) + whole
	return whole[:len(whole)+n], whole[len(whole)+n:] + fraction
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// canonical removes zeros that say nothing from a text that is a number.
func canonical(text string) Decimal {
	s, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(s, ".")
	whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	if whole == "" && fraction == "" {
		return Decimal{}
	}
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if negative {
		whole = "-" + whole
	}
	return Decimal{whole}
}

// String returns the number in plain notation: no exponent, no zeros that say
// nothing, "." as the point. It is a JSON number.
func (d Decimal) String() string {
	if d.text == "" {
		return "0"
	}
	return d.text
}

// Sign returns -1, 0 or 1.
func (d Decimal) Sign() int {
	switch {
	case d.text == "":
		return 0
	case d.text[0] == '-':
		return -1
	}
	return 1
}

// Cmp returns -1, 0 or 1 as d is less than, equal to or greater than e.
func (d Decimal) Cmp(e Decimal) int {
	a, b, _ := aligned(d, e)
	return a.Cmp(b)
}

// Sub returns d - e.
func (d Decimal) Sub(e Decimal) Decimal {
	a, b, scale := aligned(d, e)
	return fromUnscaled(a.Sub(a, b), scale)
}

// Mul returns d × e. The product of numbers within the limits of Parse may lie
// beyond them.
func (d Decimal) Mul(e Decimal) Decimal {
	a, m := d.unscaled()
	b, n := e.unscaled()
	return fromUnscaled(a.Mul(a, b), m+n)
}

// Abs returns d without its sign.
func (d Decimal) Abs() Decimal { return Decimal{strings.TrimPrefix(d.text, "-")} }

// Quo returns d / e, cut off after a number of places: never further from 0
// than the true value, so that no score becomes better than it is. It returns
// false if e is 0.
func (d Decimal) Quo(e Decimal, places int) (Decimal, bool) {
	if e.Sign() == 0 {
		return Decimal{}, false
	}
	places = max(places, 0)
	a, b, _ := aligned(d, e)
	a.Mul(a, power(places))
	return fromUnscaled(a.Quo(a, b), places), true
}

// unscaled returns n and scale such that d = n / 10^scale.
func (d Decimal) unscaled() (n *big.Int, scale int) {
	whole, fraction, _ := strings.Cut(d.String(), ".")
	n, _ = new(big.Int).SetString(whole+fraction, 10) // the text is canonical
	return n, len(fraction)
}

// aligned returns both numbers with one scale.
func aligned(d, e Decimal) (a, b *big.Int, scale int) {
	a, m := d.unscaled()
	b, n := e.unscaled()
	scale = max(m, n)
	return a.Mul(a, power(scale-m)), b.Mul(b, power(scale-n)), scale
}

func power(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

func fromUnscaled(n *big.Int, scale int) Decimal {
	s, negative := strings.CutPrefix(n.String(), "-")
	whole, fraction := shift(s, "", -scale)
	s = whole + "." + fraction
	if negative {
		s = "-" + s
	}
	return canonical(s)
}

// MarshalJSON writes the number as a JSON number.
func (d Decimal) MarshalJSON() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON reads a JSON number within the limits of Parse; a string, null
// and all else are errors.
func (d *Decimal) UnmarshalJSON(text []byte) error {
	if len(text) == 0 || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return ErrSyntax
	}
	n, err := Parse(string(text))
	if err != nil {
		return err
	}
	*d = n
	return nil
}
