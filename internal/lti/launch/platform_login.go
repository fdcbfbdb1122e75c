package launch

import "github.com/lti-operator/lti-operator/internal/lti"

// LoginInitiation is what a platform sends to a tool to open an activity
// (Security section 5.1.1.1, Core section 4.1). The tool answers with an
// authentication request that returns both hints.
type LoginInitiation struct {
	// Issuer is who we are as a platform.
	Issuer string
	// LoginHint and MessageHint are opaque to the tool. MessageHint may be empty.
	LoginHint, MessageHint string
	// TargetLinkURI is what is to be opened. The claim must be the same.
	TargetLinkURI string
	// ClientID and DeploymentID tell the tool which of its registrations this is.
	ClientID, DeploymentID string
	// StorageTarget is the name of our frame that keeps values for tools whose
	// cookies the browser does not keep; empty if there is none.
	StorageTarget string
}

// LoginInitiationURL returns where to send the browser to start a launch. The
// parameters are merged into a query that the registered URL has already; of
// that, only parameters of the same names are replaced. It refuses with
// NotRegistered.
func LoginInitiationURL(loginInitiationURL string, l LoginInitiation) (string, error) {
	params := lti.Params{
		{Name: "iss", Value: l.Issuer},
		{Name: "login_hint", Value: l.LoginHint},
		{Name: "target_link_uri", Value: l.TargetLinkURI},
	}
	for _, p := range []lti.Param{
		{Name: "lti_message_hint", Value: l.MessageHint},
		{Name: "client_id", Value: l.ClientID},
		{Name: "lti_deployment_id", Value: l.DeploymentID},
		{Name: "lti_storage_target", Value: l.StorageTarget},
	} {
		if p.Value != "" {
			params = append(params, p)
		}
	}
	merged, err := mergeQuery(loginInitiationURL, params)
	if err != nil {
		return "", lti.Refuse(lti.NotRegistered, "login initiation URL of the registration is not usable").Because(err)
	}
	return merged, nil
}
