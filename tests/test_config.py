from __future__ import annotations

from pathlib import Path

import pytest

from aegis.config import Config, ConfigError, every_setting, load_config


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_file_and_variables_all_is_default() -> None:
    assert load_config(environment={}) == Config()


def test_the_file_of_the_current_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / "aegis.toml").write_text('[networks]\nallow = ["10.0.0.0/8"]\n[gateway]\nport = 9000\ndrain_s = 3\n')
    config = load_config(environment={})
    assert config.networks.allow == ("10.0.0.0/8",)
    assert config.gateway.port == 9000
    assert config.gateway.drain_s == 3.0


def test_a_variable_stands_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "aegis.toml").write_text("[gateway]\nport = 9000\nworkers = 3\n")
    config = load_config(environment={"AEGIS_GATEWAY__PORT": "9001"})
    assert (config.gateway.port, config.gateway.workers) == (9001, 3)


def test_aegis_config_names_another_file(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[policy]\nmemo = false\n")
    assert load_config(environment={"AEGIS_CONFIG": str(tmp_path / "other.toml")}).policy.memo is False


def test_a_list_is_separated_by_commas() -> None:
    config = load_config(environment={"AEGIS_NETWORKS__ALLOW": "127.0.0.0/8, ::1/128,"})
    assert config.networks.allow == ("127.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    "name",
    ["AEGIS_SECRET_TEN1_GITHUB", "AEGIS_TEST_POSTGRES", "AEGIS_TOKEN", "AEGIS_URL", "AEGIS_REQUIRE_ALL"],
)
def test_variables_of_others_are_left_alone(name: str) -> None:
    assert load_config(environment={name: "anything"}) == Config()


def test_urls_are_taken_as_they_are_and_never_shown() -> None:
    config = load_config(environment={"AEGIS_DATABASE_URL": "postgresql://a:hush@db/aegis"})
    assert config.direct_url == config.owner_url == "postgresql://a:hush@db/aegis"
    assert "hush" not in repr(config)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        pytest.param({"AEGIS_GATEWAY__PROT": "1"}, "did you mean gateway.port", id="a slip of the fingers"),
        pytest.param({"AEGIS_WORKERS": "1"}, "did you mean gateway.workers", id="the right name in no section"),
        pytest.param({"AEGIS_NETWORK__ALLOW": "1"}, "did you mean networks.allow", id="a section's name misspelt"),
        pytest.param({"AEGIS_GATEWAY__PORT": "many"}, "expected a number, got 'many'", id="a word for a number"),
        pytest.param({"AEGIS_GATEWAY__PORT": "70000"}, "expected a number from 0 to 65535", id="a port too far"),
        pytest.param({"AEGIS_CONSOLE": "maybe"}, "expected true or false, got 'maybe'", id="neither yes nor no"),
        pytest.param({"AEGIS_GATEWAY": "1"}, "expected a section", id="a value for a section"),
        pytest.param({"AEGIS_NETWORKS__ALLOW": "10.0.0.1/8"}, "the host bits zero", id="a network with host bits"),
        pytest.param({"AEGIS_NETWORKS__ALLOW": "everything"}, "networks such as", id="a word for a network"),
        pytest.param({"AEGIS_GATEWAY__LISTEN": "localhost"}, "addresses such as", id="a name for an address"),
        pytest.param({"AEGIS_REDIS_URL": "http://x"}, "expected a URL of redis, rediss, unix", id="another scheme"),
        pytest.param({"AEGIS_POLICY__ENGINE": "none"}, "expected one of opa", id="no engine at all"),
        pytest.param({"AEGIS_CONFIG": "/nowhere.toml"}, "couldn't read /nowhere.toml", id="a file that isn't there"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_was_expected(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(environment=environment)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_secret_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(environment={"AEGIS_DATABASE_URL": "mysql://a:hush@db"})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("port = 1\n", "port: no such setting; did you mean gateway.port", id="outside its section"),
        pytest.param("[gateway]\nport = true\n", "gateway.port: expected a number, got True", id="yes for a number"),
        pytest.param('[gateway]\nport = "80"\n', "gateway.port: expected a number, got '80'", id="text for a number"),
        pytest.param("[gateway]\nlisten = 1\n", "gateway.listen: expected a list of texts", id="a number for a list"),
        pytest.param("[gateway\n", "expected TOML", id="no TOML"),
    ],
)
def test_a_mistake_in_the_file_names_the_key(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "aegis.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(environment={})


@pytest.mark.parametrize(("name", "item"), every_setting())
def test_every_setting_says_what_it_means_and_what_it_prevents(name: str, item: object) -> None:
    metadata = item.metadata  # type: ignore[attr-defined]
    assert metadata["meaning"].endswith(".")
    assert metadata["prevents"]
    assert name == name.lower()
