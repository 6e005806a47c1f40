package aegis.addresses_test

import data.aegis.addresses

given(effect, host) := {"tool": {"effect": effect}, "analysis": {"urls": [{"host": host, "path": "/arguments/url"}]}}

test_sending_to_a_request_bin_waits_for_a_person if {
	some finding in addresses.findings with input as given("external", "abc.Webhook.site")
	finding.code == "url.drop_site"
	finding.path == "/arguments/url"
}

test_reading_a_paste_passes if {
	count(addresses.findings) == 0 with input as given("read", "pastebin.com")
}

test_a_name_that_contains_one_passes if {
	count(addresses.findings) == 0 with input as given("external", "mywebhook.site.example")
}
