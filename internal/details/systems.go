// SPDX-License-Identifier: Apache-2.0

package details

// The systems below leave Label empty where no source for the wording was found: it is better to say what is meant than
// to send somebody looking for a field that does not exist. Parentheses in menu paths stand for what one picks there.

// githubDocs describes the registration of one tool in four of the systems, label by label.
const githubDocs = "https://docs.github.com/en/education/manage-coursework-with-github-classroom/teach-with-github-classroom/register-a-learning-management-system-with-github-classroom"

// generic has the names of the specifications, for systems that are not listed.
func generic() System {
	return System{
		Name:  "generic",
		Title: "Any other system",
		Platform: Screen{
			Entries: []Entry{
				{Field: LoginInitiationURL, Note: "also: initiate login URL"},
				{Field: RedirectURI, Note: "also: launch URL; status.details.aliasRedirectURIs are further ones"},
				{Field: TargetLinkURI, Note: "also: tool URL"},
				{Field: DeepLinkingURL, Note: "also: content selection URL; where teachers choose activities"},
				{Field: JWKSURL, Note: "the address, not a pasted key, so that keys can be replaced"},
				{Field: Domain},
			},
		},
		BringBack: Screen{
			Entries: []Entry{
				{Field: Issuer, Note: "also: platform ID; exactly as shown, with or without the slash at the end"},
				{Field: ClientID},
				{Field: DeploymentID, Note: "needed when only listed deployments are accepted"},
				{Field: AuthenticationURL, Note: "also: OIDC authorization endpoint"},
				{Field: AccessTokenURL, Note: "also: OAuth 2 token endpoint"},
				{Field: JWKSURL},
			},
		},
		Activity: Screen{Entries: []Entry{{Field: ResourceURL}}},
		LTI12:    Screen{Entries: []Entry{{Field: LaunchURL}, {Field: ConsumerKey}, {Field: SharedSecret}}},
		Tool: Screen{
			Entries: []Entry{
				{Field: PlatformID, Note: "also: issuer"},
				{Field: ClientID},
				{Field: DeploymentID},
				{Field: AuthenticationURL, Note: "also: OIDC authorization endpoint"},
				{Field: AccessTokenURL, Note: "also: OAuth 2 token endpoint"},
				{Field: JWKSURL},
			},
		},
		Sources: []string{
			"https://www.imsglobal.org/spec/lti/v1p3",
			"https://www.imsglobal.org/spec/security/v1p0",
		},
	}
}

