package aegis.environment_test

import data.aegis.environment

test_a_destructive_tool_in_production_waits_for_a_person if {
	given := {"tool": {"effect": "destructive"}, "context": {"environment": "Production"}}
	some finding in environment.findings with input as given
	finding.code == "policy.protected_environment"
	finding.values.environment == "production"
}

test_a_destructive_tool_in_staging_passes if {
	given := {"tool": {"effect": "destructive"}, "context": {"environment": "staging"}}
	count(environment.findings) == 0 with input as given
}

test_a_writing_tool_in_production_passes if {
	given := {"tool": {"effect": "write"}, "context": {"environment": "production"}}
	count(environment.findings) == 0 with input as given
}

test_no_environment_is_not_protected if {
	given := {"tool": {"effect": "destructive"}, "context": {"environment": null}}
	count(environment.findings) == 0 with input as given
}

test_a_protected_namespace_is_refused if {
	change := {"verb": "delete", "kind": "deployment", "namespace": "Prod", "destructive": true}
	some finding in environment.findings with input as {"analysis": {"k8s": [change]}}
	finding.code == "k8s.protected_namespace"
	finding.values == {"verb": "delete", "kind": "deployment"}
}

test_a_namespace_that_tenants_protect_is_data if {
	change := {"verb": "delete", "kind": "pod", "namespace": "billing", "destructive": true}
	count(environment.findings) == 0 with input as {"analysis": {"k8s": [change]}}
	found := environment.findings with input as {"analysis": {"k8s": [change]}}
		with data.protected.namespaces as ["billing"]
	count(found) == 1
}

test_reading_a_protected_namespace_passes if {
	change := {"verb": "get", "kind": "pod", "namespace": "prod", "destructive": false}
	count(environment.findings) == 0 with input as {"analysis": {"k8s": [change]}}
}
