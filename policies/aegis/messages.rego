# Messages: to many at once, or one after the other until they are many.
package aegis.messages

import input.analysis.recipients

findings contains finding if {
	is_number(recipients.count)
	recipients.count > data.limits.recipients
	finding := {
		"code": "mail.mass",
		"rule": "many_recipients",
		"path": object.get(recipients, "path", ""),
		"values": {"count": recipients.count},
	}
}

findings contains finding if {
	is_number(recipients.count)
	recipients.count > 0
	input.tool.effect != "read"
	sent := input.history.tools[input.action.tool]
	is_number(sent)
	sent >= data.limits.messages_of_a_session
	finding := {"code": "mail.mass", "rule": "many_messages", "values": {"count": sent}}
}