func moodle() System {
	return System{
		Name:  "moodle",
		Title: "Moodle",
		Platform: Screen{
			Where: "Site administration > Plugins > Activity modules > External tool > Manage tools > configure a tool manually",
			Entries: []Entry{
				{Field: TargetLinkURI, Label: "Tool URL", Note: "for one activity its resource URL, see below"},
				{Field: DeepLinkingURL, Label: "Content Selection URL", Note: "with Supports Deep Linking (Content-Item Message) ticked"},
				{Field: JWKSURL, Label: "Public keyset", Note: "with LTI version LTI 1.3 and Public key type Keyset URL"},
				{Field: LoginInitiationURL, Label: "Initiate login URL"},
				{Field: RedirectURI, Label: "Redirection URI(s)", Note: "one per line"},
			},
		},
		BringBack: Screen{
			Where: "Site administration > Plugins > Activity modules > External tool > Manage tools > View configuration details",
			Entries: []Entry{
				{Field: Issuer, Label: "Platform ID", Form: "{site}"},
				{Field: ClientID, Label: "Client ID"},
				{Field: DeploymentID, Label: "Deployment ID"},
				{Field: JWKSURL, Label: "Public keyset URL", Form: "{site}/mod/lti/certs.php"},
				{Field: AccessTokenURL, Label: "Access token URL", Form: "{site}/mod/lti/token.php"},
				{Field: AuthenticationURL, Label: "Authentication request URL", Form: "{site}/mod/lti/auth.php"},
			},
		},
		Activity: Screen{
			Where: "Site administration > Plugins > Activity modules > External tool > Manage tools > configure a tool manually",
			Entries: []Entry{
				{Field: ResourceURL, Label: "Tool URL", Note: "up to Moodle 4.2 also in the activity itself"},
			},
		},
		LTI12: Screen{
			Where: "Course > More > LTI External tools > Add tool",
			Entries: []Entry{
				{Field: LaunchURL, Label: "Tool URL"},
				{Field: ConsumerKey, Label: "Consumer key", Note: "with LTI version LTI 1.0/1.1"},
				{Field: SharedSecret, Label: "Shared secret"},
			},
		},
		Tool: Screen{
			Where: "Site administration > Plugins > Enrolments > Publish as LTI tool > Tool registration > Register a platform",
			Entries: []Entry{
				{Field: PlatformID, Label: "Platform ID (issuer)"},
				{Field: ClientID, Label: "Client ID"},
				{Field: AuthenticationURL, Label: "Authentication request URL"},
				{Field: JWKSURL, Label: "Public keyset URL"},
				{Field: AccessTokenURL, Label: "Access token URL"},
				{
					Field: DeploymentID, Label: "Deployment ID",
					Where: "Site administration > Plugins > Enrolments > Publish as LTI tool > Tool registration > Manage deployments > Add a deployment",
				},
			},
		},
		Notes: []string{
			"Since Moodle 4.3 an activity has no URL field: teachers choose what it opens with Select content. Without deep " +
				"linking it opens the Tool URL of the tool that it is made from, so that every shared activity needs a tool of " +
				"its own. Each tool has its own Client ID, so over LTI 1.3 also an LTIPlatform of its own.",
			"The Platform ID is the site's address, with a path if it has one and without a slash at the end.",
			"Under Privacy, Share launcher's name with tool and Share launcher's email with tool must be Always for " +
				"activities that need them.",
		},
		Sources: []string{
			"moodle/moodle public/mod/lti/lang/en/lti.php",
			"moodle/moodle public/mod/lti/mod_form.php",
			"moodle/moodle public/mod/lti/openid-configuration.php",
			"moodle/moodle enrol/lti/tests/behat/lti_adv_tool_registration.feature",
			githubDocs,
		},
	}
}

func canvas() System {
	return System{
		Name:  "canvas",
		Title: "Canvas",
		Platform: Screen{
			Where: "Admin > (account) > Developer Keys > + Developer Key > + LTI Key",
			Entries: []Entry{
				{Field: RedirectURI, Label: "Redirect URIs", Note: "one per line"},
				{Field: TargetLinkURI, Label: "Target Link URI", Note: "with Method Manual Entry"},
				{
					Field: DeepLinkingURL, Label: "Target Link URI",
					Note: "of the placements Link Selection and Assignment Selection, with LtiDeepLinkingRequest as message type",
				},
				{Field: LoginInitiationURL, Label: "OpenID Connect Initiation Url"},
				{Field: JWKSURL, Label: "Public JWK URL", Note: "with JWK Method Public JWK URL"},
				{Field: Domain, Label: "Domain", Note: "under Additional Settings"},
			},
		},
		BringBack: Screen{
			Where: "Admin > (account) > Developer Keys",
			Entries: []Entry{
				{Field: ClientID, Label: "Details", Note: "the column of the list; the number above the key"},
				{
					Field: DeploymentID, Label: "Deployment Id",
					Where: "Admin > (account) > Settings > Apps > View App Configurations > (gear of the app)",
					Note:  "the app is added there first, with Configuration Type By Client ID",
				},
				{Field: Issuer, Form: "https://canvas.instructure.com"},
				{Field: AuthenticationURL, Form: "https://sso.canvaslms.com/api/lti/authorize_redirect"},
				{Field: AccessTokenURL, Form: "https://sso.canvaslms.com/login/oauth2/token"},
				{Field: JWKSURL, Form: "https://sso.canvaslms.com/api/lti/security/jwks"},
			},
		},
		Activity: Screen{
			Where: "(course) > Assignments > + Assignment > Submission Type External Tool",
			Entries: []Entry{
				{Field: ResourceURL, Label: "Enter or find an External Tool URL"},
			},
		},
		LTI12: Screen{
			Where: "Admin > (account) > Settings > Apps > View App Configurations > Add App",
			Entries: []Entry{
				{Field: ConsumerKey, Label: "Consumer Key", Note: "with Configuration Type Manual Entry"},
				{Field: SharedSecret, Label: "Shared Secret"},
				{Field: LaunchURL, Label: "Launch URL"},
			},
		},
		Notes: []string{
			"All sites that Instructure hosts have one issuer; the Client ID tells them apart. A site that an institution " +
				"hosts itself has its own address in the three URLs; its issuer is set in config/security.yml, and is " +
				"https://canvas.instructure.com when nobody has changed it.",
			"The beta environment has canvas.beta.instructure.com and sso.beta.canvaslms.com instead, the test environment " +
				"canvas.test.instructure.com and sso.test.canvaslms.com.",
			"With Method Paste JSON the same values are oidc_initiation_url, target_link_uri, public_jwk_url and, in " +
				"extensions, domain.",
			"The newer Apps page calls them Redirect URIs, Default Target Link URI, OpenID Connect Initiation URL, JWK URL " +
				"and Domain.",
			"With Method Paste JSON deep linking is a placement with message_type LtiDeepLinkingRequest and our deep linking URL " +
				"as target_link_uri, for example link_selection and assignment_selection.",
			"The key must be switched to On in the State column. Privacy Level Public sends names and email addresses.",
		},
		Sources: []string{
			"instructure/canvas-lms ui/features/developer_keys_v2/react/NewKeyForm.tsx",
			"instructure/canvas-lms ui/features/developer_keys_v2/react/ManualConfigurationForm/RequiredValues.jsx",
			"instructure/canvas-lms ui/features/developer_keys_v2/react/ManualConfigurationForm/AdditionalSettings.tsx",
			"instructure/canvas-lms ui/features/external_apps/react/components/DeploymentIdButton.jsx",
			"instructure/canvas-lms doc/api/lti_launch_overview.md, doc/api/lti_dev_key_config.md",
			"https://community.canvaslms.com/t5/Admin-Guide/How-do-I-configure-a-manual-entry-external-app-for-an-account/ta-p/219",
			githubDocs,
		},
	}
}

