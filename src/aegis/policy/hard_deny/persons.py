"""Which tables, columns and collections are about persons, or hold secrets: told by their names."""

from __future__ import annotations

import re

MANY = 1000
"""So many records of persons are a bulk."""
PERSONS = frozenset(
    "customer client user member employee patient person people contact lead subscriber student citizen "
    "resident applicant "
    "candidate passenger guest donor voter staff worker driver cardholder card beneficiary policyholder "
    "insured participant "
    "attendee visitor respondent payroll salary profile pupil teacher nurse doctor caller borrower debtor tenant_user "
    "recipient kunde kunden mitarbeiter patienten individual consumer buyer shopper player rider household "
    "identity kyc "
    "crm hr personnel workforce enrollee inmate volunteer fan friend follower personal pii prospect alumni "
    "alumnus colleague "
    "cardholders payee payer signatory claimant dependent spouse child parent account_holder".split()
)
_TRAILING = frozenset(
    "archive archived backup bak old copy tmp temp history hist all master data table tbl prod v1 v2 v3 view "
    "dim fact info "
    "information detail details list record records register registry base db 2020 2021 2022 2023 2024 2025 "
    "2026 export full "
    "complete dump raw stage staging snapshot current new mart entity main table_ core directory file files t".split()
)
_STRONG = re.compile(
    r"(?:^|_)(?:e?mail(?:_?address)?|emails|phone(?:_?(?:number|no))?|mobile(?:_?(?:number|no))?|ssn|social_security\w*|iban|bic|"
    r"card_?(?:number|no|num)|pan|cvv|cvc|cc_?num(?:ber)?|credit_?card\w*|password\w*|passwd|pwd|pass_?hash|passport\w*|dob|"
    r"birth_?(?:date|day)|date_of_birth|salary|diagnos[ie]s|tax_?id|national_?id|id_?card\w*|driv(?:er|ing)_?licen[cs]e\w*|"
    r"bank_?account\w*|account_?no|routing_?number|medical\w*|health_?record\w*|home_?address|street_?address|nino|nhs_?number|"
    r"insurance_?(?:no|number)|personal_?(?:no|number|id)|api_?key|secret|token_?hash|mfa_?secret|biometric\w*|religion|ethnicity)$",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"(?:^|_)(?:(?:first|last|full|sur|given|family|middle|maiden|display|nick|user)_?name|name|names|address\w*|street|zip|zipcode|"
    r"postal_?code|postcode|gender|age|nationality|login|username|wage|bonus|income|contact)$",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"pass(?:word|wd|_?hash)|pwd|secret|token|card_?(?:number|no)|cvv|ssn|api_?key|private_?key|iban|authentication_string|salt$",
    re.IGNORECASE,
)
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def is_persons(name: str) -> bool:
    """Whether a table or object is named for persons: `customers`, `user_profiles`, `tbl_patient_2024`."""
    parts = [p.lower() for p in _PARTS.findall(name.rsplit(".", 1)[-1][:128])]
    while len(parts) > 1 and (parts[-1] in _TRAILING or parts[-1].isdigit()):
        parts.pop()
    if not parts:
        return False
    last = parts[-1]
    return any(word in PERSONS for word in _singulars(last)) or (
        last in ("account", "accounts") and len(parts) > 1 and any(w in PERSONS for w in _singulars(parts[-2]))
    )


def _singulars(word: str) -> tuple[str, ...]:
    if word.endswith("ies"):
        return word, word[:-3] + "y"
    if word.endswith(("ses", "xes")):
        return word, word[:-2], word[:-1]
    return (word, word[:-1]) if word.endswith("s") else (word,)


def is_personal(column: str, of_persons: bool) -> bool:
    """Whether a column is personal by its name, the weaker names only in a table of persons."""
    return bool(_STRONG.search(column) or (of_persons and _WEAK.search(column)))


def is_secret(column: str) -> bool:
    return bool(_SECRET.search(column))
