package jws

import (
	"encoding/json"
	"errors"
	"math"
	"time"
)

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
