package jwks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/lti-operator/lti-operator/internal/lti"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rsaKeys are made once: generating takes a while under the race detector.
var rsaKeys = sync.OnceValue(func() []*rsa.PublicKey {
	var keys []*rsa.PublicKey
	for range 2 {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys = append(keys, &k.PublicKey)
	}
	return keys
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwk returns an RSA key in JSON with the given further members.
func jwk(k *rsa.PublicKey, members string) string {
	n, e := numbers(k)
	return fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q%s}`, n, e, members)
}

func set(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func TestParse(t *testing.T) {
	k := rsaKeys()[0]
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	x, y := b64(point[1:33]), b64(point[33:])
	weak := &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int).Rsh(k.N, 1), 0, 1), E: k.E}
	even := &rsa.PublicKey{N: new(big.Int).SetBit(k.N, 0, 0), E: k.E}
	n, e := numbers(k)
	tests := map[string]struct {
		in   string
		want []string // IDs; a weak key with "!"
		bad  bool
	}{
		"a complete key": {in: set(jwk(k, `,"kid":"a","alg":"RS256","use":"sig"`)), want: []string{"a"}},
		"a key without alg and use, as Brightspace has": {in: set(jwk(k, `,"kid":"a"`)), want: []string{"a"}},
		"a key without kid is ignored":                  {in: set(jwk(k, `,"alg":"RS256"`)), want: nil},
		"an encryption key is ignored":                  {in: set(jwk(k, `,"kid":"a","use":"enc"`)), want: nil},
		"a key for an encryption algorithm is ignored":  {in: set(jwk(k, `,"kid":"a","alg":"RSA-OAEP"`)), want: nil},
		"an RSA key for an EC algorithm is ignored":     {in: set(jwk(k, `,"kid":"a","alg":"ES256"`)), want: nil},
		"a symmetric key is ignored":                    {in: set(`{"kty":"oct","k":"c2VjcmV0","kid":"a"}`), want: nil},
		"a key of 2047 bits is kept as weak":            {in: set(jwk(weak, `,"kid":"a"`)), want: []string{"a!"}},
		"an even modulus is ignored":                    {in: set(jwk(even, `,"kid":"a"`)), want: nil},
		"exponent 1 is ignored":                         {in: set(jwk(&rsa.PublicKey{N: k.N, E: 1}, `,"kid":"a"`)), want: nil},
		"an even exponent is ignored":                   {in: set(jwk(&rsa.PublicKey{N: k.N, E: 65536}, `,"kid":"a"`)), want: nil},
		"a huge modulus is ignored":                     {in: set(jwk(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 9000, 1), E: 3}, `,"kid":"a"`)), want: nil},
		"a key that cannot be decoded spoils no other":  {in: set(`{"kty":"RSA","n":"?","e":"AQAB","kid":"x"}`, `7`, jwk(k, `,"kid":"a"`)), want: []string{"a"}},
		"padding is tolerated":                          {in: set(`{"kty":"RSA","kid":"a","n":"` + n + `==","e":"` + e + `="}`), want: []string{"a"}},
		"two keys of one name are both kept":            {in: set(jwk(k, `,"kid":"a"`), jwk(rsaKeys()[1], `,"kid":"a"`)), want: []string{"a", "a"}},
		"an elliptic curve key":                         {in: set(`{"kty":"EC","crv":"P-256","kid":"e","x":"` + x + `","y":"` + y + `"}`), want: []string{"e"}},
		"a point off the curve is ignored":              {in: set(`{"kty":"EC","crv":"P-256","kid":"e","x":"` + y + `","y":"` + x + `"}`), want: nil},
		"an empty set is a set":                         {in: set(), want: nil},
		"an object without keys is none":                {in: `{}`, bad: true},
		"null is none":                                  {in: `null`, bad: true},
		"a page is none":                                {in: `<html>`, bad: true},
		"keys that are no array are none":               {in: `{"keys":{}}`, bad: true},
		"more keys than allowed":                        {in: set(strings.Split(strings.Repeat("{},", MaxKeys)+"{}", ",")...), bad: true},
		"more bytes than allowed":                       {in: set() + strings.Repeat(" ", MaxBytes), bad: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			keys, err := Parse([]byte(tt.in))
			if (err != nil) != tt.bad {
				t.Fatalf("error %v", err)
			}
			var got []string
			for _, k := range keys {
				id := k.ID
				if k.Weak {
					id += "!"
				}
				got = append(got, id)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFits(t *testing.T) {
	curve := func(c elliptic.Curve) Key {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return Key{Public: &k.PublicKey}
	}
	rsaKey := rsaKeys()[0]
	tests := map[string]struct {
		key  Key
		algs string
	}{
		"an RSA key without alg":     {Key{Public: rsaKey}, "RS256 RS384 RS512"},
		"an RSA key with alg":        {Key{Public: rsaKey, Algorithm: "RS384"}, "RS384"},
		"P-256":                      {curve(elliptic.P256()), "ES256"},
		"P-384":                      {curve(elliptic.P384()), "ES384"},
		"P-521":                      {curve(elliptic.P521()), "ES512"},
		"a key of no supported type": {Key{Public: "text"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, alg := range []string{"none", "HS256", "PS256", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", ""} {
				if tt.key.Fits(alg) {
					got = append(got, alg)
				}
			}
			if strings.Join(got, " ") != tt.algs {
				t.Errorf("fits %v, want %s", got, tt.algs)
			}
		})
	}
}

func TestInline(t *testing.T) {
	text, err := os.ReadFile("../testdata/moodle-jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := NewInline(text)
	if err != nil {
		t.Fatal(err)
	}
	found, err := keys.Lookup(t.Context(), "8b898b36552a6c59db4b")
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if _, err := keys.Lookup(t.Context(), "other"); lti.CodeOf(err) != lti.KeyUnknown {
		t.Errorf("unknown kid: %v", err)
	}
	if renewed, err := keys.Renewed(t.Context(), "8b898b36552a6c59db4b", found); renewed != nil || err != nil {
		t.Errorf("renewed: %v, %v", renewed, err)
	}
	if _, err := NewInline([]byte("{")); err == nil {
		t.Error("broken configuration was accepted")
	}
}

// platform publishes keys and counts who asks. Inside a synctest bubble its
// answers take time without anybody waiting.
type platform struct {
	mu    sync.Mutex
	body  string
	err   error
	delay time.Duration
	panic bool
	calls int
}

func (p *platform) Fetch(ctx context.Context, _ string) ([]byte, error) {
	p.mu.Lock()
	p.calls++
	body, err, delay, boom := p.body, p.err, p.delay, p.panic
	p.mu.Unlock()
	if boom {
		panic("boom")
	}
	select {
	case <-time.After(delay):
		return []byte(body), err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *platform) publish(keys ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.body, p.err = set(keys...), nil
}

func (p *platform) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *platform) asked(t *testing.T, want int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls != want {
		t.Errorf("the platform was asked %d times, want %d", p.calls, want)
	}
}

func lookup(t *testing.T, r *Remote, kid string, code lti.Code) []Key {
	t.Helper()
	keys, err := r.Lookup(t.Context(), kid)
	if lti.CodeOf(err) != code || (err == nil) != (len(keys) > 0) {
		t.Errorf("looking up %s: %v, %v; want code %q", kid, keys, err, code)
	}
	return keys
}

// inBubble runs a test with a platform that publishes key "a" and an empty
// cache, on a clock that only moves when the test sleeps.
func inBubble(t *testing.T, test func(t *testing.T, p *platform, c *Cache, r *Remote)) {
	k := rsaKeys()[0] // outside of the bubble
	synctest.Test(t, func(t *testing.T) {
		p := &platform{}
		p.publish(jwk(k, `,"kid":"a"`))
		c := NewCache(p, Options{})
		test(t, p, c, c.Remote("https://lms.example/jwks"))
	})
}

func TestTheSetIsFetchedOncePerHour(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		p.asked(t, 0)
		lookup(t, r, "a", "")
		time.Sleep(time.Hour - time.Second)
		lookup(t, r, "a", "")
		p.asked(t, 1)
		time.Sleep(time.Second)
		lookup(t, r, "a", "")
		p.asked(t, 2)
	})
}

func TestAnUnknownKeyIsLookedForAtOnceAndThenNotForAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		p.delay = time.Second
		lookup(t, r, "a", "")
		p.publish(jwk(rsaKeys()[0], `,"kid":"b"`))
		lookup(t, r, "b", "") // the first one is free
		p.asked(t, 2)
		start := time.Now()
		for range 100 {
			lookup(t, r, "forged", lti.KeyUnknown)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("unknown keys kept requests waiting for %s", waited)
		}
		p.asked(t, 2)
		time.Sleep(30 * time.Second)
		lookup(t, r, "forged", lti.KeyUnknown)
		p.asked(t, 3)
		// A key that the platform does not publish any more is gone.
		lookup(t, r, "a", lti.KeyUnknown)
	})
}

func TestALookupThatJustFetchedDoesNotFetchAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		lookup(t, r, "b", lti.KeyUnknown)
		p.asked(t, 1)
		lookup(t, r, "b", lti.KeyUnknown)
		p.asked(t, 2)
	})
}

func TestConcurrentLookupsShareOneFetch(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		p.delay = time.Second
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { lookup(t, r, "a", "") })
		}
		wg.Wait()
		p.asked(t, 1)
	})
}

func TestKnownKeysDoNotWaitForARefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		lookup(t, r, "a", "")
		time.Sleep(time.Hour)
		p.delay = 9 * time.Second
		var wg sync.WaitGroup
		wg.Go(func() { lookup(t, r, "a", "") })
		synctest.Wait()
		start := time.Now()
		lookup(t, r, "a", "")
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %s for a key that is known", waited)
		}
		wg.Wait()
		p.asked(t, 2)
	})
}

// A fetch that began before somebody asked may have missed the key that they ask for.
func TestAKeyThatIsPublishedDuringAFetchIsFound(t *testing.T) {
	other := rsaKeys()[1]
	for name, tt := range map[string]struct {
		kid string
		ask func(t *testing.T, r *Remote, tried []Key)
	}{
		"with another name": {"b", func(t *testing.T, r *Remote, _ []Key) { lookup(t, r, "b", "") }},
		"under its name": {"a", func(t *testing.T, r *Remote, tried []Key) {
			if keys, err := r.Renewed(t.Context(), "a", tried); err != nil || len(keys) != 1 {
				t.Errorf("renewed %v, %v", keys, err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
				tried := lookup(t, r, "a", "")
				time.Sleep(time.Hour)
				p.delay = 5 * time.Second
				var wg sync.WaitGroup
				wg.Go(func() { lookup(t, r, "a", "") })
				time.Sleep(time.Second)
				p.publish(jwk(other, `,"kid":"`+tt.kid+`"`))
				for range 50 {
					wg.Go(func() { tt.ask(t, r, tried) })
				}
				wg.Wait()
				p.asked(t, 3)
			})
		})
	}
}

// Launches must not wait for each other, nor for whoever fetches.
func TestKnownKeysAreFoundWithoutALock(t *testing.T) {
	other := rsaKeys()[1]
	inBubble(t, func(t *testing.T, p *platform, c *Cache, r *Remote) {
		lookup(t, r, "a", "")
		c.mu.Lock()
		lookup(t, r, "a", "") // would block for ever
		c.mu.Unlock()
		// What is found so is out of date no later than otherwise.
		time.Sleep(c.opts.TTL)
		p.publish(jwk(other, `,"kid":"b"`))
		lookup(t, r, "a", lti.KeyUnknown)
		lookup(t, r, "b", "")
	})
}

func TestOldKeysServeWhileThePlatformIsDown(t *testing.T) {
	down := errors.New("connection refused to 10.0.0.7")
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		lookup(t, r, "a", "")
		p.fail(down)
		time.Sleep(24 * time.Hour)
		lookup(t, r, "a", "")
		p.asked(t, 2)
		lookup(t, r, "a", "")
		p.asked(t, 2) // left alone for a while
		if _, err := r.Lookup(t.Context(), "b"); lti.CodeOf(err) != lti.KeysUnreachable || !errors.Is(err, down) || strings.Contains(err.Error(), "10.0.0.7") {
			t.Errorf("a new key while the platform is down: %v", err)
		}
		p.publish(jwk(rsaKeys()[0], `,"kid":"b"`))
		time.Sleep(30 * time.Second)
		lookup(t, r, "b", "")
	})
}

func TestAPageInsteadOfASetDoesNotReplaceTheKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		lookup(t, r, "a", "")
		p.body = "<html>maintenance</html>"
		time.Sleep(2 * time.Hour)
		lookup(t, r, "a", "")
	})
}

func TestASetThatNeverCameFailsAtOnceForAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		p.fail(errors.New("down"))
		lookup(t, r, "a", lti.KeysUnreachable)
		lookup(t, r, "a", lti.KeysUnreachable)
		p.asked(t, 1)
		p.publish(jwk(rsaKeys()[0], `,"kid":"a"`))
		time.Sleep(5 * time.Second)
		lookup(t, r, "a", "")
		p.asked(t, 2)
	})
}

func TestASlowPlatformIsGivenUpOn(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		p.delay = time.Hour
		start := time.Now()
		lookup(t, r, "a", lti.KeysUnreachable)
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("gave up after %s", waited)
		}
	})
}

func TestAFetchSurvivesTheRequestThatStartedIt(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		p.delay = time.Second
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = r.Lookup(ctx, "a") })
		synctest.Wait()
		cancel()
		lookup(t, r, "a", "")
		wg.Wait()
		p.asked(t, 1)
	})
}

func TestAWaiterLeavesWhenItsOwnRequestEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		p.delay = 9 * time.Second
		var wg sync.WaitGroup
		wg.Go(func() { lookup(t, r, "a", "") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := r.Lookup(ctx, "a")
		if lti.CodeOf(err) != lti.KeysUnreachable || time.Since(start) != time.Second {
			t.Errorf("left with %v after %s", err, time.Since(start))
		}
		wg.Wait()
	})
}

func TestAPanickingFetcherBlocksNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		p.panic = true
		lookup(t, r, "a", lti.KeysUnreachable)
		p.panic = false
		time.Sleep(5 * time.Second)
		lookup(t, r, "a", "")
	})
}

func TestRenewedFindsAKeyThatWasReplacedUnderItsName(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		tried := lookup(t, r, "a", "")
		renew := func() []Key {
			t.Helper()
			keys, err := r.Renewed(t.Context(), "a", tried)
			if err != nil {
				t.Fatal(err)
			}
			return keys
		}
		if keys := renew(); keys != nil {
			t.Errorf("nothing changed, but renewed %v", keys)
		}
		p.asked(t, 2)
		p.publish(jwk(rsaKeys()[1], `,"kid":"a"`))
		if keys := renew(); keys != nil {
			t.Errorf("fetched again too early: %v", keys)
		}
		p.asked(t, 2)
		time.Sleep(30 * time.Second)
		if keys := renew(); len(keys) != 1 || !rsaKeys()[1].Equal(keys[0].Public) {
			t.Errorf("renewed %v", keys)
		}
		p.asked(t, 3)
		// Who still holds the old key learns of the new one without a fetch.
		if keys := renew(); len(keys) != 1 {
			t.Errorf("renewed %v", keys)
		}
		p.asked(t, 3)
	})
}

func TestForgedTokensCannotMakeUsAskMoreOftenThanTheInterval(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, _ *Cache, r *Remote) {
		tried := lookup(t, r, "a", "")
		for range 3000 { // five minutes, every 100 ms
			lookup(t, r, "forged", lti.KeyUnknown)
			if _, err := r.Renewed(t.Context(), "a", tried); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		p.asked(t, 1+10)
	})
}

func TestURLsDoNotDisturbEachOther(t *testing.T) {
	inBubble(t, func(t *testing.T, p *platform, c *Cache, r *Remote) {
		lookup(t, r, "a", "")
		lookup(t, c.Remote("https://other.example/jwks"), "a", "")
		p.asked(t, 2)
		lookup(t, c.Remote("https://lms.example/jwks"), "a", "")
		p.asked(t, 2)
		c.Retain(func(url string) bool { return strings.Contains(url, "other") })
		if len(c.entries) != 1 {
			t.Errorf("%d entries are kept", len(c.entries))
		}
		lookup(t, r, "a", "")
		p.asked(t, 3)
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := Parse(text)
		if err != nil && keys != nil {
			t.Fatal("keys and an error")
		}
		for _, k := range keys {
			if k.ID == "" || k.Public == nil {
				t.Fatalf("unusable key %v", k)
			}
			if p, ok := k.Public.(*rsa.PublicKey); ok && k.Weak != (p.N.BitLen() < MinRSABits) {
				t.Fatal("weakness is wrong")
			}
		}
	})
}

// numbers are modulus and exponent as a JWK has them (RFC 7518 section 6.3.1).
func numbers(key *rsa.PublicKey) (n, e string) {
	return base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())
}

func TestWhoWaitsForAnotherSystemSaysSo(t *testing.T) {
	k := rsaKeys()[0] // outside of the bubble
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		waiting, most := 0, 0
		var full error
		p := &platform{delay: time.Second}
		p.publish(jwk(k, `,"kid":"a"`))
		r := NewCache(p, Options{Waiting: func(context.Context) (func(), error) {
			mu.Lock()
			defer mu.Unlock()
			if full != nil {
				return nil, full
			}
			waiting++
			most = max(most, waiting)
			return func() { time.Sleep(time.Second); mu.Lock(); waiting--; mu.Unlock() }, nil
		}}).Remote("https://lms.example/jwks")
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { lookup(t, r, "a", "") })
		}
		wg.Wait()
		if most != 20 || waiting != 0 {
			t.Errorf("%d said that they wait, %d have not come back", most, waiting)
		}
		most = 0
		lookup(t, r, "a", "")
		if most != 0 {
			t.Error("a lookup of a known key says that it waits")
		}
		p.asked(t, 1)

		full = lti.Refuse(lti.Overloaded, "")
		lookup(t, r, "b", lti.Overloaded)
		if _, err := r.Renewed(t.Context(), "a", lookup(t, r, "a", "")); lti.CodeOf(err) != lti.Overloaded {
			t.Errorf("renewed: %v", err)
		}
		time.Sleep(2 * time.Hour)
		lookup(t, r, "a", "") // an old key will do
		p.asked(t, 1)
		full = nil
		lookup(t, r, "b", lti.KeyUnknown) // at once: nothing failed
		p.asked(t, 2)
	})
}
