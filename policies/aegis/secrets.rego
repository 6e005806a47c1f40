# Secrets in arguments are weighed wherever they go, and wait for a person when they go to strangers.
package aegis.secrets

import data.aegis.places
import input.analysis.secrets

findings contains finding if {
	is_number(secrets.count)
	secrets.count > 0
	finding := {"code": "secret.argument", "rule": "secret_in_arguments", "path": object.get(secrets, "path", "")}
}

findings contains finding if {
	is_number(secrets.count)
	secrets.count > 0
	count(places.strangers) > 0
	finding := {
		"code": "secret.argument",
		"rule": "secret_to_strangers",
		"verdict": "escalate",
		"path": object.get(secrets, "path", ""),
	}
}
