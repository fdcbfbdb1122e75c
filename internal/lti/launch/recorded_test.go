package launch

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
)

// The recorded launches of a real Moodle, changed in every way: the tests here
// say for each version what is protected by the signature, what is checked under
// a good signature, and what is left to the platform.

// codes counts refusals.
type codes map[lti.Code]int

func (c codes) total() int {
	n := 0
	for _, count := range c {
		n += count
	}
	return n
}

// String lists the codes, the most frequent first.
func (c codes) String() string {
	names := slices.Collect(maps.Keys(c))
	slices.SortFunc(names, func(a, b lti.Code) int {
		if c[a] != c[b] {
			return c[b] - c[a]
		}
		return strings.Compare(string(a), string(b))
	})
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s %d", name, c[name]))
	}
	return strings.Join(parts, ", ")
}

// flips are the changes to a byte: to a neighbour, to the other case, and to no
// ASCII.
func flips() []byte { return []byte{0x01, 0x20, 0x80} }

const moodleFormURL = "http://127.0.0.1:9001/lti11"

// verifyForm verifies a launch at the time of the recorded one.
func verifyForm(t testing.TB, query string, body lti.Params) (*Message, error) {
	t.Helper()
	v := &Verifier{Now: func() time.Time { return time.Unix(moodleTime, 0) }}
	return v.Verify12(t.Context(), oauth1.Request{Method: "POST", URL: moodleFormURL, RawQuery: query, Body: body}, oneKey("moodle-key-11"))
}

func TestARecordedFormWithAnyChangedByteIsRefused(t *testing.T) {
	recorded := formOf(t, moodleForm(t))
	// Without these the form is no launch, so that there is no signature to
	// look at.
	required := []string{
		"lti_message_type", "lti_version", "resource_link_id",
		"oauth_consumer_key", "oauth_nonce", "oauth_signature", "oauth_signature_method", "oauth_timestamp",
	}
	// What a changed value may be refused as, where it is not the signature.
	other := map[string][]lti.Code{
		"oauth_consumer_key":     {lti.ConsumerKeyUnknown, lti.ParameterInvalid},
		"oauth_nonce":            {lti.SignatureInvalid, lti.ParameterInvalid},
		"oauth_signature_method": {lti.SignatureMethodUnsupported},
		"oauth_timestamp":        {lti.SignatureInvalid, lti.TimestampInvalid},
		"oauth_version":          {lti.ParameterInvalid},
	}
	bytesChanged, got := 0, codes{}
	try := func(what string, i, at int, allowed []lti.Code, field func(*lti.Param) *string) {
		bytesChanged++
		for _, flip := range flips() {
			body := slices.Clone(recorded)
			text := []byte(*field(&body[i]))
			text[at] ^= flip
			*field(&body[i]) = string(text)
			_, err := verifyForm(t, "", body)
			code := lti.CodeOf(err)
			if !slices.Contains(allowed, code) {
				t.Fatalf("%s of %s, byte %d changed by %#x: %v", what, recorded[i].Name, at, flip, err)
			}
			got[code]++
		}
	}
	for i, p := range recorded {
		allowed := []lti.Code{lti.SignatureInvalid}
		if slices.Contains(required, p.Name) {
			allowed = []lti.Code{lti.ParameterMissing}
		}
		for at := range len(p.Name) {
			try("name", i, at, allowed, func(p *lti.Param) *string { return &p.Name })
		}
		allowed = []lti.Code{lti.SignatureInvalid}
		if codes, ok := other[p.Name]; ok {
			allowed = codes
		}
		for at := range len(p.Value) {
			try("value", i, at, allowed, func(p *lti.Param) *string { return &p.Value })
		}
	}
	t.Logf("LTI 1.2, any byte changed: %d bytes of %d parameters, %d changes, all refused: %s", bytesChanged, len(recorded), got.total(), got)
	if bytesChanged < 2400 || got[lti.SignatureInvalid] < 6800 {
		t.Error("fewer than there are in the recording")
	}
}

// The same for the bytes as they arrive, where a change may make the form
// unreadable, or may be another spelling of the same form.
func TestARecordedFormWithAnyChangedByteOfItsEncodingIsRefused(t *testing.T) {
	raw := moodleForm(t)
	recorded := formOf(t, raw)
	same, got := 0, codes{}
	for i := range raw {
		for _, flip := range flips() {
			text := []byte(raw)
			text[i] ^= flip
			body, err := lti.ParseForm(string(text))
			if err == nil && slices.Equal(body, recorded) {
				same++ // %2b for %2B says the same
				continue
			}
			if err == nil {
				_, err = verifyForm(t, "", body)
			}
			if err == nil {
				t.Fatalf("accepted with byte %d changed by %#x", i, flip)
			}
			got[lti.CodeOf(err)]++
		}
	}
	t.Logf("LTI 1.2, any byte of the encoding changed: %d bytes, %d changes, %d of them spell the same form, all others refused: %s", len(raw), same+got.total(), same, got)
	if got.total() < 8500 || same > len(raw)/10 {
		t.Error("the test proves little")
	}
}

