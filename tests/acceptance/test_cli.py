"""The shell as scripts and people meet it: streams, exit statuses, bad input, interrupts, a running server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ALL_IDS, write_corpus
from .doors import SHELL, Server, heed_interrupts, shell_environ

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


class Shell:
    """Runs commands on one home."""

    def __init__(self, home: Path, model: Path) -> None:
        self.home = home
        self.environ = shell_environ(model) | {"EMBEDHOUSE_HOME": str(home)}

    def run(self, *arguments: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
        """One command to its end."""
        return subprocess.run(
            [*SHELL, *arguments], env=self.environ | environ, input=stdin, capture_output=True, check=False
        )

    def json(self, *arguments: str) -> Any:
        """A command that succeeds, and what it prints."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that is not waited for."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*SHELL, *arguments], env=self.environ, stdout=pipe, stderr=pipe, preexec_fn=heed_interrupts
        )


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, default_model_folder: Path, corpus: Path) -> Shell:
    """A home with the folder indexed as "notes"."""
    opened = Shell(tmp_path_factory.mktemp("cli") / "house", default_model_folder)
    assert opened.run("index", "notes", str(corpus)).returncode == 0
    return opened


@pytest.fixture
def fresh(tmp_path: Path, default_model_folder: Path) -> Shell:
    """An empty home."""
    return Shell(tmp_path / "house", default_model_folder)


def _said(done: subprocess.CompletedProcess[bytes], status: int) -> str:
    """The one message of a command that failed: nothing on stdout, no traceback."""
    message = done.stderr.decode()
    assert (done.returncode, done.stdout) == (status, b""), message
    assert message.startswith("embedhouse: ")
    assert "Traceback" not in message
    return message


def test_cli_without_arguments_shows_help_and_first_steps(fresh: Shell) -> None:
    done = fresh.run()
    assert done.returncode == 0
    assert b"First steps:" in done.stdout
    assert not fresh.home.exists()


def test_cli_usage_error_exits_2(fresh: Shell) -> None:
    done = fresh.run("search", "notes")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"QUERY" in done.stderr


def test_search_for_people_shows_title_source_and_text(shell: Shell) -> None:
    printed = shell.run("search", "notes", "boiler error").stdout.decode()
    assert "1. The flat" in printed
    assert "flat.md · The flat" in printed
    assert "E119" in printed


@pytest.mark.parametrize("place", ["before", "after", "environment"])
def test_home_is_taken_before_and_after_the_command_and_from_the_environment(
    shell: Shell, tmp_path: Path, place: str
) -> None:
    home, elsewhere = str(shell.home), {"EMBEDHOUSE_HOME": str(tmp_path / "elsewhere")}
    done = {
        "before": lambda: shell.run("--home", home, "--json", "collection", "list", **elsewhere),
        "after": lambda: shell.run("collection", "list", "--home", home, "--json", **elsewhere),
        "environment": lambda: shell.run("collection", "list", "--json"),
    }[place]()
    assert [one["name"] for one in json.loads(done.stdout)["collections"]] == ["notes"]


def test_embed_reads_texts_from_stdin_and_json_is_alone_on_stdout(shell: Shell) -> None:
    done = shell.run("embed", "-", "--json", "--debug", stdin="ein Fluß\na river\n".encode())
    answer = json.loads(done.stdout)
    assert len(answer["embeddings"]) == 2
    assert answer["usage"]["texts"] == 2
    assert len(answer["space"]) == 64


def test_similarity_of_two_texts_is_one_number(shell: Shell) -> None:
    near = float(shell.run("similarity", "a river", "a stream").stdout)
    far = float(shell.run("similarity", "a river", "a tax form").stdout)
    assert -1 <= far < near <= 1


