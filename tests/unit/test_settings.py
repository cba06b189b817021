"""Settings: precedence, origins, conversions, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedhouse.domain.errors import InvalidSetting
from embedhouse.settings import Settings, load_settings, setting_names


def _write(home: Path, text: str) -> None:
    (home / "config.toml").write_text(text, encoding="utf-8")


def test_load_settings_without_anything_gives_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("embedhouse.settings._default_home", lambda: tmp_path)
    settings = load_settings({}, {})
    assert settings == Settings(home=tmp_path)
    assert settings.port == 7700
    assert settings.model == "sentence-transformers/all-MiniLM-L6-v2"
    assert {origin for _, _, origin in settings.shown()} == {"default"}


def test_load_settings_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    _write(tmp_path, "port = 1\nthreads = 1\nmax_batch = 1\n")
    environ = {"EMBEDHOUSE_HOME": str(tmp_path), "EMBEDHOUSE_PORT": "2", "EMBEDHOUSE_THREADS": "2"}
    settings = load_settings({"port": 3, "host": None}, environ, origin="flag")
    assert (settings.port, settings.threads, settings.max_batch, settings.max_concurrency) == (3, 2, 1, 32)
    origins = {name: origin for name, _, origin in settings.shown()}
    assert origins["port"] == "flag"
    assert origins["threads"] == "environment EMBEDHOUSE_THREADS"
    assert origins["max_batch"] == f"file {tmp_path / 'config.toml'}"
    assert origins["max_concurrency"] == origins["host"] == "default"


@pytest.mark.parametrize("word", ["1", "true", "True"])
def test_load_settings_reads_booleans_from_environment(word: str) -> None:
    assert load_settings({}, {"EMBEDHOUSE_OFFLINE": word}).offline is True


def test_load_settings_empty_variable_counts_as_unset() -> None:
    settings = load_settings({}, {"EMBEDHOUSE_PORT": "", "EMBEDHOUSE_OFFLINE": ""})
    assert (settings.port, settings.offline) == (7700, False)


def test_load_settings_home_flag_beats_variable_and_is_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"home": "here"}, {"EMBEDHOUSE_HOME": "/there"})
    assert settings.home == tmp_path / "here"


def test_load_settings_expands_the_user_folder() -> None:
    assert load_settings({"models_folder": "~/models"}, {}).models_folder == Path.home() / "models"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "many"),
        ("port", 70000),
        ("precision", "f64"),
        ("max_batch", 0),
        ("request_timeout_s", 0),
        ("offline", "perhaps"),
        ("model", ""),
        ("log_level", "loud"),
    ],
)
def test_load_settings_refuses_bad_value_and_names_it(name: str, value: object) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load_settings({name: value}, {}, origin="flag")
    assert caught.value.fields["name"] == name
    assert "from flag" in str(caught.value)
    assert repr(value) in str(caught.value)


def test_load_settings_refuses_bad_variable_and_names_it() -> None:
    with pytest.raises(InvalidSetting, match="environment EMBEDHOUSE_PORT"):
        load_settings({}, {"EMBEDHOUSE_PORT": "x"})


def test_load_settings_unknown_key_in_file_names_the_nearest(tmp_path: Path) -> None:
    _write(tmp_path, "prot = 80\n")
    with pytest.raises(InvalidSetting, match="did you mean port"):
        load_settings({"home": tmp_path}, {})


def test_load_settings_unknown_argument_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="no such setting"):
        load_settings({"zzzz": 1}, {})


def test_load_settings_home_in_its_own_file_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, 'home = "/elsewhere"\n')
    with pytest.raises(InvalidSetting, match="EMBEDHOUSE_HOME"):
        load_settings({"home": tmp_path}, {})


def test_load_settings_file_that_is_not_toml_names_the_file(tmp_path: Path) -> None:
    _write(tmp_path, "port: 80")
    with pytest.raises(InvalidSetting, match=r"config\.toml.*not TOML"):
        load_settings({"home": tmp_path}, {})


def test_load_settings_overlap_must_be_less_than_chunk() -> None:
    with pytest.raises(InvalidSetting, match="chunk_overlap_tokens"):
        load_settings({"chunk_tokens": 10, "chunk_overlap_tokens": 10}, {})


def test_settings_never_show_a_secret(tmp_path: Path) -> None:
    settings = load_settings({"api_key": "hush", "hub_token": "quiet"}, {})
    shown = {name: value for name, value, _ in settings.shown()}
    assert shown["api_key"] == shown["hub_token"] == "set"
    assert "hush" not in repr(settings)
    assert "quiet" not in repr(settings)
    assert settings.api_key == "hush"
    assert tuple(shown) == setting_names()


def test_load_settings_bad_secret_is_not_in_the_message() -> None:
    with pytest.raises(InvalidSetting) as caught:
        load_settings({"api_key": ["hush"]}, {})
    assert "hush" not in str(caught.value)


def test_load_settings_takes_keys_from_the_variables_of_the_sdks(tmp_path: Path) -> None:
    _write(tmp_path, '[providers.mine]\nkind = "openai-compatible"\nurl = "http://x/v1"\napi_key_env = "MINE"\n')
    environ = {"OPENAI_API_KEY": "sk-1", "MINE": "sk-2", "AZURE_OPENAI_ENDPOINT": "https://a"}
    providers = load_settings({"home": tmp_path}, environ).providers
    assert providers["openai"].api_key == "sk-1"
    assert providers["mine"].api_key == "sk-2"
    assert providers["azure"].url == "https://a"


def test_settings_never_print_the_secrets_of_providers(tmp_path: Path) -> None:
    settings = load_settings(
        {"home": tmp_path, "redis_url": "redis://u:sk-9@h:1/0"},
        {"OPENAI_API_KEY": "sk-1", "AZURE_OPENAI_AD_TOKEN": "sk-2", "CO_API_KEY": "sk-3"},
    )
    for shown in (repr(settings), str(list(settings.shown())), repr(settings.providers)):
        assert "sk-" not in shown
    assert "redis://u:***@h:1/0" in repr(settings)


def test_load_settings_reads_tables_from_variables_as_json(tmp_path: Path) -> None:
    environ = {"EMBEDHOUSE_BUDGETS": '[{"usd": 5, "per": "day", "provider": "openai"}]'}
    (budget,) = load_settings({"home": tmp_path}, environ).budgets
    assert budget.describe() == "5 USD a day for provider openai"


@pytest.mark.parametrize(
    "text",
    [
        '[providers.x]\nkind = "telepathy"\n',
        '[providers.x]\nkind = "openai"\napi_kye = "sk-1"\n',
        "[[budgets]]\nusd = -1\nper = 'day'\n",
        "[prices]\n'openai:x' = 'cheap'\n",
    ],
)
def test_load_settings_refuses_tables_that_are_wrong_without_their_values(tmp_path: Path, text: str) -> None:
    _write(tmp_path, text)
    with pytest.raises(InvalidSetting) as caught:
        load_settings({"home": tmp_path}, {})
    assert "sk-1" not in str(caught.value)