func brightspace() System {
	return System{
		Name:  "brightspace",
		Title: "Brightspace",
		Platform: Screen{
			Where: "Admin Tools > Manage Extensibility > LTI Advantage > Register Tool > Standard",
			Entries: []Entry{
				{Field: Domain, Label: "Domain", Note: "only one enabled registration may have it"},
				{Field: RedirectURI, Label: "Redirect URLs", Note: "+ Add Redirect URL for each further one"},
				{Field: LoginInitiationURL, Label: "OpenID Connect Login URL"},
				{Field: TargetLinkURI, Label: "Target Link URI"},
				{Field: JWKSURL, Label: "Keyset URL", Note: "optional for launches, needed for grades"},
				{
					Field: DeepLinkingURL, Label: "URL",
					Where: "Admin Tools > External Learning Tools > LTI Advantage > (deployment) > View Links > New Link",
					Note:  "with Type Deep Linking Quicklink; the deployment needs the extension Deep Linking",
				},
			},
		},
		BringBack: Screen{
			Where: "Admin Tools > Manage Extensibility > LTI Advantage > (tool) > Brightspace Registration Details",
			Entries: []Entry{
				{Field: ClientID, Label: "Client ID"},
				{Field: JWKSURL, Label: "Brightspace Keyset URL", Form: "{site}/d2l/.well-known/jwks"},
				{
					Field: AccessTokenURL, Label: "Brightspace OAuth2 Access Token URL",
					Form: "https://auth.brightspace.com/core/connect/token",
				},
				{
					Field: AuthenticationURL, Label: "OpenID Connect Authentication Endpoint",
					Form: "{site}/d2l/lti/authenticate",
				},
				{Field: Issuer, Label: "Issuer", Form: "{site}"},
				{
					Field: DeploymentID, Label: "Deployment ID",
					Where: "Admin Tools > External Learning Tools > LTI Advantage > New Deployment",
					Note:  "shown after Create Deployment",
				},
			},
		},
		Activity: Screen{
			Where:   "(course) > Content > Add Existing > External Tool Activity > Create New LTI Link",
			Entries: []Entry{{Field: ResourceURL}},
		},
		LTI12: Screen{
			Where: "Admin Tools > External Learning Tools > Manage Tool Providers > New Tool Provider",
			Entries: []Entry{
				{Field: LaunchURL, Label: "Launch Point", Note: "D2L asks for it without http://"},
				{Field: ConsumerKey, Label: "Key", Note: "after Use custom tool consumer information instead of default"},
				{Field: SharedSecret, Label: "Secret"},
			},
		},
		Notes: []string{
			"Names and email addresses are sent only with User Information ticked in the deployment's security settings, the " +
				"course only with Org Unit Information.",
			"Brightspace OAuth2 Audience, shown beside the others, is the audience of access token requests: " +
				"https://api.brightspace.com/auth/token.",
			"For LTI 1.2 set OAuth Signature Method to HMAC-SHA1, or accept the default: lti12.signatureMethods: [HMAC-SHA1, HMAC-SHA256].",
		},
		Sources: []string{
			"https://documentation.brightspace.com/EN/integrations/ipsis/LTI%20Advantage/LTI_register_external_learning_tool.htm",
			"https://community.d2l.com/brightspace/kb/articles/18081-tool-registration-deployment-and-links",
			"https://help.comptia.org/hc/en-us/articles/17687378254868",
			"https://community.d2l.com/brightspace/kb/articles/4319-lti-registration-brightspace-to-brightspace",
			"https://documentation.brightspace.com/EN/le/lti/admin/set_up_integration_with_tool_provider.htm",
			"https://help.aktiv.com/guides/lms/brightspace/lms-brightspace-lti-external-tool",
			"https://support.watermarkinsights.com/hc/en-us/articles/31190931931803 (deep linking)",
			"sakaiproject/sakai plus/docs/INSTALL-BRIGHTSPACE.md (fixed forms)",
		},
	}
}

