# Payments: large ones wait for a person. Amounts are in the currency's main unit.
package aegis.money

findings contains finding if {
	some payment in input.analysis.money
	is_number(payment.amount)
	payment.amount >= limit(payment)
	finding := {
		"code": "payment.large",
		"rule": "large_payment",
		"path": object.get(payment, "path", ""),
		"values": {"amount": payment.amount},
	}
}

limit(payment) := object.get(data.limits.payment, currency(payment), data.limits.payment["default"])

currency(payment) := upper(payment.currency) if is_string(payment.currency)

currency(payment) := "default" if not is_string(object.get(payment, "currency", null))
