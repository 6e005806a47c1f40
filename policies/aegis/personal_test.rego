package aegis.personal_test

import data.aegis.personal

records(count) := {"pii": {"records": count, "path": "/arguments/rows"}}

test_a_thousand_records_are_an_export if {
	some finding in personal.findings with input as {"analysis": records(1000)}
	finding.code == "pii.bulk_export"
	finding.values.count == 1000
	finding.path == "/arguments/rows"
}

test_one_case_is_none if {
	count(personal.findings) == 0 with input as {"analysis": records(9), "tool": {"effect": "external"}}
}

test_ten_records_to_a_stranger_are_exfiltration if {
	given := {"tool": {"effect": "write"}, "analysis": {
		"pii": {"records": 10},
		"recipients": {"count": 1, "domains": ["Drop.Example"]},
	}}
	{finding.code | some finding in personal.findings} == {"pii.exfiltration"} with input as given
}

test_ten_records_to_a_colleague_are_none if {
	given := {"tool": {"effect": "write"}, "analysis": {
		"pii": {"records": 10},
		"recipients": {"count": 1, "domains": ["mail.corp.example"]},
	}}
	count(personal.findings) == 0 with input as given with data.internal_domains as ["corp.example"]
}

test_a_name_that_ends_alike_is_no_colleague if {
	given := {"tool": {"effect": "write"}, "analysis": {
		"pii": {"records": 10},
		"recipients": {"count": 1, "domains": ["evilcorp.example"]},
	}}
	count(personal.findings) == 1 with input as given with data.internal_domains as ["corp.example"]
}

test_reading_from_an_address_sends_nothing if {
	given := {"tool": {"effect": "read"}, "analysis": {"pii": {"records": 10}, "urls": [{"host": "drop.example"}]}}
	count(personal.findings) == 0 with input as given
}

test_a_word_is_no_number_of_records if {
	count(personal.findings) == 0 with input as {"analysis": records("many")}
}
