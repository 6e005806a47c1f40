from __future__ import annotations

import pytest
from audit_logs import flight_of

from aegis.audit import canonical, flight, merkle


def test_the_root_is_that_of_the_stages_in_their_order() -> None:
    stages = flight_of("kill")
    leaves = [merkle.leaf_hash(canonical.encode(stage)) for stage in stages]
    assert flight.root(stages) == merkle.root_of(leaves).hex()
    assert flight.root(stages[::-1]) != flight.root(stages)
    assert flight.root(stages[1:]) != flight.root(stages)


def test_one_stage_can_be_shown_alone() -> None:
    stages = flight_of("kill")
    for n, stage in enumerate(stages):
        leaf, root = merkle.leaf_hash(canonical.encode(stage)), bytes.fromhex(flight.root(stages))
        merkle.verify_inclusion(leaf, n, len(stages), flight.stage_proof(stages, n), root)


def test_a_stage_out_of_profile_is_refused() -> None:
    with pytest.raises(canonical.CanonError):
        flight.root([{"n": 0.5}])
