// SPDX-License-Identifier: Apache-2.0

package identity

import "testing"

// What was sealed for one thing is nothing else.
func TestAPickerIsNothingElse(t *testing.T) {
	s := hintSealer(t, "a")
	const value = "the picker"
	sealed, err := s.SealPicker(value)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := s.OpenPicker(sealed, &got); err != nil || got != value {
		t.Fatalf("%q, %v", got, err)
	}
	for _, p := range []purpose{purposeCode, purposeAccessToken, purposeClientToken, purposeFlow, purposePending, purposeHint, purposeService, purposeChoice} {
		if s.open(p, sealed, &got) == nil {
			t.Errorf("a picker is a %s", p)
		}
		other, err := s.seal(p, value)
		if err != nil {
			t.Fatal(err)
		}
		if s.OpenPicker(other, &got) == nil {
			t.Errorf("a %s is a picker", p)
		}
	}
}
