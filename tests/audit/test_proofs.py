from __future__ import annotations

import base64
from typing import Any

import pytest
from audit_vectors import shared
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.audit.proofs import HEADER, ProofTextError, format_proof, parse_proof

HASH = base64.b64encode(bytes(32)).decode()


@settings(deadline=None)
@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.text(min_size=1),
    st.none() | st.binary(max_size=100),
)
def test_a_proof_survives_its_text(index: int, path: list[bytes], note: str, extra: bytes | None) -> None:
    parsed = parse_proof(format_proof(index, path, note, extra))
    assert (parsed.index, list(parsed.path), parsed.checkpoint, parsed.extra) == (index, path, note, extra)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("c2sp.org/tlog-proof@v2\nindex 0\n\nc\n", "E_FORMAT_VERSION", id="another version"),
        pytest.param(f"{HEADER}\nindex 00\n\nc\n", "E_INCLUSION", id="a leading zero"),
        pytest.param(f"{HEADER}\nindex 9223372036854775808\n\nc\n", "E_INCLUSION", id="an index of 2^63"),
        pytest.param(f"{HEADER}\nindex 0\n{HASH[:-4]}AA==\n\nc\n", "E_INCLUSION", id="a hash of 31 bytes"),
        pytest.param(f"{HEADER}\nindex 0\n{HASH[:-2]}B=\n\nc\n", "E_INCLUSION", id="base64 with spare bits"),
        pytest.param(f"{HEADER}\nindex 0\n" + f"{HASH}\n" * 64 + "\nc\n", "E_INCLUSION", id="64 hashes"),
        pytest.param(f"{HEADER}\nindex 0\nextra AAAA\n\nc\n", "E_INCLUSION", id="extra behind the index"),
        pytest.param(f"{HEADER}\nindex 0\n", "E_INCLUSION", id="no checkpoint"),
        pytest.param(f"{HEADER}\r\nindex 0\r\n\r\nc\r\n", "E_INCLUSION", id="other line ends"),
        pytest.param("x" * (2 << 20), "E_INCLUSION", id="too long"),
    ],
)
def test_another_text_is_refused(text: str, code: str) -> None:
    with pytest.raises(ProofTextError) as caught:
        parse_proof(text)
    assert caught.value.code == code


@pytest.mark.parametrize("vector", shared("22_tlog_proof_text.json"))
def test_shared_proof_texts(vector: dict[str, Any]) -> None:
    if vector["want"] == "reject":
        with pytest.raises(ProofTextError):
            parse_proof(vector["proof"])
        return
    parsed, want = parse_proof(vector["proof"]), vector["want"]
    assert parsed.index == want["index"]
    assert [base64.b64encode(sibling).decode() for sibling in parsed.path] == want["hashes"]
    assert format_proof(parsed.index, parsed.path, parsed.checkpoint, parsed.extra) == vector["proof"]
