// SPDX-License-Identifier: Apache-2.0

// Command signature is the least that a platform's ID token costs: an RS256 signature with a key of 2048 bits, and nothing
// else. It signs for a while on one core, and prints the processor time of one signature in nanoseconds.
package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

func main() {
	while := flag.Duration("for", time.Second, "processor time to sign for")
	flag.Parse()
	each, err := run(*while)
	if err != nil {
		fmt.Fprintln(os.Stderr, "signature:", err)
		os.Exit(1)
	}
	fmt.Println(each.Nanoseconds())
}

func run(while time.Duration) (each time.Duration, err error) {
	runtime.GOMAXPROCS(1)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return 0, err
	}
	const batch = 20
	if err := sign(key, batch); err != nil { // to be warm
		return 0, err
	}
	before, err := measure.OwnCPU()
	if err != nil {
		return 0, err
	}
	for n := batch; ; n += batch {
		if err := sign(key, batch); err != nil {
			return 0, err
		}
		now, err := measure.OwnCPU()
		if err != nil {
			return 0, err
		}
		if used := now - before; used >= while {
			return used / time.Duration(n), nil
		}
	}
}

// sign makes n signatures, each of something else.
func sign(key *rsa.PrivateKey, n int) error {
	var message [32]byte
	for i := range n {
		binary.BigEndian.PutUint64(message[:], uint64(i))
		digest := sha256.Sum256(message[:])
		if _, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:]); err != nil {
			return err
		}
	}
	return nil
}
