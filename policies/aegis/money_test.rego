package aegis.money_test

import data.aegis.money

test_a_large_payment_waits_for_a_person if {
	some finding in money.findings with input as {"analysis": {"money": [{"amount": 10000, "path": "/arguments/amount"}]}}
	finding.code == "payment.large"
	finding.values.amount == 10000
}

test_a_small_payment_passes if {
	count(money.findings) == 0 with input as {"analysis": {"money": [{"amount": 9999.99, "currency": "EUR"}]}}
}

test_each_currency_has_its_limit if {
	count(money.findings) == 0 with input as {"analysis": {"money": [{"amount": 20000, "currency": "jpy"}]}}
	count(money.findings) == 1 with input as {"analysis": {"money": [{"amount": 1500000, "currency": "jpy"}]}}
}

test_text_is_no_amount if {
	count(money.findings) == 0 with input as {"analysis": {"money": [{"amount": "99999", "currency": null}]}}
}
