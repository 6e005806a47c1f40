# What may be destroyed where: protected environments and namespaces.
package aegis.environment

import data.aegis.places

findings contains finding if {
	input.tool.effect == "destructive"
	environment := places.protected_environment
	finding := {
		"code": "policy.protected_environment",
		"rule": "destructive_tool",
		"values": {"environment": environment},
	}
}

findings contains finding if {
	some change in input.analysis.k8s
	change.destructive == true
	is_string(change.namespace)
	lower(change.namespace) in data.protected.namespaces
	finding := {
		"code": "k8s.protected_namespace",
		"rule": "protected_namespace",
		"path": object.get(change, "path", ""),
		"values": {"verb": object.get(change, "verb", "change"), "kind": object.get(change, "kind", "object")},
	}
}
