"""Two tenants in one collection: neither reaches what is the other's, through any door."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx
import msgspec
import pytest

from embedhouse import Document
from embedhouse.cli.remote import RemoteHouse
from embedhouse.cli.wire import error_from_wire
from embedhouse.domain.errors import EmbedhouseError, Forbidden, InvalidInput, UnknownDocument
from embedhouse.domain.models import attributed
from embedhouse.house import House
from embedhouse.settings import load_settings
from embedhouse.wiring import open_house

from .doors import SHELL, shell_environ
from .serving import serving

T = TypeVar("T")
SECRET = "The merger with Halvorsen closes on the ninth of May."
SHARED = "Invoices are paid within thirty days of receipt."
ACME = {
    "plan": "Acme sells anvils to coyotes.",
    "rates": SHARED,
    "lease": "The lease of the anvil works ends in June.",
}
BETA = {"plan": SECRET, "rates": SHARED, "only": "Halvorsen wants the anvil works too."}
COMMON = {"notice": "The canteen serves anvil shaped cakes in May."}
NAMESPACES = {"acme": ACME, "beta": BETA, "default": COMMON}
QUERY = "when does the merger with Halvorsen close?"


class Tenant(Protocol):
    """A door, held open for one tenant: `ask` calls something of the house as that tenant."""

    def ask(self, call: Callable[[Any], T]) -> T: ...


class PythonTenant:
    def __init__(self, house: House, namespaces: list[str]) -> None:
        self._house = house
        self._namespaces = namespaces

    def ask(self, call: Callable[[Any], T]) -> T:
        with attributed(caller="-".join(self._namespaces), namespaces=self._namespaces):
            return call(self._house)


class HttpTenant:
    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key

    def ask(self, call: Callable[[Any], T]) -> T:
        house = RemoteHouse(self._url, load_settings({"api_key": self._key}, {}))
        try:
            return call(house)
        finally:
            house.close()


class Town(msgspec.Struct):
    """One served house with three namespaces, and a key of each kind."""

    house: House
    home: Path
    url: str
    model: Path
    keys: dict[str, str]

    def tenant(self, door: str, *namespaces: str) -> Tenant:
        if door == "python":
            return PythonTenant(self.house, list(namespaces))
        return HttpTenant(self.url, self.keys["-".join(namespaces)])

    def get(self, route: str, key: str, **query: Any) -> httpx.Response:
        return httpx.get(self.url + route, params=query, headers={"X-Api-Key": self.keys[key]}, timeout=60)

    def post(self, route: str, key: str, **body: Any) -> httpx.Response:
        return httpx.post(self.url + route, json=body, headers={"X-Api-Key": self.keys[key]}, timeout=60)

    def shell(self, key: str, *arguments: str) -> Any:
        environ = shell_environ(self.model) | {"EMBEDHOUSE_API_KEY": self.keys[key]}
        command = [*SHELL, "--home", str(self.home), "--json", *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout)
        body = json.loads(done.stderr.splitlines()[-1])["error"]
        raise error_from_wire(body["code"], body["message"], body["fields"])


def documents_of(namespace: str) -> list[Document]:
    return [
        Document(id=name, text=text, metadata={"kind": "paper", "year": 2026}, namespace=namespace)
        for name, text in NAMESPACES[namespace].items()
    ]


@contextmanager
def opened(home: Path, model: Path) -> Iterator[Town]:
    houses: list[House] = []

    def open_and_keep(*given: Any, **named: Any) -> House:
        houses.append(open_house(*given, **named))
        return houses[-1]

    with serving(home, model, open=open_and_keep) as url:
        house = houses[0]
        keys = {name: house.keys.create(name, name.split("-")).key for name in ("acme", "beta", "acme-beta")}
        keys["admin"] = house.keys.create("admin").key
        house.collections.create("papers")
        for namespace in NAMESPACES:
            house.documents.upsert("papers", documents_of(namespace))
        yield Town(house=house, home=home, url=url, model=model, keys=keys)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, default_model_folder: Path) -> Iterator[Town]:
    with opened(tmp_path_factory.mktemp("town") / "house", default_model_folder) as town:
        yield town


@pytest.fixture(params=["http", "python"])
def acme(town: Town, request: pytest.FixtureRequest) -> Tenant:
    return town.tenant(request.param, "acme")


@pytest.fixture(params=["http", "python"])
def both(town: Town, request: pytest.FixtureRequest) -> Tenant:
    return town.tenant(request.param, "acme", "beta")


def refused(kind: type[EmbedhouseError]) -> AbstractContextManager[Any]:
    return pytest.raises(kind)


def places(result: Any) -> set[tuple[str, str]]:
    return {(hit.namespace, hit.document_id) for hit in result.hits}


def everything() -> dict[str, dict[str, str]]:
    return {namespace: dict(texts) for namespace, texts in NAMESPACES.items()}


def stored(town: Town) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for view in town.house.documents.list("papers", limit=1000, with_text=True).documents:
        found.setdefault(view.namespace, {})[view.id] = view.text
    return found


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize("whole", [False, True])
def test_search_finds_the_tenants_own_alone(acme: Tenant, mode: str, whole: bool) -> None:
    result = acme.ask(lambda house: house.search("papers", QUERY, k=50, mode=mode, documents=whole))
    assert {namespace for namespace, _ in places(result)} <= {"acme"}
    assert "Halvorsen" not in "".join(hit.text for hit in result.hits)
    if mode == "dense":
        assert places(result) == {("acme", each) for each in ACME}


def test_search_of_a_key_with_two_namespaces_sees_both_or_one(both: Tenant) -> None:
    wide = both.ask(lambda house: house.search("papers", QUERY, k=50, mode="dense", documents=True))
    assert places(wide) == {("acme", each) for each in ACME} | {("beta", each) for each in BETA}
    narrow = both.ask(lambda house: house.search("papers", QUERY, k=50, mode="dense", namespaces=["beta"]))
    assert {namespace for namespace, _ in places(narrow)} == {"beta"}


def test_naming_another_namespace_is_forbidden_whether_or_not_it_exists(acme: Tenant) -> None:
    said = set()
    for other in ("beta", "never-made"):
        calls: list[Callable[[Any], Any]] = [
            lambda house, n=other: house.search("papers", QUERY, namespaces=["acme", n]),
            lambda house, n=other: house.search.more_like("papers", "plan", namespaces=[n]),
            lambda house, n=other: house.search.recommend("papers", liked=["plan"], namespace=n),
            lambda house, n=other: house.search.near_duplicates("papers", namespaces=[n]),
            lambda house, n=other: house.documents.get("papers", "plan", namespace=n),
            lambda house, n=other: house.documents.vector("papers", "plan", namespace=n),
            lambda house, n=other: house.documents.list("papers", namespaces=[n]),
            lambda house, n=other: house.documents.delete("papers", ids=["plan"], namespace=n),
            lambda house, n=other: house.documents.update_metadata("papers", "plan", {}, namespace=n),
            lambda house, n=other: house.documents.upsert("papers", [Document(id="x", text="x", namespace=n)]),
            lambda house, n=other: house.documents.upsert("papers", [Document(id="x", text="x")], namespace=n),
        ]
        for call in calls:
            with refused(Forbidden) as caught:
                acme.ask(call)
            said.add(str(caught.value).replace(other, "N"))
    assert len(said) == 1


def test_ids_reach_the_tenants_own_documents_alone(acme: Tenant) -> None:
    assert acme.ask(lambda house: house.documents.get("papers", "plan")).text == ACME["plan"]
    for name in ("only", "notice"):
        for call in (
            lambda house, name=name: house.documents.get("papers", name),
            lambda house, name=name: house.documents.vector("papers", name),
            lambda house, name=name: house.documents.update_metadata("papers", name, {"mine": True}),
            lambda house, name=name: house.search.more_like("papers", name),
            lambda house, name=name: house.search.recommend("papers", liked=["plan"], disliked=[name]),
        ):
            with refused(UnknownDocument):
                acme.ask(call)


@pytest.mark.parametrize(
    "filter",
    [{"kind": "paper"}, {"year": {"$gte": 2000}}, {"$or": [{"a": 1}, {"kind": "paper"}]}, {"x": {"$ne": 1}}],
)
def test_filters_do_not_widen_what_is_seen(acme: Tenant, filter: dict[str, Any]) -> None:
    found = acme.ask(lambda house: house.search("papers", QUERY, k=50, mode="dense", filter=filter))
    assert places(found) == {("acme", each) for each in ACME}
    listed = acme.ask(lambda house: house.documents.list("papers", filter=filter))
    assert [view.id for view in listed.documents] == sorted(ACME)


def test_more_like_and_recommend_show_the_tenants_own_alone(acme: Tenant) -> None:
    alike = acme.ask(lambda house: house.search.more_like("papers", "rates", k=50))
    assert places(alike) == {("acme", "plan"), ("acme", "lease")}
    near = acme.ask(lambda house: house.search.recommend("papers", liked=["plan"], disliked=["rates"], k=50))
    assert places(near) == {("acme", "lease")}


def test_near_duplicates_do_not_tell_of_the_same_text_elsewhere(acme: Tenant, both: Tenant) -> None:
    assert acme.ask(lambda house: house.search.near_duplicates("papers", threshold=0.999)) == []
    pairs = both.ask(lambda house: house.search.near_duplicates("papers", threshold=0.999))
    assert [(pair.a_namespace, pair.a, pair.b_namespace, pair.b) for pair in pairs] == [
        ("acme", "rates", "beta", "rates")
    ]


def test_lists_page_through_the_tenants_own_alone(acme: Tenant, both: Tenant) -> None:
    for tenant, wanted in (
        (acme, [("acme", each) for each in sorted(ACME)]),
        (both, [*(("acme", each) for each in sorted(ACME)), *(("beta", each) for each in sorted(BETA))]),
    ):
        seen: list[tuple[str, str]] = []
        after = ""
        while True:
            page = tenant.ask(lambda house, after=after: house.documents.list("papers", limit=2, after=after))
            seen += [(view.namespace, view.id) for view in page.documents]
            if page.next is None:
                break
            after = page.next
        assert seen == wanted


def test_list_after_a_place_of_another_namespace_shows_the_own_alone(acme: Tenant) -> None:
    for after in ("beta\x1fonly", "default\x1f", "a"):
        page = acme.ask(lambda house, after=after: house.documents.list("papers", after=after))
        assert {view.namespace for view in page.documents} <= {"acme"}


def test_counts_are_those_of_the_tenant(acme: Tenant, town: Town) -> None:
    info = acme.ask(lambda house: house.collections.get("papers"))
    assert (info.documents, info.chunks, info.pending_chunks) == (len(ACME), len(ACME), 0)
    assert town.house.collections.get("papers").documents == len(ACME) + len(BETA) + len(COMMON)


def test_upserts_deletes_and_metadata_leave_others_as_they_were(acme: Tenant, town: Town) -> None:
    try:
        wrote = acme.ask(lambda house: house.documents.upsert("papers", [Document(id="only", text="Ours.")]))
        assert (wrote.added, wrote.updated) == (1, 0)
        acme.ask(lambda house: house.documents.upsert("papers", [Document(id="plan", text="A new plan.")]))
        acme.ask(lambda house: house.documents.update_metadata("papers", "rates", {"mine": True}))
        changed = everything()
        changed["acme"] |= {"only": "Ours.", "plan": "A new plan."}
        assert stored(town) == changed
        assert "mine" not in town.house.documents.get("papers", "rates", namespace="beta").metadata
        assert acme.ask(lambda house: house.documents.delete("papers", ids=["only", "notice", "plan"])) == 2
        assert acme.ask(lambda house: house.documents.delete("papers", filter={"kind": "paper"})) == 2
        assert stored(town) == {"beta": BETA, "default": COMMON}
        found = town.house.search("papers", QUERY, k=50, mode="dense", documents=True)
        assert places(found) == {(name, each) for name in ("beta", "default") for each in NAMESPACES[name]}
    finally:
        town.house.documents.delete("papers", filter={}, namespace="acme")
        town.house.documents.upsert("papers", documents_of("acme"))
    assert stored(town) == everything()


def test_a_write_of_a_key_with_two_namespaces_names_one(both: Tenant) -> None:
    with refused(InvalidInput):
        both.ask(lambda house: house.documents.upsert("papers", [Document(id="x", text="Whose?")]))
    with refused(InvalidInput):
        both.ask(lambda house: house.documents.delete("papers", filter={"kind": "paper"}))
    report = both.ask(lambda house: house.documents.upsert("papers", documents_of("beta")))
    assert report.unchanged == len(BETA)


@pytest.mark.parametrize(
    "call",
    [
        lambda house: house.status(),
        lambda house: house.collections.create("mine"),
        lambda house: house.collections.delete("papers"),
        lambda house: house.collections.compact("papers"),
        lambda house: house.index("papers", ["/etc/hostname"]),
        lambda house: house.plan_index("papers", ["/etc/hostname"]),
        lambda house: house.sources.list("papers"),
        lambda house: house.sync("papers"),
        lambda house: house.verify("papers"),
        lambda house: house.dead_letters.list("papers"),
        lambda house: house.upgrades.status("papers"),
        lambda house: house.spaces.unfreeze("x"),
        lambda house: house.usage.report("caller", caller="beta"),
    ],
)
def test_what_concerns_the_whole_house_is_refused(acme: Tenant, call: Callable[[Any], Any]) -> None:
    with refused(Forbidden):
        acme.ask(call)


def test_usage_is_that_of_the_key(town: Town) -> None:
    for key in ("acme", "beta"):
        town.post("/embed", key, texts=[f"Something of {key}."])
    rows = town.get("/usage", "acme", by="caller").json()["rows"]
    assert [row["group"] for row in rows] == ["acme"]
    assert {row["group"] for row in town.get("/usage", "admin", by="caller").json()["rows"]} >= {"acme", "beta"}


def test_export_holds_the_tenants_own_alone(town: Town, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    acme = town.tenant("python", "acme")
    acme.ask(lambda house: house.export("papers", tmp_path / "own"))
    rows = parquet.read_table(tmp_path / "own" / "documents.parquet").to_pylist()
    assert {(row["namespace"], row["id"]) for row in rows} == {("acme", each) for each in ACME}
    chunks = parquet.read_table(tmp_path / "own" / "chunks.parquet").to_pylist()
    assert {row["namespace"] for row in chunks} == {"acme"}
    with refused(Forbidden):
        acme.ask(lambda house: house.export("papers", tmp_path / "others", namespaces=["beta"]))
    answer = town.post("/collections/papers/export", "acme", to=str(tmp_path / "served"), namespaces=["acme"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert not (tmp_path / "served").exists()


def test_search_by_url_is_bound_too(town: Town) -> None:
    asked = {"collection": "papers", "q": QUERY, "k": 50, "mode": "dense"}
    found = town.get("/search", "acme", **asked).json()["hits"]
    assert {(hit["namespace"], hit["document_id"]) for hit in found} == {("acme", each) for each in ACME}
    for named in ("beta", ["acme", "beta"], "never-made"):
        answer = town.get("/search", "acme", **asked, namespace=named)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    found = town.get("/search", "acme-beta", **asked, namespace=["acme", "beta"]).json()["hits"]
    assert {hit["namespace"] for hit in found} == {"acme", "beta"}


def test_cached_counts_do_not_tell_what_others_embedded(town: Town) -> None:
    text = f"What only beta has embedded {os.getpid()}."
    beta = [town.post("/embed", "beta", texts=[text]).json()["usage"] for _ in range(2)]
    assert [(each["cached_texts"], each["tokens"] > 0) for each in beta] == [(0, True), (1, False)]
    for key in ("acme", "acme-beta", "admin"):
        first = town.post("/embed", key, texts=[text]).json()
        assert first["usage"]["cached_texts"] == 0
        assert first["usage"]["tokens"] == beta[0]["tokens"]


def test_openai_route_embeds_anew_for_each_tenant(town: Town) -> None:
    text = f"Through the route of OpenAI {os.getpid()}."
    answers = []
    for key in ("beta", "acme", "acme"):
        before = computed_items(town, key)
        answer = town.post("/v1/embeddings", key, input=text).json()
        answers.append((answer["usage"], answer["data"], computed_items(town, key) - before))
    assert [items for *_, items in answers] == [1, 1, 0]
    assert answers[0][:2] == answers[1][:2] == answers[2][:2]


def computed_items(town: Town, key: str) -> int:
    rows = town.get("/usage", key, by="caller", caller=key).json()["rows"]
    return sum(row["items"] for row in rows)


def test_documents_are_embedded_anew_for_each_tenant(town: Town) -> None:
    text = f"The same contract for everybody {os.getpid()}."
    reports = []
    for namespace, name in (("beta", "c1"), ("acme", "c1"), ("acme", "c2")):
        document = Document(id=name, text=text, namespace=namespace)
        reports.append(
            town.tenant("http", namespace).ask(lambda house, d=document: house.documents.upsert("papers", [d]))
        )
    assert [(each.cached_chunks, each.tokens > 0) for each in reports] == [(0, True), (0, True), (1, False)]
    for namespace in ("acme", "beta"):
        town.house.documents.delete("papers", ids=["c1", "c2"], namespace=namespace)


def test_queries_of_a_tenant_are_embedded_for_it_alone(town: Town) -> None:
    text = f"a question of beta {os.getpid()}"
    computed = []
    for key in ("beta", "acme", "acme"):
        before = computed_items(town, key)
        town.post("/search", key, collection="papers", text=text).raise_for_status()
        computed.append(computed_items(town, key) - before)
    assert computed == [1, 1, 0]


def test_shell_with_a_bound_key_sees_the_tenants_own_alone(town: Town) -> None:
    found = town.shell("acme", "search", "papers", QUERY, "-k", "50", "--mode", "dense")
    assert {(hit["namespace"], hit["document_id"]) for hit in found["hits"]} == {("acme", each) for each in ACME}
    listed = town.shell("acme", "documents", "list", "papers")
    assert [view["id"] for view in listed["documents"]] == sorted(ACME)
    assert town.shell("acme", "documents", "get", "papers", "plan")["text"] == ACME["plan"]
    assert town.shell("acme", "documents", "duplicates", "papers", "--threshold", "0.999")["pairs"] == []
    alike = town.shell("acme-beta", "documents", "similar", "papers", "plan", "--namespace", "beta")
    assert {hit["namespace"] for hit in alike["hits"]} == {"beta"}


def test_shell_makes_and_lists_keys_that_are_bound(town: Town) -> None:
    made = town.shell("admin", "key", "create", "made", "--namespace", "beta", "--namespace", "acme")
    assert made["namespaces"] == ["acme", "beta"]
    listed = {key["name"]: key.get("namespaces") for key in town.shell("admin", "key", "list")["keys"]}
    assert (listed["made"], listed["acme"], listed["admin"]) == (["acme", "beta"], ["acme"], None)
    town.keys["made"] = made["key"]
    hits = town.get("/search", "made", collection="papers", q=QUERY, k=50, mode="dense").json()["hits"]
    assert {hit["namespace"] for hit in hits} == {"acme", "beta"}


def test_evaluation_searches_what_it_may_see(town: Town, tmp_path: Path) -> None:
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text('{"_id": "q", "text": "when does the merger with Halvorsen close?"}\n')
    qrels.write_text("query-id\tcorpus-id\tscore\nq\tonly\t1\n")
    asked = ("eval", "papers", "--queries", str(queries), "--qrels", str(qrels), "--measures", "R@100")
    found = {key: town.shell(key, *asked)["measures"]["R@100"] for key in ("acme", "beta", "admin")}
    assert found == {"acme": 0.0, "beta": 1.0, "admin": 1.0}
    assert town.shell("admin", *asked, "--namespace", "acme")["measures"]["R@100"] == 0.0
    found = town.house.evaluate("papers", queries, qrels, measures="R@100", namespaces=["beta"]).measures
    assert found == {"R@100": 1.0}
    with refused(Forbidden):
        town.shell("acme", *asked, "--namespace", "beta")


def test_shell_of_a_free_caller_chooses_namespaces(town: Town, tmp_path: Path) -> None:
    (tmp_path / "gamma.md").write_text("What gamma knows of anvils.")
    indexed = town.shell("admin", "index", "papers", str(tmp_path), "--namespace", "gamma")
    assert indexed["write"]["added"] == 1
    hits = town.shell("admin", "search", "papers", "anvils", "--namespace", "gamma", "--namespace", "beta")["hits"]
    assert {hit["namespace"] for hit in hits} == {"beta", "gamma"}
    of_gamma = ("gamma.md", "--namespace", "gamma")
    assert town.shell("admin", "documents", "get", "papers", *of_gamma)["namespace"] == "gamma"
    assert town.shell("admin", "documents", "delete", "papers", *of_gamma)["deleted"] == 1
    assert stored(town) == everything()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["documents", "get", "papers", "only"], UnknownDocument),
        (["documents", "get", "papers", "only", "--namespace", "beta"], Forbidden),
        (["documents", "list", "papers", "--namespace", "never-made"], Forbidden),
        (["documents", "delete", "papers", "plan", "--namespace", "beta"], Forbidden),
        (["documents", "update", "papers", "only", '{"a": 1}'], UnknownDocument),
        (["documents", "similar", "papers", "only"], UnknownDocument),
        (["documents", "recommend", "papers", "--liked", "plan", "--namespace", "beta"], Forbidden),
        (["search", "papers", QUERY, "--namespace", "acme", "--namespace", "beta"], Forbidden),
        (["status"], Forbidden),
        (["index", "papers", "/etc/hostname"], Forbidden),
        (["collection", "delete", "papers"], Forbidden),
    ],
)
def test_shell_with_a_bound_key_is_refused_the_rest(
    town: Town, arguments: list[str], kind: type[EmbedhouseError]
) -> None:
    with refused(kind):
        town.shell("acme", *arguments)
    assert stored(town) == everything()
