"""Up to a Hub and down from it: one commit, what breaks is taken up again, what is refused is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_server import READER, REVOKED, WRITER

CARD = "---\nlicense: mit\n---\n# tiny\n\nLoad `ORG/NAME`.\n"
REPO = "org/tiny"


@pytest.fixture
def folder(tmp_path) -> Path:
    """What a run leaves: a card, a graph, two files that go to the storage of large ones."""
    run = tmp_path / "run"
    (run / "openvino").mkdir(parents=True)
    files = {"README.md": CARD.encode(), "openvino_model.xml": b"<net/>", "config.json": b"{}"}
    files |= {"openvino_model.bin": bytes(range(256)) * 8, "openvino_tokenizer.bin": b"tokens" * 99}
    for name, held in files.items():
        (run / "openvino" / name).write_bytes(held)
    (run / "openvino" / ".README.md.tmp").write_bytes(b"half of it")
    (run / "report.json").write_text('{"name": "tiny"}')
    return run


def held(folder: Path) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in (folder / "openvino").iterdir() if path.name[0] != "."}
    return files | {"README.md": CARD.replace("ORG/NAME", REPO).encode()}


def push(commands, folder, *more, repo=REPO, **options):
    return commands("push", folder, "--repo", repo, *more, **options)


def test_everything_in_one_commit(hub, hub_commands, folder):
    done = push(hub_commands, folder, "--json")
    assert done.code == 0, done.err
    repository, facts = hub.repositories[REPO], json.loads(done.out)
    assert len(repository.commits) == 2 and repository.files == held(folder) and not repository.private
    assert (facts["url"], facts["commit"], facts["changed"]) == (f"{hub.url}/{REPO}", repository.head, True)
    assert facts["files"] == {name: len(found) for name, found in held(folder).items()}
    assert hub.cards == [CARD.replace("ORG/NAME", REPO)] and (folder / "openvino/README.md").read_text() == CARD
    assert hub.count("PUT", "/storage/") == 2 and not hub.leaked and done.slept == []
    # The same again has nothing to commit.
    again = push(hub_commands, folder)
    assert (again.code, again.out) == (0, f"{hub.url}/{REPO}: nothing new, commit {repository.head[:12]}\n")
    assert len(repository.commits) == 2 and hub.count("PUT", "/storage/") == 2


def test_a_private_one_stays_private_and_a_public_one_is_not_taken_for_private(hub, hub_commands, folder):
    assert push(hub_commands, folder, "--private").code == 0 and hub.repositories[REPO].private
    assert push(hub_commands, folder).code == 0 and hub.repositories[REPO].private
    hub.repositories[REPO].private = False
    before = hub.repositories[REPO].head
    (folder / "openvino/config.json").write_text('{"a": 1}')
    refused = push(hub_commands, folder, "--private")
    assert refused.code == 1 and refused.err.count("\n") == 1 and hub.repositories[REPO].head == before
    assert "exists and is public: make it private in its settings, or leave out --private" in refused.err


PASSING = {
    "429 at creation": (("POST", "repos/create"), {"status": 429, "headers": {"Retry-After": "7"}}, [7.0]),
    "429 at commit": (
        ("POST", "/commit/"),
        {"status": 429, "headers": {"Retry-After": "11"}, "times": 2},
        [11.0, 11.0],
    ),
    "500 at commit": (("POST", "/commit/"), {"status": 500, "times": 3}, [1.0, 2.0, 4.0]),
    "an error page": (("POST", "validate-yaml"), {"status": 502, "body": b"<html>bad gateway</html>"}, [1.0]),
    "500 in the storage": (("PUT", "/storage/"), {"status": 500}, [1]),
    "429 in the storage": (("PUT", "/storage/"), {"status": 429, "headers": {"ratelimit": '"api";r=0;t=5'}}, [6.0]),
    "cut at the storage": (("PUT", "/storage/"), {"cut": "before"}, [1]),
    "cut at info": (("GET", "/api/models/org/tiny"), {"cut": "before"}, [1.0]),
    "created, answer lost": (("POST", "repos/create"), {"cut": "after"}, [1.0]),
    "committed, answer lost": (("POST", "/commit/"), {"cut": "after"}, [1.0]),
}


@pytest.mark.parametrize("case", PASSING)
def test_what_passes_is_tried_again(hub, hub_commands, folder, case):
    where, fault, slept = PASSING[case]
    hub.fail(*where, **fault)
    done = push(hub_commands, folder)
    assert (done.code, done.err, done.slept) == (0, "", slept)
    repository = hub.repositories[REPO]
    assert repository.files == held(folder) and len(repository.commits) == 2 and hub.count("PUT", "/storage/") <= 3


LASTING = {
    "no token": ({"token": None}, None, "no token for the Hub: set HF_TOKEN, or run `hf auth login`"),
    "a broken token": (
        {"token": "hf_ two words"},
        None,
        "from HF_TOKEN contains characters that tokens do not have: copy the token again",
    ),
    "a revoked token": ({"token": REVOKED}, None, "the Hub does not accept the token (from HF_TOKEN): make one with"),
    "no write permission": (
        {"token": READER},
        None,
        "the token (from HF_TOKEN) has no write permission there: use one that has it",
    ),
    "another organisation": ({"repo": "other/tiny"}, None, "has no write permission there: use one that has it"),
    "a name the Hub refuses": ({"repo": "org/refused"}, None, "the Hub refuses (400): refused is a reserved name"),
    "no name": (
        {"repo": "tiny"},
        None,
        "'tiny' is not a repository name: write ORG/NAME, with letters, digits, '-', '_' and",
    ),
    "a card the Hub refuses": (
        {},
        (("POST", "validate-yaml"), {"status": 400, "body": b'{"errors": [{"message": "license is not a licence"}]}'}),
        "Invalid metadata in README.md. - license is not a licence; nothing was committed",
    ),
    "429 for long": (
        {},
        (("POST", "/commit/"), {"status": 429, "headers": {"Retry-After": "3600"}}),
        "the Hub asks to wait 3600 s (429, too many requests): then run the same command again: what has arrived is not "
        "sent again; nothing was committed, and the new repository is empty",
    ),
    "500 for good": (
        {},
        (("POST", "/commit/"), {"status": 500, "times": 99}),
        "the Hub cannot answer (error 500): run",
    ),
    "cut for good": (
        {},
        (("POST", "/commit/"), {"cut": "before", "times": 99}),
        ": run the same command again: what has arrived is not sent again; it is not known whether the commit arrived",
    ),
    "somebody else's commit": (
        {},
        (("POST", "/commit/"), {"status": 412}),
        "somebody else has committed meanwhile, and nothing was overwritten: run",
    ),
}


@pytest.mark.parametrize("case", LASTING)
def test_what_lasts_is_one_line_and_nothing_is_half_pushed(hub, hub_commands, folder, case):
    options, fault, said = LASTING[case]
    if fault:
        hub.fail(*fault[0], **fault[1])
    refused = push(hub_commands, folder, **options)
    assert refused.code in (1, 2) and refused.err.count("\n") == 1 and refused.out == ""
    assert said in refused.err
    assert all(repository.files == {} for repository in hub.repositories.values())
    if not fault:
        assert hub.repositories == {} and hub.count("PUT", "") == 0
    for token in (WRITER, READER, REVOKED, "two words"):
        assert token not in refused.err


def test_without_write_permission_in_a_repository_nothing_is_sent(hub, hub_commands, folder):
    assert push(hub_commands, folder).code == 0
    (folder / "openvino/openvino_model.bin").write_bytes(b"other")
    sent = hub.count("PUT", "")
    refused = push(hub_commands, folder, token=READER)
    assert refused.code == 1 and "has no write permission there" in refused.err and "empty" not in refused.err
    assert hub.repositories[REPO].files["openvino_model.bin"] != b"other" and hub.count("PUT", "") == sent


def test_a_broken_connection_is_taken_up_file_by_file(hub, hub_commands, folder):
    import hashlib

    first, second = (hashlib.sha256(held(folder)[f"openvino_{n}.bin"]).hexdigest() for n in ("model", "tokenizer"))
    hub.fail("PUT", second, cut="before", times=1000)
    broken = push(hub_commands, folder)
    assert broken.code == 1 and "the connection to the Hub broke" in broken.err and broken.err.count("\n") == 1
    assert set(hub.stored) == {first} and hub.repositories[REPO].files == {} and hub.count("PUT", second) > 4
    hub.faults.clear()
    assert push(hub_commands, folder).code == 0
    assert hub.count("PUT", first) == 1 and hub.repositories[REPO].files == held(folder)


def test_the_login_serves_where_the_environment_has_no_token(hub, hub_commands, folder):
    login = hub_commands.home / "token"
    try:
        login.write_text(REVOKED)
        refused = push(hub_commands, folder, token=None)
        assert refused.code == 1 and "the Hub does not accept the token (from the login)" in refused.err
        login.write_text(WRITER)
        assert push(hub_commands, folder, token=None).code == 0 and hub.repositories[REPO].files == held(folder)
    finally:
        login.unlink()


def test_the_token_is_written_nowhere(hub, hub_commands, folder, tmp_path):
    printed = []
    for more in (["--json"], ["--dry-run"], ["--debug"]):
        printed += push(hub_commands, folder, *more)[1:3]
    hub.fail("POST", "/commit/", status=500, times=99)
    (folder / "openvino/config.json").write_text('{"b": 1}')
    printed += push(hub_commands, folder, "--debug")[1:3]
    hub.faults.clear()
    hub.fail("GET", "/api/models", status=418, body=json.dumps({"error": f"what is {WRITER}?"}).encode())
    printed += push(hub_commands, folder)[1:3]
    assert "what is ***?" in printed[-1] and not any(WRITER in text for text in printed)
    files = [path for root in (tmp_path, hub_commands.home) for path in root.rglob("*") if path.is_file()]
    assert not any(WRITER.encode() in path.read_bytes() for path in files) and not hub.leaked


def test_pull_fetches_what_was_pushed(hub, hub_commands, folder, tmp_path):
    assert push(hub_commands, folder).code == 0
    first = hub.repositories[REPO].head
    (folder / "openvino/config.json").write_text('{"later": 1}')
    assert push(hub_commands, folder).code == 0
    done = hub_commands("pull", REPO, "--output", tmp_path / "new", "--json", token=None)
    assert done.code == 0, done.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == held(folder)
    assert json.loads(done.out)["commit"] == hub.repositories[REPO].head
    (tmp_path / "old").mkdir()
    assert hub_commands("pull", REPO, "--output", tmp_path / "old", "--revision", first).code == 0
    assert (tmp_path / "old/config.json").read_text() == "{}"
    full = hub_commands("pull", REPO, "--output", tmp_path / "old")
    assert (full.code, full.err) == (2, f"{tmp_path / 'old'}: is not an empty folder: choose another --output\n")
    here = hub_commands("pull", REPO, "--output", ".")
    assert (here.code, here.err) == (2, ".: is the current folder: name another --output\n")


def test_pull_goes_on_where_it_broke(hub, hub_commands, folder, tmp_path):
    (folder / "openvino/openvino_model.bin").write_bytes(b"0123456789" * 400_000)
    assert push(hub_commands, folder).code == 0
    hub.fail("GET", "resolve/.*openvino_model.bin", cut="half")
    hub.fail("GET", "resolve/.*openvino_tokenizer.bin", cut="before", times=1000)
    broken = hub_commands("pull", REPO, "--output", tmp_path / "new")
    assert broken.code == 1 and broken.err.count("\n") == 2 and not (tmp_path / "new").exists()
    assert broken.err.splitlines()[0] == "  openvino_model.bin: 4.0 MB"
    hub.faults.clear()
    before = hub.count("GET", "openvino_model.bin")
    assert hub_commands("pull", REPO, "--output", tmp_path / "new").code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == held(folder)
    assert hub.count("GET", "openvino_model.bin") == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("name", "more", "code", "said"),
    [
        (
            "org/absent",
            [],
            2,
            "pull org/absent: the Hub has no such model or no revision 'main' of it: correct the name",
        ),
        (REPO, ["--revision", "v9"], 2, "or no revision 'v9' of it"),
        ("../etc", [], 2, "'../etc' is not a repository name: write ORG/NAME"),
    ],
)
def test_pull_says_what_is_not_there(hub, hub_commands, folder, tmp_path, name, more, code, said):
    assert push(hub_commands, folder).code == 0
    refused = hub_commands("pull", name, "--output", tmp_path / "new", *more)
    assert (refused.code, refused.err.count("\n")) == (code, 1) and said in refused.err
    assert not (tmp_path / "new").exists()


def test_pull_refuses_what_is_damaged_or_would_lie_elsewhere(hub, hub_commands, folder, tmp_path):
    assert push(hub_commands, folder).code == 0
    size = len(held(folder)["openvino_model.bin"])
    headers = {"X-Repo-Commit": hub.repositories[REPO].head, "ETag": '"e"'}
    hub.fail("GET", "resolve/.*openvino_model.bin", status=200, body=b"x" * size, headers=headers)
    damaged = hub_commands("pull", REPO, "--output", tmp_path / "new")
    assert (damaged.code, damaged.err) == (
        1,
        f"pull {REPO}: openvino_model.bin arrived damaged: run the same command again\n",
    )
    assert hub_commands("pull", REPO, "--output", tmp_path / "new").code == 0
    hub.repositories[REPO].commit({"../evil.py": b"1"})
    evil = hub_commands("pull", REPO, "--output", tmp_path / "evil")
    assert (
        evil.code == 1 and "its file ../evil.py would be written outside the folder: nothing was downloaded" in evil.err
    )
    assert not (tmp_path / "evil.py").exists() and not (tmp_path / "evil").exists()