// resign signs whatever the form holds now, as somebody who knows the secret.
func resign(query string, params lti.Params) lti.Params {
	all, err := lti.ParseForm(query)
	if err != nil {
		panic(err)
	}
	sig := oauth1.Signature(oauth1.BaseString("POST", moodleFormURL, append(all, params...)), formSecret)
	return append(slices.Clone(params), lti.Param{Name: "oauth_signature", Value: sig})
}

// unsignedForm is the recorded form without its signature, which comes last.
func unsignedForm(t testing.TB) (params lti.Params, signature string) {
	t.Helper()
	recorded := formOf(t, moodleForm(t))
	last := len(recorded) - 1
	if recorded[last].Name != "oauth_signature" {
		t.Fatal("the recording has changed")
	}
	return recorded[:last:last], recorded[last].Value
}

// A test that signs with a wrong base string would see every launch refused.
func TestARecordedFormIsSignedHereAsMoodleSignedIt(t *testing.T) {
	params, want := unsignedForm(t)
	if got := resign("", params).Get("oauth_signature"); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
	ours := slices.DeleteFunc(slices.Clone(params), func(p lti.Param) bool { return strings.HasPrefix(p.Name, "oauth_") })
	signed, err := oauth1.SignForm(moodleFormURL, ours, oauth1.Credentials{ConsumerKey: "moodle-key-11", SharedSecret: formSecret}, time.Unix(moodleTime, 0), params.Get("oauth_nonce"))
	if err != nil {
		t.Fatal(err)
	}
	if got := signed.Get("oauth_signature"); got != want {
		t.Errorf("SignForm: %s, want %s", got, want)
	}
}

// setParam and dropParam return changed copies.
func setParam(params lti.Params, name, value string) lti.Params {
	out := slices.Clone(params)
	for i := range out {
		if out[i].Name == name {
			out[i].Value = value
			return out
		}
	}
	return append(out, lti.Param{Name: name, Value: value})
}

func dropParam(params lti.Params, name string) lti.Params {
	return slices.DeleteFunc(slices.Clone(params), func(p lti.Param) bool { return p.Name == name })
}

// missing stands for a parameter that is not there.
const missing = "\x00missing"

