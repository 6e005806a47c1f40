package aegis.messages_test

import data.aegis.messages

test_a_message_to_fifty_one_waits_for_a_person if {
	some finding in messages.findings with input as {"analysis": {"recipients": {"count": 51}}}
	finding.code == "mail.mass"
	finding.values.count == 51
}

test_a_message_to_fifty_passes if {
	count(messages.findings) == 0 with input as {"analysis": {"recipients": {"count": 50}}}
}

session(calls) := {
	"action": {"tool": "mail.send"},
	"tool": {"effect": "external"},
	"analysis": {"recipients": {"count": 1}},
	"history": {"tools": {"mail.send": calls}},
}

test_many_messages_one_by_one_wait_for_a_person if {
	{finding.rule | some finding in messages.findings} == {"many_messages"} with input as session(200)
}

test_a_session_of_some_messages_passes if {
	count(messages.findings) == 0 with input as session(199)
}
