# Addresses that take what anyone sends and show it to anyone who asks: paste sites, request bins, tunnels.
package aegis.addresses

import data.aegis.places

findings contains finding if {
	input.tool.effect != "read"
	some url in input.analysis.urls
	is_string(url.host)
	some site in data.drop_sites
	places.below(lower(url.host), site)
	finding := {"code": "url.drop_site", "rule": "drop_site", "path": object.get(url, "path", "")}
}