func blackboard() System {
	const (
		portal    = "https://developer.anthology.com > My Applications > + > Manual Registration"
		providers = "Admin > LTI Tool Providers"
		placement = providers + " > Manage Placements > Create Placement"
	)
	return System{
		Name:  "blackboard",
		Title: "Blackboard Learn",
		Platform: Screen{
			Where: portal,
			Entries: []Entry{
				{Field: Domain, Label: "Domain(s)"},
				{Field: LoginInitiationURL, Label: "Login Initiation URL", Note: "after My integration supports LTI 1.3"},
				{Field: RedirectURI, Label: "Tool Redirect URL(s)", Note: "separated by commas"},
				{Field: JWKSURL, Label: "Tool JWKS URL"},
				{Field: TargetLinkURI, Label: "Target Link URI", Where: placement},
				{Field: DeepLinkingURL, Label: "Target Link URI", Where: placement, Note: "with Type Deep Linking content tool"},
			},
		},
		BringBack: Screen{
			Where: portal + " > Register Application",
			Entries: []Entry{
				{Field: ClientID, Label: "Application ID", Note: "not Application Key"},
				{Field: Issuer, Label: "Issuer", Form: "https://blackboard.com"},
				{
					Field: JWKSURL, Label: "Public keyset URL",
					Form: "https://developer.blackboard.com/api/v1/management/applications/{clientID}/jwks.json",
				},
				{
					Field: AccessTokenURL, Label: "Auth token endpoint",
					Form: "https://developer.blackboard.com/api/v1/gateway/oauth2/jwttoken",
				},
				{
					Field: AuthenticationURL, Label: "OIDC auth request endpoint",
					Form: "https://developer.blackboard.com/api/v1/gateway/oidcauth",
				},
				{
					Field: DeploymentID, Label: "Deployment ID",
					Where: providers + " > Register LTI 1.3/Advantage Tool",
					Note:  "the institution's administrator enters the Application ID there and hands it over",
				},
			},
		},
		Activity: Screen{
			Where:   placement,
			Entries: []Entry{{Field: ResourceURL, Label: "Target Link URI", Note: "with Type Course content tool"}},
		},
		LTI12: Screen{
			Where: placement,
			Entries: []Entry{
				{Field: LaunchURL, Label: "Tool Provider URL"},
				{
					Field: ConsumerKey, Label: "Tool Provider Key",
					Where: providers + " > Register Provider Domain",
					Note:  "with Default Configuration Set globally; else in the placement",
				},
				{Field: SharedSecret, Label: "Tool Provider Secret", Where: providers + " > Register Provider Domain"},
			},
		},
		Notes: []string{
			"The academy, not the institution, registers at the developer portal, and once: two applications cannot have " +
				"the same domain. One LTIPlatform then stands for all institutions, with one entry in spec.deployments.list for each.",
			"The portal shows the values once only.",
			"In Learn the tool starts as Excluded: Tool Status must be Approved. User Fields to Send decides about names and " +
				"email addresses.",
			"Learn has one tool per domain: with an LTI 1.2 registration in place it offers to migrate.",
		},
		Sources: []string{
			"https://docs.anthology.com/docs/blackboard/lti/1.3/register-an-application",
			"https://docs.anthology.com/docs/developer-portal/creating-new-rest-or-lti-application",
			githubDocs,
			"https://support.watermarkinsights.com/hc/en-us/articles/6336969989275 (fixed forms)",
			"https://support.watermarkinsights.com/hc/en-us/articles/31190862782107 (placement)",
			"https://docs.blackboard.com/rest-apis/learn/uef/configure-uef (LTI 1.2)",
			"https://echocloud.atlassian.net/wiki/spaces/55/pages/590184705/Blackboard+LTI (LTI 1.2)",
		},
	}
}

