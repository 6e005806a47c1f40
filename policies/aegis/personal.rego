# Personal data: how much of it leaves in one call, and where to.
package aegis.personal

import data.aegis.places
import input.analysis.pii

findings contains finding if {
	is_number(pii.records)
	pii.records >= data.limits.pii_records
	finding := {
		"code": "pii.bulk_export",
		"rule": "bulk_export",
		"path": object.get(pii, "path", ""),
		"values": {"count": pii.records},
	}
}

findings contains finding if {
	is_number(pii.records)
	pii.records >= data.limits.pii_records_to_strangers
	count(places.strangers) > 0
	finding := {
		"code": "pii.exfiltration",
		"rule": "personal_data_to_strangers",
		"path": object.get(pii, "path", ""),
	}
}