func TestARecordedFormWithAWrongFieldIsRefused(t *testing.T) {
	recorded, _ := unsignedForm(t)
	long, control, binary := strings.Repeat("x", 256), "a\nb", "caf\xe9"
	at := func(offset int64) string { return strconv.FormatInt(moodleTime+offset, 10) }
	type values map[string]lti.Code
	// Each field that is checked, and values it must not have.
	tests := map[string]values{
		"lti_message_type": {
			missing: lti.ParameterMissing, "": lti.ParameterMissing,
			"ContentItemSelectionRequest": lti.MessageTypeUnsupported, "Basic-LTI-Launch-Request": lti.MessageTypeUnsupported, "1": lti.MessageTypeUnsupported,
		},
		"lti_version": {
			missing: lti.ParameterMissing, "": lti.ParameterMissing,
			"LTI-1p2": lti.VersionUnsupported, "LTI-2p0": lti.VersionUnsupported, "lti-1p0": lti.VersionUnsupported, "1.3.0": lti.VersionUnsupported, "1": lti.VersionUnsupported,
		},
		"resource_link_id": {
			missing: lti.ParameterMissing, "": lti.ParameterMissing,
			long: lti.ParameterInvalid, control: lti.ParameterInvalid, binary: lti.ParameterInvalid,
		},
		"user_id": {
			missing: lti.AnonymousLaunch, "": lti.AnonymousLaunch,
			long: lti.ParameterInvalid, control: lti.ParameterInvalid, binary: lti.ParameterInvalid,
		},
		"context_id":                  {long: lti.ParameterInvalid, control: lti.ParameterInvalid, binary: lti.ParameterInvalid},
		"tool_consumer_instance_guid": {long: lti.ParameterInvalid, control: lti.ParameterInvalid, binary: lti.ParameterInvalid},
		"lis_outcome_service_url": {
			"javascript:alert(1)": lti.ParameterInvalid, "file:///etc/passwd": lti.ParameterInvalid, "/service.php": lti.ParameterInvalid,
			"http://user@lms.example/": lti.ParameterInvalid, "7": lti.ParameterInvalid,
		},
		"lis_result_sourcedid": {binary: lti.ParameterInvalid, "a\x00": lti.ParameterInvalid},
		"oauth_consumer_key": {
			missing: lti.ParameterMissing, "": lti.ParameterMissing, "moodle-key-12": lti.ConsumerKeyUnknown, "Moodle-Key-11": lti.ConsumerKeyUnknown,
			long: lti.ParameterInvalid, control: lti.ParameterInvalid, binary: lti.ParameterInvalid,
		},
		"oauth_nonce": {
			missing: lti.ParameterMissing, "": lti.ParameterMissing,
			long: lti.ParameterInvalid, control: lti.ParameterInvalid, binary: lti.ParameterInvalid,
		},
		"oauth_timestamp": {
			missing: lti.ParameterMissing, "": lti.ParameterMissing,
			at(301): lti.TimestampOutOfRange, at(-301): lti.TimestampOutOfRange, "1": lti.TimestampOutOfRange,
			"yesterday": lti.TimestampInvalid, "-1": lti.TimestampInvalid, "+" + at(0): lti.TimestampInvalid, at(0) + ".0": lti.TimestampInvalid,
			"0": lti.TimestampInvalid, " " + at(0): lti.TimestampInvalid, at(0) + "000000000": lti.TimestampInvalid,
		},
		"oauth_signature_method": {
			missing: lti.ParameterMissing, "": lti.ParameterMissing,
			"PLAINTEXT": lti.SignatureMethodUnsupported, "HMAC-SHA256": lti.SignatureMethodUnsupported, "RSA-SHA1": lti.SignatureMethodUnsupported, "hmac-sha1": lti.SignatureMethodUnsupported,
		},
		"oauth_version": {"": lti.ParameterInvalid, "2.0": lti.ParameterInvalid, "1": lti.ParameterInvalid, "one": lti.ParameterInvalid},
	}
	fields, got := map[string]bool{}, codes{}
	refused := func(field, mutation, query string, body lti.Params, want lti.Code) {
		t.Helper()
		fields[field] = true
		if _, err := verifyForm(t, query, body); lti.CodeOf(err) != want {
			t.Errorf("%s %s: %v, want %s", field, mutation, err, want)
		}
		got[want]++
	}
	for field, values := range tests {
		for value, want := range values {
			body := setParam(recorded, field, value)
			if value == missing {
				body = dropParam(recorded, field)
			}
			refused(field, fmt.Sprintf("%q", value), "", resign("", body), want)
		}
	}

	// The signature itself, over a form that is as it was.
	signed := resign("", recorded)
	good := signed.Get("oauth_signature")
	signatures := values{
		missing: lti.ParameterMissing, "": lti.ParameterMissing,
		"AAAAAAAAAAAAAAAAAAAAAAAAAAA=": lti.SignatureInvalid, "%%%": lti.SignatureInvalid, good + "=": lti.SignatureInvalid,
		good[:len(good)-1]: lti.SignatureInvalid, strings.ToLower(good): lti.SignatureInvalid, " " + good: lti.SignatureInvalid,
	}
	for value, want := range signatures {
		body := setParam(signed, "oauth_signature", value)
		if value == missing {
			body = recorded
		}
		refused("oauth_signature", fmt.Sprintf("%q", value), "", body, want)
	}
	refused("oauth_signature", "twice", "", append(slices.Clone(signed), lti.Param{Name: "oauth_signature", Value: good}), lti.ParameterRepeated)
	refused("oauth_signature", "in the query too", "oauth_signature=x", resign("oauth_signature=x", recorded), lti.ParameterRepeated)

	// Every parameter that LTI or OAuth defines, twice: with an equal and with
	// another value, before and after the first, and in the query.
	for _, p := range recorded {
		if strings.HasPrefix(p.Name, "custom_") || strings.HasPrefix(p.Name, "ext_") {
			continue
		}
		for _, value := range []string{p.Value, "other"} {
			again := lti.Param{Name: p.Name, Value: value}
			refused(p.Name, "again behind", "", resign("", append(slices.Clone(recorded), again)), lti.ParameterRepeated)
			refused(p.Name, "again in front", "", resign("", append(lti.Params{again}, recorded...)), lti.ParameterRepeated)
		}
		query := p.Name + "=other"
		refused(p.Name, "in the query too", query, resign(query, recorded), lti.ParameterRepeated)
	}
	t.Logf("LTI 1.2, signed again with a checked field wrong, missing, twice or of another type: %d forms over %d fields, all refused as such: %s", got.total(), len(fields), got)
	if got.total() < 240 || len(fields) < 30 {
		t.Error("fewer than there are in the table")
	}
}