func sakai() System {
	const (
		install = "Administration Workspace > External Tools > Install LTI Tool"
		launch  = "Launch URL (1.1) / Target Link URI (1.3)"
	)
	return System{
		Name:  "sakai",
		Title: "Sakai",
		Platform: Screen{
			Where: install,
			Entries: []Entry{
				{Field: TargetLinkURI, Label: launch, Note: "for one activity its resource URL, see below"},
				{
					Field: LoginInitiationURL,
					Label: "LTI 1.3 Tool OpenID Connect/Initialization Endpoint (provided by the tool)",
					Note:  "after Tool supports LTI 1.3",
				},
				{
					Field: RedirectURI,
					Label: "LTI 1.3 Tool Redirect Endpoint(s) (comma separated and provided by the tool)",
				},
				{Field: JWKSURL, Label: "LTI 1.3 Tool Keyset / JWK URL (provided by the tool)"},
			},
		},
		BringBack: Screen{
			Where: "Administration Workspace > External Tools > (tool)",
			Entries: []Entry{
				{Field: Issuer, Label: "LTI 1.3 Platform Issuer (provide to tool)", Form: "{site}"},
				{Field: ClientID, Label: "LTI 1.3 Client ID (provide to the tool)"},
				{Field: DeploymentID, Label: "LTI 1.3 Deployment Id (provide to tool)"},
				{
					Field: JWKSURL, Label: "LTI 1.3 LMS Keyset URL (provide to the tool)",
					Form: "{site}/imsblis/lti13/keyset",
				},
				{
					Field: AuthenticationURL, Label: "LTI 1.3 LMS OIDC Endpoint URL (provide to the tool)",
					Form: "{site}/imsoidc/lti13/oidc_auth",
				},
				{
					Field: AccessTokenURL, Label: "LTI 1.3 LMS OAuth Token URL (provide to the tool)",
					Form: "{site}/imsblis/lti13/token/{tool}",
				},
			},
		},
		Activity: Screen{
			Where:   install,
			Entries: []Entry{{Field: ResourceURL, Label: launch}},
		},
		LTI12: Screen{
			Where: install,
			Entries: []Entry{
				{Field: LaunchURL, Label: launch},
				{Field: ConsumerKey, Label: "Launch Key (required for LTI 1.1)", Note: "after Tool supports LTI 1.1"},
				{Field: SharedSecret, Label: "Launch Secret (Required for LTI 1.1)"},
			},
		},
		Tool: Screen{
			Where: "Administration Workspace > Plus Admin > Add Tenant",
			Entries: []Entry{
				{Field: PlatformID, Label: "Issuer"},
				{Field: ClientID, Label: "Client ID"},
				{Field: DeploymentID, Label: "Deployment ID"},
				{Field: JWKSURL, Label: "LMS Keyset Url"},
				{Field: AuthenticationURL, Label: "LMS Authorization Url"},
				{Field: AccessTokenURL, Label: "LMS Token Url"},
			},
		},
		Notes: []string{
			"In current releases a tool link opens the launch URL of its tool, or what was chosen by deep linking, for which the " +
				"launch URL is used too. Without deep linking every shared activity needs a tool of its own. Each tool has its " +
				"own Client ID, so over LTI 1.3 also an LTIPlatform of its own.",
			"Names and email addresses are sent only with Send User Names to External Tool and Send Email Addresses to " +
				"External Tool.",
			"Plus Admin, for Sakai as a tool, is there since Sakai 23 and needs plus.provider.enabled in sakai.properties.",
		},
		Sources: []string{
			"sakaiproject/sakai lti/lti-impl/src/bundle/ltiservice.properties",
			"sakaiproject/sakai lti/lti-tool/src/bundle/ltitool.properties",
			"sakaiproject/sakai lti/lti-tool/src/java/org/sakaiproject/lti/tool/LTIAdminTool.java (fixed forms)",
			"sakaiproject/sakai plus/tool/src/main/resources/Messages.properties",
			githubDocs,
		},
	}
}

