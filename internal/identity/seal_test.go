// SPDX-License-Identifier: Apache-2.0

package identity

import "testing"

// During a rolling update replicas of two versions open what the other one sealed.
func TestWhatAFormerVersionSealedIsOpened(t *testing.T) {
	const sealed = "NDU2Nzg5YWJjZGVmv-2xkqf_iSzQsKUE-nwQx_Ux666MoULWhsBM_QMR9xhPAmJg9mkaVMJsOk6qyZAaajpmLhwEDQq9i8pc4In3X_st_wihM3FhQyDUfN0MNHPPrxKge4NEYek2lGbLYHBvrUiBsu0H9q1Oq_Yh5L2RAO6AfgUJrjmu2ONMheuq87WjlWxO466Vg9KFoyMXe524vGp4oYNiftwBYefAOWrr5h0MH-OIYqyZVt0W"
	h, err := hintSealer(t, "a").OpenHint(sealed, hinted)
	if err != nil || h.Tool != "lab" || h.LearnerID != "learner" {
		t.Errorf("%+v, %v", h, err)
	}
}

// Two purposes of one name, or without any, could be taken for each other.
func TestEveryPurposeHasANameOfItsOwn(t *testing.T) {
	seen := map[string]bool{"": true}
	for p := range purposes {
		if seen[p.String()] {
			t.Errorf("purpose %d: %q", p, p.String())
		}
		seen[p.String()] = true
	}
}