func TestARecordedFormWithAnotherFieldChangedIsAccepted(t *testing.T) {
	recorded, _ := unsignedForm(t)
	// What the launch stands on; all else may be anything, or absent.
	needed := []string{
		"lti_message_type", "lti_version", "resource_link_id", "user_id",
		"oauth_consumer_key", "oauth_nonce", "oauth_signature_method", "oauth_timestamp",
	}
	// These may be absent, or have another value of their kind.
	checked := map[string]string{
		"context_id": "zoë's course", "tool_consumer_instance_guid": "other", "oauth_version": "1.0",
		"lis_outcome_service_url": "https://other.example/service", "lis_result_sourcedid": "<other>",
	}
	fields, forms := map[string]bool{}, 0
	accepted := func(field, mutation string, body lti.Params) {
		t.Helper()
		fields[field] = true
		forms++
		m, err := verifyForm(t, "", resign("", body))
		if err != nil {
			t.Errorf("%s %s: %v", field, mutation, err)
		} else if m.Subject != "4" || m.ResourceLink.ID != "1" || m.ConsumerKey != "moodle-key-11" || m.Nonce.Value != recorded.Get("oauth_nonce") {
			t.Errorf("%s %s: %+v", field, mutation, m)
		}
	}
	for _, p := range recorded {
		if slices.Contains(needed, p.Name) {
			continue
		}
		accepted(p.Name, "removed", dropParam(recorded, p.Name))
		if value, ok := checked[p.Name]; ok {
			accepted(p.Name, "changed", setParam(recorded, p.Name, value))
			continue
		}
		for _, value := range []string{"other", "", "7", "<script>\x00\xff", "javascript:alert(1)", strings.Repeat("x", 4096)} {
			accepted(p.Name, fmt.Sprintf("%.20q", value), setParam(recorded, p.Name, value))
		}
	}
	for _, name := range []string{"custom_unknown", "ext_unknown", "unknown", "lti_unknown", "", "\xff"} {
		accepted(name, "added", append(slices.Clone(recorded), lti.Param{Name: name, Value: "x"}))
		accepted(name, "added twice", append(slices.Clone(recorded), lti.Param{Name: name, Value: "x"}, lti.Param{Name: name, Value: "y"}))
	}
	t.Logf("LTI 1.2, signed again with a field that is not checked changed, removed or added: %d forms over %d fields, all accepted", forms, len(fields))
	if forms < 270 || len(fields) < 45 {
		t.Error("fewer than there are in the recording")
	}
}

func recordedToken(t testing.TB) string {
	t.Helper()
	var rec recordedLaunch
	load(t, "moodle-lti13-launch.json", &rec)
	return rec.Params.IDToken
}

// tokenVerifier verifies tokens as the answer to the recorded login, at the time
// of the recorded launch.
func tokenVerifier(t testing.TB, keys Keys) func(token string) (*Message, error) {
	t.Helper()
	v := verifier(t)
	v.Now = func() time.Time { return time.Unix(moodleIAT, 0) }
	state, err := v.States.Seal(moodleState())
	if err != nil {
		t.Fatal(err)
	}
	reg := moodleRegistration()
	return func(token string) (*Message, error) {
		return v.Verify13(t.Context(), reg, keys, lti.Params{{Name: "id_token", Value: token}, {Name: "state", Value: state}}, cookie)
	}
}

// aboutTheKey reports whether a refusal says that the token is not signed with
// an acceptable key.
func aboutTheKey(err error) bool {
	switch lti.CodeOf(err) {
	case lti.SignatureInvalid, lti.KeyUnknown, lti.KeyIDMissing, lti.AlgorithmNotAllowed:
		return true
	}
	return false
}

