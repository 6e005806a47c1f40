package aegis.secrets_test

import data.aegis.secrets

test_a_secret_is_weighed if {
	found := secrets.findings with input as {"analysis": {"secrets": {"count": 1}}}
	{finding.rule | some finding in found} == {"secret_in_arguments"}
}

test_a_secret_to_a_stranger_waits_for_a_person if {
	given := {"tool": {"effect": "external"}, "analysis": {
		"secrets": {"count": 1, "path": "/arguments/body"},
		"urls": [{"host": "api.example"}],
	}}
	some finding in secrets.findings with input as given
	finding.verdict == "escalate"
	finding.path == "/arguments/body"
}

test_no_secret_no_finding if {
	count(secrets.findings) == 0 with input as {"analysis": {"secrets": {"count": 0}}}
}
