"""Settings from options, variables and a file: which wins, and what is told of mistakes."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from optkit.cli import serve
from optkit.errors import UsageError
from optkit.serving import settings
from optkit.serving.settings import Settings, api_key, load_settings

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def test_an_option_wins_over_a_variable_and_that_over_the_file(tmp_path):
    file = tmp_path / "serve.yaml"
    file.write_text("models: {topics: a/b, search: /c}\nport: 1\nmax_texts: 2\ntimeout: 3\nplan: measured\n")
    variables = {"OPTKIT_SERVE_MAX_TEXTS": "20", "OPTKIT_SERVE_TIMEOUT": "30", "OPTKIT_SERVE_CONFIG": str(file)}
    found = load_settings({"timeout": 300.0}, environment=variables | {"OPTKIT_SERVE_API_KEY": "k", "OTHER": "x"})
    assert (found.port, found.max_texts, found.timeout, found.plan) == (1, 20, 300.0, "measured")
    assert found.models == {"topics": tmp_path / "a/b", "search": Path("/c")}
    found = load_settings({}, environment={"OPTKIT_SERVE_MODELS": "x=/a,/b=c/d", "OPTKIT_SERVE_TRUNCATE": "true"})
    assert list(found.models.values()) == [Path("/a"), Path("/b=c/d")] and found.truncate
    assert [settings.is_named(name) for name in found.models] == [True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hots: a", "serve.yaml:1:1: hots: unknown key, did you mean 'host'?\n    1 | hots: a\n      | ^^^^"),
        (
            "host: a\nport: x",
            "serve.yaml:2:7: port: input should be a valid integer, unable to parse string as an integer, got 'x'",
        ),
        ("port: [", "serve.yaml:1:"),
        ("- a", "serve.yaml: not a mapping of settings, such as `port: 8080`"),
        ("models: {a/b: c}", "serve.yaml:1:1: models: 'a/b' is no name for a model: use letters, digits and . _ -"),
        ("max_texts: 9\nmax_queue: 8", "serve.yaml:1:1: max_queue: 8 is less than max_texts, 9: set it higher"),
        ("plan: fast", "serve.yaml:1:7: plan: input should be 'static' or 'measured', got 'fast'"),
    ],
)
def test_mistakes_in_the_file_have_their_place(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    Path("serve.yaml").write_text(text)
    with pytest.raises(UsageError) as error:
        load_settings({}, config=Path("serve.yaml"), environment={})
    assert str(error.value).startswith(said)


def test_what_contradicts_in_the_file_may_be_mended_by_an_option(tmp_path):
    (tmp_path / "serve.yaml").write_text("max_texts: 2000\n")
    assert load_settings({"max_queue": 4096}, config=tmp_path / "serve.yaml", environment={}).max_queue == 4096
    variables = {"OPTKIT_SERVE_MAX_QUEUE": "1999"}
    with pytest.raises(UsageError, match="max_queue: 1999 is less than max_texts, 2000: set it higher"):
        load_settings({}, config=tmp_path / "serve.yaml", environment=variables)


def test_mistakes_in_variables_name_them():
    for variables, said in [
        ({"OPTKIT_SERVE_MAX_TEXT": "1"}, "OPTKIT_SERVE_MAX_TEXT: no such setting, did you mean 'max_texts'?"),
        ({"OPTKIT_SERVE_PORT": "x"}, "OPTKIT_SERVE_PORT: input should be a valid integer"),
    ]:
        with pytest.raises(UsageError) as error:
            load_settings({}, environment=variables)
        assert str(error.value).startswith(said)
    for key in ("", "a b", "é", "a\n"):
        with pytest.raises(UsageError, match="OPTKIT_SERVE_API_KEY: has to be printable ASCII without spaces"):
            api_key({"OPTKIT_SERVE_API_KEY": key})
    assert api_key({}) is None


def test_threads_are_those_that_a_container_may_use(monkeypatch):
    monkeypatch.setattr(settings, "physical_cores", lambda: 6)
    monkeypatch.setattr(settings, "cpu_cores", lambda: 12)
    assert [load_settings({"workers": n}, environment={}).own_threads for n in (1, 2, 4, 12)] == [6, 3, 1, 1]
    options = load_settings({"threads": 4, "streams": 2}, environment={}).runner_options()
    assert (options.threads, options.streams) == (4, 2)
    assert load_settings({}, environment={}).runner_options().streams == 6


def test_every_setting_is_an_option_and_a_row_of_the_page():
    options = set(inspect.signature(serve.command).parameters) - {"folders", "config", "debug"}
    rows = re.findall(
        r"^\| (`.*?`) \| (.*?) \|", PAGE.read_text(encoding="utf-8").split("## Settings")[1], re.MULTILINE
    )
    told = {name for names, _ in rows for name in re.findall(r"`(\w+)`", names)}
    assert options == set(Settings.model_fields) - {"models"} and told == set(Settings.model_fields)
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    for names, values in rows:
        for name, value in zip(re.findall(r"`(\w+)`", names), values.split(", ")):
            if re.fullmatch(r"[\d.]+|true|false|static|text", value):
                assert str(defaults[name]).lower().removesuffix(".0") == value, name