func TestARecordedTokenWithAnyChangedByteIsRefused(t *testing.T) {
	recorded := recordedToken(t)
	verify := tokenVerifier(t, moodleKeys(t))
	if _, err := verify(recorded); err != nil {
		t.Fatal(err)
	}

	// The characters as they arrive.
	characters := codes{}
	for i := range recorded {
		for _, flip := range flips() {
			text := []byte(recorded)
			text[i] ^= flip
			_, err := verify(string(text))
			if !aboutTheKey(err) && lti.CodeOf(err) != lti.TokenMalformed {
				t.Fatalf("character %d changed by %#x: %v", i, flip, err)
			}
			characters[lti.CodeOf(err)]++
		}
	}
	t.Logf("LTI 1.3, any character changed: %d characters, %d changes, all refused: %s", len(recorded), characters.total(), characters)

	// The bytes they stand for. A changed byte of the claims or the signature is
	// a bad signature, whether or not the claims can still be read; one of the
	// header may also say that there is no such key or algorithm, or be no JSON.
	header, signed := codes{}, codes{}
	for part, encoded := range strings.Split(recorded, ".") {
		original, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		for i := range original {
			for _, flip := range flips() {
				text := bytes.Clone(original)
				text[i] ^= flip
				parts := strings.Split(recorded, ".")
				parts[part] = base64.RawURLEncoding.EncodeToString(text)
				_, err := verify(strings.Join(parts, "."))
				isJSON := utf8.Valid(text) && json.Valid(text)
				switch {
				case part > 0 && lti.CodeOf(err) != lti.SignatureInvalid,
					part == 0 && isJSON && !aboutTheKey(err),
					part == 0 && !isJSON && lti.CodeOf(err) != lti.TokenMalformed:
					t.Fatalf("byte %d of part %d changed by %#x: %v", i, part, flip, err)
				case part == 0:
					header[lti.CodeOf(err)]++
				default:
					signed[lti.CodeOf(err)]++
				}
			}
		}
	}
	t.Logf("LTI 1.3, any byte changed: claims and signature: %d changes, refused: %s; header: %d changes, refused: %s",
		signed.total(), signed, header.total(), header)
	if characters.total() < 13000 || signed.total() < 9000 || header.total() < 100 {
		t.Error("fewer than there are in the recording")
	}
}

// A recordedParts is the recorded token taken apart, to be changed and signed
// with a key of ours.
type recordedParts struct{ header, claims map[string]any }

