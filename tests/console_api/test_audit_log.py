"""The log as a stranger verifies it: tiles, checkpoints, consistency, the whole of it exported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aegis.audit import merkle, notes, tiles
from aegis.audit.tiles import Tile
from tests.console_api.conftest import Caller, Installation, Tenant


@pytest.fixture(scope="module")
def long_log(installation: Installation) -> Tenant:
    """A log of more than one full tile."""
    tenant = installation.tenant("long")
    ask = {"tool": "notes.read", "arguments": {}, "outcome": "none"}
    while len(tenant.rows()) < 260:
        for _ in range(64):
            tenant.agent_caller.post("/v1/decide", ask)
    return tenant


def head(tenant: Tenant) -> notes.Checkpoint:
    answer = tenant.auditor.get("/v1/audit/checkpoint")
    assert answer.status == 200
    text, _ = notes.split_note(answer.body.decode())
    return notes.parse_checkpoint(text)


def entries(tenant: Tenant, size: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < size:
        tile = Tile(None, len(found) // tiles.WIDTH, min(tiles.WIDTH, size - len(found)))
        answer = tenant.auditor.get(f"/v1/audit/{tile.path}")
        assert answer.headers["content-type"] == "application/octet-stream"
        found += tiles.decode_bundle(answer.body)
    return found


def test_the_entries_lead_to_the_signed_root(long_log: Tenant) -> None:
    signed = head(long_log)
    leaves = [merkle.leaf_hash(entry) for entry in entries(long_log, signed.size)]
    assert merkle.Frontier.empty().extend(leaves).root() == signed.root


def test_every_hash_tile_is_what_the_entries_make(long_log: Tenant) -> None:
    size = head(long_log).size
    tower = tiles.Tower()
    made = [each for entry in entries(long_log, size) for each in tower.push(merkle.leaf_hash(entry))] + tower.rest()
    assert {tile.level for tile, _ in made} == {0, 1}
    for tile, data in made:
        answer = long_log.auditor.get(f"/v1/audit/{tile.path}")
        assert (answer.status, answer.body) == (200, data), tile.path


def test_a_full_tile_is_the_same_the_second_time(long_log: Tenant) -> None:
    first, second = (long_log.auditor.get("/v1/audit/tile/0/000").body for _ in range(2))
    assert first == second and len(first) == 256 * 32


def test_a_tile_beyond_the_log_is_404(long_log: Tenant) -> None:
    assert long_log.auditor.get("/v1/audit/tile/entries/099").status == 404
    assert long_log.auditor.get("/v1/audit/tile/1/000").status == 404


@pytest.mark.parametrize(
    ("old", "new"), [(1, 2), (1, 257), (2, 255), (128, 256), (255, 256), (256, 257), (200, None), (7, 7)]
)
def test_a_consistency_proof_verifies(old: int, new: int | None, long_log: Tenant) -> None:
    query = f"?from={old}" + ("" if new is None else f"&to={new}")
    made = long_log.auditor.get(f"/v1/audit/consistency{query}").expect(200)
    leaves = [merkle.leaf_hash(entry) for entry in entries(long_log, made["to"])]
    roots = [merkle.Frontier.empty().extend(leaves[:size]).root() for size in (old, made["to"])]
    assert [bytes.fromhex(made[name]) for name in ("from_root", "to_root")] == roots
    path = [bytes.fromhex(each) for each in made["proof"]]
    merkle.verify_consistency(old, made["to"], path, *roots)
    text, _ = notes.split_note(made["checkpoint"])
    signed = notes.parse_checkpoint(text)
    assert (signed.size, signed.root) == (made["to"], roots[1])


def test_the_keys_are_those_that_the_rows_were_signed_by(long_log: Tenant) -> None:
    keys = long_log.auditor.get("/v1/audit/keys").expect(200)
    signers = {row["kid"] for row in long_log.rows()}
    assert signers == {keys["root"]["kid"], *(each["kid"] for each in keys["writers"])}
    assert keys["log"].startswith(keys["origin"] + "+") and "/permit+" in keys["permit"]


def test_the_health_knows_the_size_and_what_it_does_not_know(long_log: Tenant) -> None:
    told = long_log.auditor.get("/v1/audit/health").expect(200)
    assert told["size"] >= 260 and told["unchecked"]


# ------------------------------------------------------------------ aegis log export


def aegis(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "aegis", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=110, check=False, env={"PATH": "/usr/bin:/bin", **environment}
    )


def test_an_export_verifies_offline(long_log: Tenant, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    done = aegis("log", "export", str(folder), AEGIS_URL=long_log.url, AEGIS_TOKEN=str(long_log.auditor.token))
    assert done.returncode == 0, done.stderr
    vkey = long_log.auditor.get("/v1/audit/keys").expect(200)["log"]
    assert vkey in done.stdout
    verified = aegis("verify", "log", str(folder), "--vkey", vkey, "--json")
    assert verified.returncode == 0, verified.stdout
    told = json.loads(verified.stdout)
    assert told["size"] >= 260
    assert {each["code"] for each in told["findings"]} <= {"I_VERIFIED"}


def test_an_export_that_was_changed_is_found_out(long_log: Tenant, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    options = ("--url", long_log.url, "--token", str(long_log.auditor.token))
    assert aegis("log", "export", str(folder), *options).returncode == 0
    bundle = folder / "tile/entries/000"
    bundle.write_bytes(bundle.read_bytes().replace(b'"decision"', b'"decisiom"', 1))
    vkey = long_log.auditor.get("/v1/audit/keys").expect(200)["log"]
    assert aegis("verify", "log", str(folder), "--vkey", vkey).returncode == 1


def test_the_credentials_file_is_enough(installation: Installation, tmp_path: Path) -> None:
    file = installation.data / "credentials.json"
    agent = Caller(installation.url, installation.credentials["agents"]["default"]["token"])
    agent.post("/v1/decide", {"tool": "notes.read", "arguments": {}, "outcome": "none"}).expect(200)
    done = aegis("log", "export", str(tmp_path / "log"), "--credentials", str(file))
    assert done.returncode == 0, done.stderr
    vkey = installation.credentials["log"]["vkey"]
    assert aegis("verify", "log", str(tmp_path / "log"), "--vkey", vkey).returncode == 0


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        ([], 2, "expected --url and --token"),
        (["--url", "ftp://x", "--token", "x"], 2, "expected http"),
        (["--url", "{url}", "--token", "nonsense"], 1, "401"),
        (["--url", "{url}", "--token", "{viewer}"], 1, "403"),
        (["--credentials", "/nowhere"], 2, "couldn't read /nowhere"),
    ],
)
def test_what_stands_in_the_way_is_said_in_one_line(
    options: list[str], status: int, says: str, long_log: Tenant, tmp_path: Path
) -> None:
    filled = [each.format(url=long_log.url, viewer=long_log.viewer.token) for each in options]
    done = aegis("log", "export", str(tmp_path / "log"), *filled)
    assert done.returncode == status
    assert says in done.stderr.splitlines()[-1]
    assert not (tmp_path / "log").exists()


def test_a_directory_with_something_in_it_stays_as_it_is(long_log: Tenant, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    done = aegis("log", "export", str(tmp_path), "--url", long_log.url, "--token", str(long_log.auditor.token))
    assert done.returncode == 1 and "empty directory" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]
