package decimal

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("9", MaxDigits)
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "0.000": "0", "-0.0e5": "0", "+0": "0", "00": "0", ".0": "0", "0.": "0",
		"1": "1", "+1": "1", "-1": "-1", "007": "7", "10": "10", "1.": "1", ".5": "0.5", "-.5": "-0.5",
		"66.00000": "66", "0.85": "0.85", "0.70": "0.7", "7.5": "7.5", "100": "100",
		"1e2": "100", "1E+2": "100", "1e-2": "0.01", "12.34e1": "123.4", "12.34e3": "12340", "12.34e-3": "0.01234", "1e0": "1",
		long: long, "0." + long: "0." + long, "-0." + long: "-0." + long, "1e39": "1" + strings.Repeat("0", 39),
		"": "", "-": "", "+": "", ".": "", "-.": "", "e1": "", ".e1": "", "1e": "", "1e+": "", "1e+-1": "", "1e1.5": "", "1e1e1": "",
		"1.2.3": "", "1,5": "", " 1": "", "1 ": "", "0x10": "", "1_000": "", "Inf": "", "NaN": "", "--1": "", "+-1": "", "½": "", "１": "",
		"1e40": "", "1e-41": "", "1e999999999": "", "1e-999999999": "", "1e99999999999999999999": "",
		long + "9": "", "0." + long + "9": "", strings.Repeat("0", MaxText) + "1": "",
	} {
		got, err := Parse(in)
		if want == "" {
			if !errors.Is(err, ErrSyntax) || got != (Decimal{}) {
				t.Errorf("%q: %v, %v", in, got, err)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q: %v, %v, want %s", in, got, err, want)
		}
	}
}

func TestJSON(t *testing.T) {
	for in, want := range map[string]string{
		`7.50`: `7.5`, `-0`: `0`, `1e2`: `100`, `0`: `0`,
		`"7.5"`: "", `null`: "", `true`: "", `[1]`: "", `1e400`: "", `{}`: "",
	} {
		d := FromInt(-3)
		err := json.Unmarshal([]byte(in), &d)
		if want == "" {
			if err == nil || d != FromInt(-3) {
				t.Errorf("%s: %v, %v", in, d, err)
			}
			continue
		}
		out, marshalErr := json.Marshal(d)
		if err != nil || marshalErr != nil || string(out) != want {
			t.Errorf("%s: %s, %v, %v", in, out, err, marshalErr)
		}
	}
}

func TestQuoCutsOff(t *testing.T) {
	for _, tt := range []struct {
		a, b   string
		places int
		want   string
	}{
		{"2", "3", 5, "0.66666"},
		{"-2", "3", 5, "-0.66666"},
		{"7.5", "10", 15, "0.75"},
		{"10", "10", 15, "1"},
		{"29.9999999", "30", 3, "0.999"},
		{"1", "8", 0, "0"},
		{"9", "8", -1, "1"},
		{"0", "3", 2, "0"},
	} {
		a, _ := Parse(tt.a)
		b, _ := Parse(tt.b)
		if got, ok := a.Quo(b, tt.places); !ok || got.String() != tt.want {
			t.Errorf("%s / %s: %v, %v", tt.a, tt.b, got, ok)
		}
	}
	if got, ok := FromInt(1).Quo(Decimal{}, 3); ok || got.Sign() != 0 {
		t.Error("divided by zero")
	}
}

// numbers draws a number and an exact rational for it.
func numbers() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		s := rapid.StringMatching(`-?[0-9]{1,12}(\.[0-9]{1,12})?`).Draw(t, "number")
		if rapid.Bool().Draw(t, "exponent") {
			s += fmt.Sprintf("e%d", rapid.IntRange(-12, 12).Draw(t, "e"))
		}
		return s
	})
}

func rational(t *rapid.T, s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("math/big does not read %q", s)
	}
	return r
}

// Every operation gives what math/big gives with fractions; equality is ==.
func TestAgainstRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, u := numbers().Draw(t, "a"), numbers().Draw(t, "b")
		a, err := Parse(s)
		b, err2 := Parse(u)
		if err != nil || err2 != nil {
			t.Fatal(s, u, err, err2)
		}
		x, y := rational(t, s), rational(t, u)
		same := func(what string, got Decimal, want *big.Rat) {
			if rational(t, got.String()).Cmp(want) != 0 {
				t.Fatalf("%s of %s and %s: %s", what, s, u, got)
			}
			back, err := Parse(got.String())
			if (err != nil && len(got.String()) <= MaxDigits) || (err == nil && back != got) {
				t.Fatalf("%s does not survive being written: %v, %v", got, back, err)
			}
		}
		same("text", a, x)
		same("difference", a.Sub(b), new(big.Rat).Sub(x, y))
		same("product", a.Mul(b), new(big.Rat).Mul(x, y))
		same("absolute", a.Abs(), new(big.Rat).Abs(x))
		if a.Cmp(b) != x.Cmp(y) || (a == b) != (x.Cmp(y) == 0) || a.Sign() != x.Sign() {
			t.Fatalf("comparing %s and %s", s, u)
		}
		places := rapid.IntRange(0, 20).Draw(t, "places")
		q, ok := a.Quo(b, places)
		if ok == (y.Sign() == 0) {
			t.Fatalf("dividing by %s: %v", u, ok)
		}
		if ok {
			want := new(big.Rat).Quo(x, y)
			got := rational(t, q.String())
			rest := new(big.Rat).Sub(want.Abs(want), got.Abs(got))
			limit := new(big.Rat).SetFrac(big.NewInt(1), power(places))
			if rest.Sign() < 0 || rest.Cmp(limit) >= 0 {
				t.Fatalf("%s / %s to %d places: %s", s, u, places, q)
			}
		}
	})
}

// Whatever is read is a number that math/big reads too, in a form that is
// written and read back the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"66.00000", "-0", "1e-2", ".5", "5.", "1e999999999", "+1", "0x1", "1_0", "--1", "9e40"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Parse(s)
		if err != nil {
			if d != (Decimal{}) {
				t.Fatalf("an error and %v", d)
			}
			return
		}
		want, ok := new(big.Rat).SetString(s)
		got, ok2 := new(big.Rat).SetString(d.String())
		if !ok || !ok2 || want.Cmp(got) != 0 {
			t.Fatalf("%q is %s", s, d)
		}
		text, err := json.Marshal(d)
		var back Decimal
		if err != nil || json.Unmarshal(text, &back) != nil || back != d {
			t.Fatalf("%q: %s, %v, %v", s, text, back, err)
		}
	})
}