func takeApart(t testing.TB) recordedParts {
	t.Helper()
	parts := strings.Split(recordedToken(t), ".")
	decode := func(part string) map[string]any {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber() // a time as a float is not what was recorded
		var out map[string]any
		if err := dec.Decode(&out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	return recordedParts{decode(parts[0]), decode(parts[1])}
}

// signRaw signs a header and claims, whatever they are, with RS256 and the
// platform's key of the tests.
func signRaw(t testing.TB, header, claims []byte) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sig, err := jwt.SigningMethodRS256.Sign(text, privateKeys()[0])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// inlineKeys is a key set that has the key of the tests under the recorded kid.
func inlineKeys(t testing.TB, kid string) *jwks.Inline {
	t.Helper()
	public := privateKeys()[0].PublicKey
	set := jsonOf(t, map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid,
		"n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
	}}})
	keys, err := jwks.NewInline(set)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func jsonOf(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// changed returns a copy of an object with the member at a path replaced or, for
// absent, removed.
func changed(obj map[string]any, path []string, value any) map[string]any {
	out := maps.Clone(obj)
	switch {
	case len(path) > 1:
		out[path[0]] = changed(obj[path[0]].(map[string]any), path[1:], value)
	case value == absent{}:
		delete(out, path[0])
	default:
		out[path[0]] = value
	}
	return out
}

// absent stands for a member that is not there.
type absent struct{}

// repeated returns an object as JSON with the member at a path twice.
func repeated(t testing.TB, obj map[string]any, path []string, again any) json.RawMessage {
	t.Helper()
	if len(path) > 1 {
		return jsonOf(t, changed(obj, path[:1], repeated(t, obj[path[0]].(map[string]any), path[1:], again)))
	}
	text := jsonOf(t, obj)
	return fmt.Appendf(nil, "%s,%s:%s}", text[:len(text)-1], jsonOf(t, path[0]), jsonOf(t, again))
}

// members returns the paths of all members of an object, at any depth.
func members(obj map[string]any) [][]string {
	var out [][]string
	for _, name := range slices.Sorted(maps.Keys(obj)) {
		out = append(out, []string{name})
		if sub, ok := obj[name].(map[string]any); ok {
			for _, path := range members(sub) {
				out = append(out, append([]string{name}, path...))
			}
		}
	}
	return out
}

// fieldName names a path for people.
func fieldName(path []string) string { return strings.Join(path, " → ") }

func TestARecordedTokenWithAWrongFieldIsRefused(t *testing.T) {
	rec := takeApart(t)
	recordedKid := rec.header["kid"].(string)
	verify := tokenVerifier(t, inlineKeys(t, recordedKid))
	header, claims := jsonOf(t, rec.header), jsonOf(t, rec.claims)
	if _, err := verify(signRaw(t, header, claims)); err != nil {
		t.Fatalf("signed again without a change: %v", err)
	}
	type (
		list   = []any
		obj    = map[string]any
		change struct {
			value any
			code  lti.Code
		}
		field struct {
			path    []string
			changes []change
		}
	)
	unix := func(offset int64) json.Number { return json.Number(strconv.FormatInt(moodleIAT+offset, 10)) }
	long := strings.Repeat("x", 256)
	at := func(path ...string) []string { return path }
	// What is no string, for a claim that must be one.
	noString := []change{{7, lti.ClaimInvalid}, {true, lti.ClaimInvalid}, {list{"x"}, lti.ClaimInvalid}, {obj{"x": 1}, lti.ClaimInvalid}}
	// The same for an array of strings, an object, an identifier, a time and a
	// URL.
	noStrings := []change{{"x", lti.ClaimInvalid}, {7, lti.ClaimInvalid}, {obj{"0": "x"}, lti.ClaimInvalid}, {list{7}, lti.ClaimInvalid}, {list{"x", nil}, lti.ClaimInvalid}}
	noObject := []change{{"x", lti.ClaimInvalid}, {7, lti.ClaimInvalid}, {list{"x"}, lti.ClaimInvalid}}
	noID := append([]change{{long, lti.ClaimInvalid}, {"é", lti.ClaimInvalid}, {"a\n", lti.ClaimInvalid}}, noString...)
	noTime := []change{{"1795470862", lti.ClaimInvalid}, {true, lti.ClaimInvalid}, {list{1}, lti.ClaimInvalid}, {json.Number("1e30"), lti.ClaimInvalid}, {-1, lti.ClaimInvalid}}
	noURL := append([]change{{"javascript:alert(1)", lti.ClaimInvalid}, {"file:///etc/passwd", lti.ClaimInvalid}, {"/relative", lti.ClaimInvalid}}, noString...)
	required := []change{{absent{}, lti.ClaimMissing}, {nil, lti.ClaimMissing}}
	filled := append([]change{{"", lti.ClaimMissing}}, required...)
	of := func(path []string, changes ...[]change) field { return field{path, slices.Concat(changes...)} }

	inHeader := []field{
		of(at("alg"), []change{
			{"none", lti.AlgorithmNotAllowed},
			{"HS256", lti.AlgorithmNotAllowed},
			{"RS384", lti.AlgorithmNotAllowed},
			{"rs256", lti.AlgorithmNotAllowed},
			{"", lti.AlgorithmNotAllowed},
			{absent{}, lti.AlgorithmNotAllowed},
			{nil, lti.AlgorithmNotAllowed},
			{256, lti.AlgorithmNotAllowed},
			{list{"RS256"}, lti.AlgorithmNotAllowed},
		}),
		of(at("kid"), []change{
			{"imstester_66067", lti.KeyUnknown},
			{recordedKid + " ", lti.KeyUnknown},
			{"", lti.KeyIDMissing},
			{absent{}, lti.KeyIDMissing},
			{nil, lti.KeyIDMissing},
			{7, lti.KeyIDMissing},
			{list{recordedKid}, lti.KeyIDMissing},
		}),
		of(at("crit"), []change{{list{"exp"}, lti.TokenMalformed}, {list{}, lti.TokenMalformed}, {nil, lti.TokenMalformed}}),
	}
	inClaims := []field{
		of(at("iss"), []change{{"http://localhost:9100/", lti.IssuerMismatch}, {"https://localhost:9100", lti.IssuerMismatch}}, filled, noString),
		of(at("aud"), []change{
			{"other", lti.AudienceMismatch},
			{"bjdlnqvvi8dl8iq", lti.AudienceMismatch},
			{"", lti.AudienceMismatch},
			{list{"other"}, lti.AudienceMismatch},
			{list{"BjdLNQVVi8DL8iq", "other"}, lti.AudienceMismatch},
			{list{}, lti.ClaimMissing},
			{7, lti.ClaimInvalid},
			{obj{"0": "BjdLNQVVi8DL8iq"}, lti.ClaimInvalid},
			{list{"BjdLNQVVi8DL8iq", 7}, lti.ClaimInvalid},
		}, required),
		of(at("azp"), []change{{"other", lti.AuthorizedPartyMismatch}}, noString),
		of(at("exp"), []change{{unix(-60), lti.TokenExpired}, {22222, lti.TokenExpired}, {0, lti.TokenExpired}}, required, noTime),
		of(at("iat"), []change{{unix(61), lti.TokenIssuedInFuture}, {unix(-3661), lti.TokenTooOld}, {11111, lti.TokenTooOld}}, required, noTime),
		of(at("nbf"), []change{{unix(61), lti.TokenIssuedInFuture}}, noTime),
		of(at("nonce"), []change{{"other", lti.NonceMismatch}, {moodleNonce + " ", lti.NonceMismatch}, {strings.ToUpper(moodleNonce), lti.NonceMismatch}}, filled, noString),
		of(at(claimVersion), []change{{"11.3", lti.VersionUnsupported}, {"1.3", lti.VersionUnsupported}, {"LTI-1p0", lti.VersionUnsupported}}, filled, noString),
		of(at(claimMessageType), []change{
			{"LtiDeepLinkingRequest", lti.MessageTypeUnsupported},
			{"ltiresourcelinkrequest", lti.MessageTypeUnsupported},
			{"basic-lti-launch-request", lti.MessageTypeUnsupported},
		}, filled, noString),
		of(at(claimDeployment), []change{{"1", lti.DeploymentUnknown}, {"2 ", lti.DeploymentUnknown}}, filled, noID),
		of(at(claimTargetLink), filled, noURL),
		of(at(claimRoles), required, noStrings),
		of(at(claimResourceLink), []change{{obj{}, lti.ClaimMissing}, {list{}, lti.ClaimMissing}}, required, noObject),
		of(at(claimResourceLink, "id"), filled, noID),
		of(at("sub"), []change{{absent{}, lti.AnonymousLaunch}, {nil, lti.AnonymousLaunch}, {"", lti.AnonymousLaunch}}, noID),
		of(at(claimContext), noObject),
		of(at(claimContext, "id"), filled, noID),
		of(at(claimContext, "type"), noStrings),
		of(at(claimMentor), noStrings),
		of(at(claimCustom), noObject),
		of(at(claimLIS), noObject),
		of(at(claimPresentation), noObject),
		of(at(claimToolPlatform), noObject),
		of(at(claimToolPlatform, "guid"), noID),
		of(at(claimLineItems), noObject),
		of(at(claimLineItems, "scope"), noStrings),
		of(at(claimLineItems, "lineitems"), noURL),
		of(at(claimLineItems, "lineitem"), noURL),
		of(at(claimMemberships), noObject),
		of(at(claimMemberships, "context_memberships_url"), noURL),
		of(at(claimMemberships, "service_versions"), noStrings),
		of(at(claimOutcome), noObject),
		of(at(claimOutcome, "lis_outcome_service_url"), noURL),
		of(at(claimOutcome, "lis_result_sourcedid"), noString),
		of(at(claimMigration), noObject),
	}
	for _, name := range []string{"user_id", "oauth_consumer_key", "oauth_consumer_key_sign", "context_id", "resource_link_id", "tool_consumer_instance_guid"} {
		of := of(at(claimMigration), nil)
		for _, c := range noString {
			of.changes = append(of.changes, change{obj{name: c.value}, c.code})
		}
		inClaims = append(inClaims, of)
	}

	fields, got := map[string]bool{}, codes{}
	refused := func(path []string, mutation string, token string, want lti.Code) {
		t.Helper()
		fields[fieldName(path)] = true
		m, err := verify(token)
		if lti.CodeOf(err) != want || m != nil {
			t.Errorf("%s %s: %v, want %s", fieldName(path), mutation, err, want)
		}
		got[want]++
	}
	for _, f := range inHeader {
		for _, c := range f.changes {
			refused(f.path, fmt.Sprintf("%.40v", c.value), signRaw(t, jsonOf(t, changed(rec.header, f.path, c.value)), claims), c.code)
		}
	}
	for _, f := range inClaims {
		for _, c := range f.changes {
			refused(f.path, fmt.Sprintf("%.40v", c.value), signRaw(t, header, jsonOf(t, changed(rec.claims, f.path, c.value))), c.code)
		}
	}
	// Every member there is, twice: with another and with an equal value. Which
	// of the two counts is not for us to guess, so that is a token nobody can
	// read.
	for _, path := range members(rec.header) {
		for _, again := range []any{"other", rec.header[path[0]]} {
			refused(path, "twice", signRaw(t, repeated(t, rec.header, path, again), claims), lti.TokenMalformed)
		}
	}
	for _, path := range members(rec.claims) {
		for _, again := range []any{"other", memberAt(rec.claims, path)} {
			refused(path, "twice", signRaw(t, header, repeated(t, rec.claims, path, again)), lti.TokenMalformed)
		}
	}
	t.Logf("LTI 1.3, signed again with a checked field wrong, missing, twice or of another type: %d tokens over %d fields, all refused as such: %s", got.total(), len(fields), got)
	if got.total() < 390 || len(fields) < 60 {
		t.Error("fewer than there are in the table")
	}
}

func memberAt(obj map[string]any, path []string) any {
	for _, name := range path[:len(path)-1] {
		obj = obj[name].(map[string]any)
	}
	return obj[path[len(path)-1]]
}

func TestARecordedTokenWithAnotherFieldChangedIsAccepted(t *testing.T) {
	rec := takeApart(t)
	verify := tokenVerifier(t, inlineKeys(t, rec.header["kid"].(string)))
	header, claims := jsonOf(t, rec.header), jsonOf(t, rec.claims)
	fields, tokens := map[string]bool{}, 0
	accepted := func(field, mutation, token string) {
		t.Helper()
		fields[field] = true
		tokens++
		m, err := verify(token)
		if err != nil {
			t.Errorf("%s %s: %v", field, mutation, err)
		} else if m.Subject != "4" || m.ResourceLink.ID != "2" || m.DeploymentID != "2" || m.Nonce.Value != moodleNonce {
			t.Errorf("%s %s: %+v", field, mutation, m)
		}
	}
	change := func(path []string, values ...any) {
		for _, value := range values {
			accepted(fieldName(path), fmt.Sprintf("%.20v", value), signRaw(t, header, jsonOf(t, changed(rec.claims, path, value))))
		}
	}
	type (
		list = []any
		obj  = map[string]any
	)
	at := func(path ...string) []string { return path }

	// What the launch stands on, and what may be absent but not be anything.
	// The table of the test above has their wrong values.
	needed := []string{
		"iss", "aud", "exp", "iat", "nonce", "sub", claimVersion, claimMessageType, claimDeployment, claimTargetLink, claimRoles, claimResourceLink,
		fieldName(at(claimResourceLink, "id")), fieldName(at(claimContext, "id")),
	}
	checked := map[string][]any{
		claimContext:                               {obj{"id": "other"}, obj{}, list{}},
		claimLIS:                                   {obj{}, list{}},
		claimPresentation:                          {obj{}, list{}},
		claimToolPlatform:                          {obj{"guid": "other"}, obj{}, list{}},
		claimCustom:                                {obj{"a": 1, "b": nil, "c": list{1}, "d": obj{"e": true}}, obj{}, list{}},
		claimLineItems:                             {obj{}, list{}},
		claimMemberships:                           {obj{}, list{}},
		claimOutcome:                               {obj{}, list{}},
		fieldName(at(claimContext, "type")):        {list{}, list{"other", ""}},
		fieldName(at(claimToolPlatform, "guid")):   {"", "other"},
		fieldName(at(claimLineItems, "scope")):     {list{}, list{"other"}},
		fieldName(at(claimLineItems, "lineitems")): {"", "https://other.example/"},
		fieldName(at(claimLineItems, "lineitem")):  {"", "https://other.example/"},
		fieldName(at(claimMemberships, "context_memberships_url")): {"", "https://other.example/"},
		fieldName(at(claimMemberships, "service_versions")):        {list{}, list{"3.0"}},
		fieldName(at(claimOutcome, "lis_outcome_service_url")):     {"", "https://other.example/"},
		fieldName(at(claimOutcome, "lis_result_sourcedid")):        {"", "<other>"},
	}
	anything := list{"other", "", "<script>\x00", strings.Repeat("x", 4096), 7, -1.5, true, list{}, list{1, "x"}, obj{}, obj{"x": list{}}}
	for _, path := range members(rec.claims) {
		name := fieldName(path)
		if slices.Contains(needed, name) {
			continue
		}
		change(path, absent{}, nil)
		if values, ok := checked[name]; ok {
			change(path, values...)
		} else {
			change(path, anything...)
		}
	}
	// Needed, with another value that will do.
	change(at("aud"), list{"BjdLNQVVi8DL8iq"})
	change(at("azp"), "BjdLNQVVi8DL8iq", "", nil)
	change(at("exp"), moodleIAT, json.Number(fmt.Sprint(moodleIAT+60, ".5")), moodleIAT+1_000_000)
	change(at("iat"), moodleIAT+60, moodleIAT-3600)
	change(at("nbf"), moodleIAT, nil)
	change(at(claimTargetLink), "https://lti.acme.example/other")
	change(at(claimRoles), list{}, list{""}, list{"Learner"}, list{"http://example.com/unknown", "<script>"})
	// Unknown claims and members, and those of profile and email that this
	// recording lacks.
	for _, name := range []string{"unknown", "https://example.com/claim", "", "Iss", "SUB", "jti", "auth_time", "middle_name", "locale", "picture", "email_verified"} {
		change(at(name), anything...)
	}
	change(at(claimResourceLink, "unknown"), anything...)
	change(at(claimContext, "unknown"), anything...)

	// Nothing in the header but alg, kid and crit is looked at, least of all
	// where a key could come from.
	for _, name := range []string{"typ", "cty", "jku", "jwk", "x5u", "x5c", "x5t", "unknown", "ALG", "Kid"} {
		for _, value := range append(list{absent{}, nil}, anything...) {
			accepted("header "+name, fmt.Sprintf("%.20v", value), signRaw(t, jsonOf(t, changed(rec.header, at(name), value)), claims))
		}
	}
	t.Logf("LTI 1.3, signed again with a field that is not checked changed, removed or added: %d tokens over %d fields, all accepted", tokens, len(fields))
	if tokens < 700 || len(fields) < 60 {
		t.Error("fewer than there are in the recording")
	}
}