func schoology() System {
	const (
		addApp    = "App Center > My Developer Apps > Add App"
		developer = "https://developers.schoology.com/app-platform/lti-apps"
	)
	return System{
		Name:  "schoology",
		Title: "Schoology",
		Platform: Screen{
			Where: addApp,
			Entries: []Entry{
				{
					Field: JWKSURL, Label: "JWKS URL",
					Note: "with Type of App LTI 1.3 App and Configuration Type Manual",
				},
				{Field: TargetLinkURI, Label: "Domain/URL", Note: "for one activity its resource URL, see below"},
				{Field: LoginInitiationURL, Label: "OIDC Login Init URL"},
				{Field: RedirectURI, Label: "Redirect URLs", Note: "separated by commas"},
			},
		},
		BringBack: Screen{
			Where: developer,
			Entries: []Entry{
				{Field: ClientID, Label: "Client ID", Where: "App Center > (app) > Options > API Info"},
				{
					Field: DeploymentID, Label: "Deployment ID",
					Where: "App Center > Organization Apps > (app) > Configure",
					Note:  "after Install LTI 1.3 App; each organization has its own",
				},
				{Field: Issuer, Label: "issuer_id", Form: "https://schoology.schoology.com"},
				{
					Field: AuthenticationURL, Label: "OIDC Authorization Endpoint",
					Form: "https://lti-service.svc.schoology.com/lti-service/authorize-redirect",
				},
				{
					Field: AccessTokenURL, Label: "OAuth 2 Access Token Endpoint",
					Form: "https://lti-service.svc.schoology.com/lti-service/access-token",
				},
				{
					Field: JWKSURL, Label: "JWKS URL",
					Form: "https://lti-service.svc.schoology.com/lti-service/.well-known/jwks",
				},
			},
		},
		Activity: Screen{
			Where:   addApp,
			Entries: []Entry{{Field: ResourceURL, Label: "Domain/URL"}},
		},
		LTI12: Screen{
			Where: "Tools > School Management > Integration > External Tools > Add External Tool Provider",
			Entries: []Entry{
				{Field: ConsumerKey, Label: "Consumer Key"},
				{Field: SharedSecret, Label: "Shared Secret"},
				{Field: LaunchURL, Label: "Domain/URL", Note: "with Configuration Type Manual and Match By URL"},
			},
		},
		Notes: []string{
			"All organizations have one issuer. An app may be installed by several of them: the Client ID is the app's, the " +
				"Deployment ID the organization's.",
			"The placement Course Materials uses deep linking: teachers choose the activity.",
			"Privacy of the app decides about names and email addresses.",
		},
		Sources: []string{
			developer,
			"https://support.englishhub.oup.com/lti-organizations/schoology/",
			"https://help.pasco.com/portal/for-admins/lms-setup/schoology",
			"https://ed.link/docs/providers/schoology/schoology-lti-1.3 (Deployment ID)",
			"https://support.schoology.com/hc/en-us/articles/201001113 (LTI 1.2)",
			"https://help.extemporeapp.com/en/articles/4551435-integrate-extempore-into-schoology (LTI 1.2)",
		},
	}
}
