package jws

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// ParseObject reads a JSON object strictly: valid UTF-8, nothing after it, and
// no member name twice at any depth. RFC 7519 section 4 and RFC 7515 section 4
// allow to take the last of two equal names or to refuse; taking one is a way
// to show two programs two different tokens. Names are matched exactly, which
// decoding into a struct does not do.
func ParseObject(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var obj map[string]any
	if err := dec.Decode(&obj); err != nil {
		return nil, errors.New("not a JSON object")
	}
	if obj == nil {
		return nil, errors.New("null instead of a JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("text after the JSON object")
	}
	if repeatsName(text) {
		return nil, errors.New("member name occurs twice")
	}
	return obj, nil
}

// repeatsName reports whether an object in a valid JSON text has a member name
// twice.
func repeatsName(text []byte) bool {
	type level struct {
		names map[string]bool // nil in an array
		name  bool            // the next string is a name
	}
	var stack []level
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{':
			stack = append(stack, level{names: map[string]bool{}, name: true})
		case '[':
			stack = append(stack, level{})
		case '}', ']':
			stack = stack[:len(stack)-1]
		case ',':
			top := &stack[len(stack)-1]
			top.name = top.names != nil
		case '"':
			start := i
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if len(stack) == 0 || !stack[len(stack)-1].name {
				continue
			}
			top := &stack[len(stack)-1]
			top.name = false
			name := string(text[start+1 : i])
			if strings.ContainsRune(name, '\\') {
				// Two spellings of one name are one name.
				if json.Unmarshal(text[start:i+1], &name) != nil {
					return true
				}
			}
			if top.names[name] {
				return true
			}
			top.names[name] = true
		}
	}
	return false
}

// maxTimestamp is the last second of the year 9999.
const maxTimestamp = 253402300799

// NumericDate reads a claim that is a time (RFC 7519 section 2: seconds, perhaps
// with decimals), and returns its text too. The error says what is wrong with it.
func NumericDate(claim any) (t time.Time, text string, err error) {
	n, ok := claim.(json.Number)
	if !ok {
		return time.Time{}, "", errors.New("must be a number")
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > maxTimestamp {
		return time.Time{}, "", errors.New("is not a time")
	}
	whole, frac := math.Modf(f)
	return time.Unix(int64(whole), int64(frac*1e9)).UTC(), n.String(), nil
}

// Audience reads the claim aud, which is a string or an array of strings (RFC 7519
// section 4.1.3). The error says what is wrong with it.
func Audience(claim any) ([]string, error) {
	switch v := claim.(type) {
	case string:
		return []string{v}, nil
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errors.New("must hold strings only")
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, errors.New("must be an array")
}
