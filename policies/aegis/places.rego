# Where an action sends things to: domains of recipients and hosts of addresses, and which of them are ours.
package aegis.places

destinations contains lower(domain) if {
	some domain in input.analysis.recipients.domains
	is_string(domain)
}

destinations contains lower(url.host) if {
	input.tool.effect != "read"
	some url in input.analysis.urls
	is_string(url.host)
}

strangers contains destination if {
	some destination in destinations
	not ours(destination)
}

ours(host) if {
	some domain in data.internal_domains
	below(host, domain)
}

below(host, domain) if host == domain

below(host, domain) if endswith(host, concat("", [".", domain]))

protected_environment := environment if {
	is_string(input.context.environment)
	environment := lower(input.context.environment)
	environment in data.protected.environments
}