def test_prompts_of_a_collection_are_shown_used_and_held_to(fresh: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A river flows to the sea.")
    fresh.json(
        "index", "notes", str(tmp_path / "a.txt"), "--query-prompt", "query: ", "--document-prompt", "passage: "
    )
    shown = fresh.run("collection", "show", "notes").stdout.decode()
    assert "'query: '" in shown
    assert "'passage: '" in shown
    by_role = [
        fresh.json("embed", "a river", "--role", role, "--collection", "notes")["embeddings"]
        for role in ("query", "document")
    ]
    assert by_role[0] != by_role[1]
    scores = [
        float(fresh.run("similarity", "a river", "a stream", "--role", role, "--collection", "notes").stdout)
        for role in ("query", "document")
    ]
    assert scores[0] != scores[1]
    other = fresh.run("index", "notes", str(tmp_path / "a.txt"), "--query-prompt", "find: ")
    assert "another space" in _said(other, 4)
    made = fresh.json("collection", "create", "more", "--query-prompt", "query: ")
    assert made["prompts"] == {"query": "query: "}


def test_collection_and_document_commands_agree_with_what_was_indexed(shell: Shell) -> None:
    info = shell.json("collection", "show", "notes")
    assert info["documents"] == len(ALL_IDS)
    page = shell.json("documents", "list", "notes", "--limit", "2")
    assert [view["id"] for view in page["documents"]] == ALL_IDS[:2]
    after = shell.json("documents", "list", "notes", "--after", page["next"])
    assert [view["id"] for view in after["documents"]] == ALL_IDS[2:]
    assert shell.json("documents", "similar", "notes", "r1", "-k", "1")["hits"][0]["document_id"] != "r1"
    assert shell.json("documents", "recommend", "notes", "--liked", "r1", "-k", "2")["hits"]
    assert shell.json("documents", "duplicates", "notes") == {"pairs": []}
    assert shell.json("collection", "compact", "notes")["chunks"] == info["chunks"]


def test_config_show_names_each_origin_and_no_secret(fresh: Shell) -> None:
    done = fresh.run("config", "show", "--json", "--set", "api_key=hush", EMBEDHOUSE_PORT="7800")
    shown = json.loads(done.stdout)
    assert shown["api_key"] == {"value": "set", "origin": "flag"}
    assert shown["port"] == {"value": 7800, "origin": "environment EMBEDHOUSE_PORT"}
    assert b"hush" not in done.stdout


def test_eval_measures_search_and_runs_alike(shell: Shell, tmp_path: Path) -> None:
    queries, qrels, run = tmp_path / "q.jsonl", tmp_path / "test.tsv", tmp_path / "mine.run"
    queries.write_text('{"_id": "1", "text": "boiler error"}\n{"_id": "2", "text": "plant lice"}\n')
    qrels.write_text("query-id\tcorpus-id\tscore\n1\tflat.md\t1\n2\tgarden.md\t1\n")
    found = shell.json(
        *("eval", "notes", "--queries", str(queries), "--qrels", str(qrels), "--measures", "nDCG@10,RR@10,R@100")
    )
    assert found["measures"] == {"nDCG@10": 1.0, "RR@10": 1.0, "R@100": 1.0}
    assert (found["queries"], "per_query" in found) == (2, False)
    run.write_text("1 Q0 bread.txt 1 2.0 mine\n1 Q0 flat.md 2 1.0 mine\n2 Q0 garden.md 1 1.0 mine\n")
    arguments = ("eval", "--run-in", str(run), "--qrels", str(qrels), "--measures", "RR@10", "--per-query")
    measured = shell.json(*arguments)
    assert measured["measures"] == {"RR@10": 0.75}
    assert measured["per_query"]["1"] == {"RR@10": 0.5}


# ---- Bad input --------------------------------------------------------------------------------------------------

BAD = [
    (["search", "notes", "x", "--filter", "{"], 2, "not JSON"),
    (["search", "notes", "x", "--filter", "[1]"], 2, "must be a JSON object"),
    (["search", "notes", "x", "--dense-weight", "nan"], 2, "finite"),
    (["search", "notes", "x", "--dense-weight", "-1"], 2, "weights"),
    (["search", "notes", "a\udcffb"], 2, "surrogate"),
    (["embed", "", "--json"], 2, "empty"),
    (["embed", "x", "--model", "no/such-model"], 6, "EMBEDHOUSE_OFFLINE"),
    (["embed", "x", "--precision", "f64"], 2, "precision"),
    (["embed", "x", "--dimensions", "100000"], 2, "dimensions"),
    (["index", "../notes", "."], 2, "not a collection's name"),
    (["index", "notes", "no-such-folder"], 3, "no-such-folder"),
    (["documents", "delete", "notes"], 2, "--filter"),
    (["documents", "update", "notes", "r1", "{"], 2, "not JSON"),
    (["collection", "create", "notes"], 4, "exists already"),
    (["collection", "delete", "nowhere"], 3, "nowhere"),
    (["status", "--set", "prot=1"], 2, "did you mean port"),
    (["status", "--set", "port"], 2, "NAME=VALUE"),
    (["eval", "notes", "--queries", "no.jsonl", "--qrels", "no.tsv"], 5, "no.jsonl"),
    (["serve", "--host", "0.0.0.0"], 2, "EMBEDHOUSE_API_KEY"),
]


@pytest.mark.parametrize(("arguments", "status", "words"), BAD, ids=lambda value: str(value)[:50])
def test_bad_input_gets_one_clear_message_and_its_exit_status(
    shell: Shell, arguments: list[str], status: int, words: str
) -> None:
    done = shell.run(*(os.fsencode(one).decode("utf-8", "surrogateescape") for one in arguments))
    if "--json" in arguments:
        error = json.loads(done.stderr.splitlines()[-1])["error"]
        assert (done.returncode, done.stdout) == (status, b"")
        assert words in error["message"]
        assert error["code"] == "invalid_text"
    else:
        assert words in _said(done, status)


def test_index_names_what_it_cannot_read_and_takes_the_rest(fresh: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.txt").write_text("A perfectly good text.")
    (folder / "empty.txt").write_text(" \n")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 40)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing of the sort")
    lines = ['{"_id": "a", "text": "first line"}', '{"_id": "b", "text": ', '{"_id": "a", "text": "again"}']
    (folder / "rows.jsonl").write_text("\n".join([*lines, '{"_id": "d", "text": "fourth line"}']))
    done = fresh.run("index", "mixed", str(folder), "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["documents"], report["write"]["added"]) == (0, 3, 3)
    failures = {Path(one["source"]).name: one["code"] for one in report["write"]["failures"]}
    assert failures == {
        "empty.txt": "unreadable_source",
        "binary.txt": "unreadable_source",
        "broken.pdf": "unreadable_source",
        "rows.jsonl, line 2": "unreadable_source",
        "rows.jsonl, line 3": "duplicate_id",
    }
    assert done.stderr.count(b"not indexed:") == len(report["write"]["failures"])
    assert [view["id"] for view in fresh.json("documents", "list", "mixed")["documents"]] == ["a", "d", "good.txt"]


def test_index_with_prune_deletes_what_is_gone_and_nothing_else(fresh: Shell, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / f"{folder.name}.txt").write_text(f"The {folder.name} folder's only text.")
    (first / "gone.txt").write_text("Soon to be deleted.")
    fresh.json("index", "two", str(first), str(second))
    (first / "gone.txt").unlink()
    assert fresh.json("index", "two", str(first))["documents"] == 3
    report = fresh.json("index", "two", str(first), "--prune")
    assert (report["documents"], report["write"]["deleted"]) == (2, 1)


def test_index_with_other_settings_than_the_collections_is_a_conflict(shell: Shell, corpus: Path) -> None:
    done = shell.run("index", "notes", str(corpus), "--chunk-tokens", "50")
    assert "exists with other chunking" in _said(done, 4)
    done = shell.run("index", "notes", str(corpus), "--dimensions", "64")
    assert "another space" in _said(done, 4)


def test_read_only_home_says_so(fresh: Shell, tmp_path: Path) -> None:
    # A file where the folder should be: the same for every user, root included.
    (tmp_path / "file").write_text("")
    done = fresh.run("status", "--home", str(tmp_path / "file" / "house"))
    assert done.returncode == 8
    assert b"--home" in done.stderr or b"file" in done.stderr
    assert b"Traceback" not in done.stderr


def test_damaged_config_file_names_itself(fresh: Shell) -> None:
    fresh.home.mkdir()
    (fresh.home / "config.toml").write_text("port: 1")
    assert "config.toml" in _said(fresh.run("status"), 2)


# ---- Streams, interrupts, other processes -----------------------------------------------------------------------


def test_broken_pipe_is_quiet(shell: Shell) -> None:
    process = shell.start("search", "notes", "x", "-k", "100")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in (0, 1, 141)


def _many_texts(folder: Path, count: int) -> Path:
    folder.mkdir()
    rows = (
        json.dumps(
            {"_id": f"d{n}", "text": " ".join(f"Sentence {n} {m} about the number {n * m}." for m in range(8))}
        )
        for n in range(count)
    )
    (folder / "rows.jsonl").write_text("\n".join(rows))
    return folder


def _waiting_chunks(ledger: Path) -> int:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM change").fetchone()[0])
    except sqlite3.OperationalError:  # it is not there yet, or has no tables yet
        return 0


def test_interrupted_index_exits_130_and_the_next_run_completes_it(fresh: Shell, tmp_path: Path) -> None:
    folder = _many_texts(tmp_path / "many", 300)
    process = fresh.start("index", "many", str(folder))
    # Everything is read and waits for the model, which takes a second or more for it.
    while not _waiting_chunks(fresh.home / "ledger.db") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said.decode()
    assert b"Run the same command again" in said
    assert b"Traceback" not in said
    report = fresh.json("index", "many", str(folder))
    assert (report["documents"], report["write"]["pending_chunks"]) == (300, 0)
    assert fresh.json("status")["clean"] is True


@pytest.fixture
def served(tmp_path: Path, default_model_folder: Path) -> Iterator[tuple[Shell, Server]]:
    """A home that a running server holds."""
    opened = Shell(tmp_path / "served", default_model_folder)
    server = Server(opened.home, default_model_folder)
    yield opened, server
    assert server.stop() == 0


def test_commands_go_through_a_running_server(served: tuple[Shell, Server], tmp_path: Path) -> None:
    shell, server = served
    folder = write_corpus(tmp_path / "texts")
    report = shell.json("index", "notes", str(folder), "--exclude", "*.jsonl")
    assert report["documents"] == 4
    assert shell.json("index", "notes", str(folder))["write"]["added"] == 3
    assert shell.json("status")["server"] == server.url
    assert shell.json("search", "notes", "E119")["hits"][0]["document_id"] == "flat.md"
    assert len(shell.json("embed", "one", "two")["embeddings"]) == 2
    assert shell.json("documents", "delete", "notes", "flat.md") == {"deleted": 1}
    assert shell.json("collection", "compact", "notes")["documents"] == 6
    queries, qrels = tmp_path / "q.jsonl", tmp_path / "test.tsv"
    queries.write_text('{"_id": "1", "text": "plant lice"}\n')
    qrels.write_text("1\tgarden.md\t1\n")
    arguments = ("eval", "notes", "--queries", str(queries), "--qrels", str(qrels), "--measures", "RR@10")
    assert shell.json(*arguments)["measures"] == {"RR@10": 1.0}
    assert "nowhere" in _said(shell.run("search", "nowhere", "x"), 3)
    assert "unknown operator" in _said(shell.run("search", "notes", "x", "--filter", '{"a": {"$b": 1}}'), 2)


def test_commands_work_again_after_a_server_was_killed(fresh: Shell, default_model_folder: Path) -> None:
    server = Server(fresh.home, default_model_folder)
    fresh.json("collection", "create", "kept")
    server.process.kill()
    server.process.communicate()
    assert (fresh.home / "house.json").exists()
    assert [one["name"] for one in fresh.json("collection", "list")["collections"]] == ["kept"]


def test_second_process_on_a_home_is_told_who_holds_it(fresh: Shell, tmp_path: Path) -> None:
    process = fresh.start("index", "many", str(_many_texts(tmp_path / "many", 300)))
    deadline = time.monotonic() + 60
    while not (fresh.home / "house.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    done = fresh.run("status")
    process.terminate()
    process.communicate()
    assert f"is in use by process {process.pid}" in _said(done, 4)
