"""The store on Weaviate: settings, servers that cannot be used, the classes that it makes and leaves alone.

What every store does is tested in tests/contract; the stub is tests/support/weaviate_stub.py.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec
import pytest
from weaviate_store import (
    CLASS,
    OWNER,
    SPEC,
    StubWithStores,
    dense,
    entry,
    foreign_class,
    settings_of,
    stub_with_stores,
    write,
)
from weaviate_stub import WeaviateStub

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.errors import (
    IndexDamaged,
    InvalidSetting,
    MissingExtra,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)
from embedhouse.domain.stores import Option, StoreSettings, store_of_url
from embedhouse.indexes.weaviate.link import WeaviateLink
from embedhouse.indexes.weaviate.store import WeaviateStore
from embedhouse.ports import Index


@pytest.fixture
def connected() -> Iterator[StubWithStores]:
    with stub_with_stores() as made:
        yield made


@pytest.fixture
def stub(connected: StubWithStores) -> WeaviateStub:
    return connected.stub


@pytest.fixture
def connect(connected: StubWithStores) -> Any:
    return connected.connect


@pytest.fixture
def index(connect: Any) -> Index:
    made: Index = connect().open(SPEC)
    return made


# ---- Settings ----------------------------------------------------------------------------------------------------


def test_connect_asks_nothing(stub: WeaviateStub, connect: Any) -> None:
    connect()
    assert stub.requests == []


def test_connect_without_the_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedhouse.indexes.weaviate.link", None)
    with pytest.raises(MissingExtra, match=r"embedhouse\[weaviate\]"):
        WeaviateStore.connect(StoreSettings(kind="weaviate", url="http://127.0.0.1:1"), owner=OWNER)


@pytest.mark.parametrize(
    "url", ["", "weaviate://h", "ftp://h", "http://", "http://h:x", "http://h:99999", "http://h/path", "h:8080"]
)
def test_connect_takes_only_urls_of_a_server(url: str) -> None:
    with pytest.raises(InvalidSetting):
        WeaviateStore.connect(StoreSettings(kind="weaviate", url=url), owner=OWNER)


@pytest.mark.parametrize(
    "options", [{"shards": 2}, {"consistency_level": "SOME"}, {"quantisation": "zip"}, {"grpc_port": "x"}], ids=str
)
def test_connect_takes_only_options_that_it_knows(options: dict[str, Option]) -> None:
    with pytest.raises(InvalidSetting, match="consistency_level"):
        WeaviateStore.connect(StoreSettings(kind="weaviate", url="http://h", options=options), owner=OWNER)


def test_connect_takes_no_port_for_both_sides() -> None:
    with pytest.raises(InvalidSetting, match="grpc_port"):
        WeaviateStore.connect(store_of_url("weaviate+http://h:50051"), owner=OWNER)


@pytest.mark.parametrize(
    ("url", "http", "grpc_at"),
    [
        ("weaviate+http://h", "h:8080", "h:50051"),
        ("weaviate+http://h:9?grpc_port=10&grpc_host=g", "h:9", "g:10"),
        ("weaviate+https://h", "h:443", "h:443"),
        (
            "weaviate+https://a.c0.gcp.weaviate.cloud",
            "a.c0.gcp.weaviate.cloud:443",
            "grpc-a.c0.gcp.weaviate.cloud:443",
        ),
        ("weaviate+https://a.weaviate.network", "a.weaviate.network:443", "a.grpc.weaviate.network:443"),
    ],
)
def test_connect_knows_where_both_sides_are(url: str, http: str, grpc_at: str) -> None:
    settings = store_of_url(url)
    if "grpc_host" not in settings.options and settings.url.startswith("https://h"):
        settings = msgspec.structs.replace(settings, options={"grpc_host": "h2"})
        grpc_at = "h2:443"
    link = WeaviateLink(settings)
    assert link._ports._http_url.endswith(f"//{http}")
    assert link._ports._grpc_target == grpc_at
    link.close()


def test_store_uses_the_key_on_both_sides_and_never_shows_it(stub: WeaviateStub, connect: Any) -> None:
    assert dense(connect().open(SPEC)) == []
    wrong = msgspec.structs.replace(settings_of(stub), api_key="a wrong one")
    for settings in (wrong, msgspec.structs.replace(wrong, api_key="")):
        with pytest.raises(StoreUnauthorized, match="WEAVIATE_API_KEY") as caught:
            connect(settings).open(SPEC)
        assert "wrong" not in str(caught.value)


# ---- Servers that cannot be used ---------------------------------------------------------------------------------


def test_store_refuses_a_server_that_is_too_old(connect: Any, stub: WeaviateStub) -> None:
    stub.version = "1.26.4"
    with pytest.raises(StoreRefused, match=r"1\.26\.4.*Upgrade the server to 1\.27"):
        connect().exists(SPEC.name)


def test_store_takes_the_oldest_server_that_it_may(connect: Any, stub: WeaviateStub) -> None:
    stub.version = "1.27.0"
    index = connect().open(SPEC)
    write(index, entry(1, year=2020))
    assert dense(index, raw={"$not": {"year": {"$gt": 2020}}}) == [1]
    assert index.info().count == 1
    assert len(stub.asked("graphql")) == 1  # how the client counts there


def test_store_says_which_port_is_closed(stub: WeaviateStub, connect: Any) -> None:
    stub.stop_grpc()
    with pytest.raises(StoreUnavailable, match=f"gRPC port 127.0.0.1:{stub.grpc_port}.*grpc_port"):
        connect().open(SPEC)
    assert stub.classes == {}


def test_store_says_when_nothing_is_there(stub: WeaviateStub, connect: Any) -> None:
    stub.stop()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        connect().exists(SPEC.name)


def test_store_says_when_something_else_is_there(connect: Any) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        with pytest.raises(StoreRefused, match="not Weaviate"):
            connect(StoreSettings(kind="weaviate", url=f"http://127.0.0.1:{server.server_port}")).exists(SPEC.name)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_store_connects_again_after_it_could_not(stub: WeaviateStub, connect: Any) -> None:
    store = connect()
    stub.stop()
    with pytest.raises(StoreUnavailable):
        store.exists(SPEC.name)
    stub.start()
    assert not store.exists(SPEC.name)


def test_store_closed_answers_no_more(connect: Any) -> None:
    store = connect()
    index = store.open(SPEC)
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        dense(index)


# ---- Classes -----------------------------------------------------------------------------------------------------


def test_store_makes_a_class_with_a_mark(stub: WeaviateStub, connect: Any) -> None:
    connect(replicas=3, quantisation="sq").open(SPEC)
    (asked,) = stub.asked("create_class")
    made = asked["body"]
    assert made["class"] == CLASS
    assert made["description"].startswith(f"Index indexes/7/cafe of Embedhouse {OWNER}.")
    assert made["invertedIndexConfig"] == {"bm25": {"k1": 1.5, "b": 0.6}, "stopwords": {"preset": "none"}}
    assert made["multiTenancyConfig"] == {
        "enabled": True,
        "autoTenantCreation": True,
        "autoTenantActivation": True,
    }
    assert made["replicationConfig"] == {"factor": 3}
    graph = made["vectorConfig"]["dense"]["vectorIndexConfig"]
    assert (graph["distance"], graph["sq"]["enabled"]) == ("cosine", True)
    assert made["vectorConfig"]["dense"]["vectorizer"] == {"none": {}}
    text = next(each for each in made["properties"] if each["name"] == "text")
    assert (text["tokenization"], text["indexFilterable"], text["indexSearchable"]) == ("whitespace", False, True)


def test_store_quantises_nothing_unless_told(stub: WeaviateStub, index: Index) -> None:
    graph = stub.asked("create_class")[0]["body"]["vectorConfig"]["dense"]["vectorIndexConfig"]
    assert graph["skipDefaultQuantization"] is True
    assert not {"rq", "sq", "bq", "pq"} & graph.keys()


def test_store_refuses_a_quantiser_that_the_server_lacks(stub: WeaviateStub, connect: Any) -> None:
    stub.version = "1.31.9"
    with pytest.raises(StoreRefused, match=r"1\.32"):
        connect(quantisation="rq").open(SPEC)
    assert stub.classes == {}


def test_store_refuses_too_many_dimensions_before_it_asks(stub: WeaviateStub, connect: Any) -> None:
    with pytest.raises(StoreRefused, match="65535 dimensions"):
        connect().open(msgspec.structs.replace(SPEC, dimensions=65_536))
    assert stub.requests == []


def test_store_leaves_a_class_alone_that_is_not_its_own(stub: WeaviateStub, connect: Any) -> None:
    connect().exists(SPEC.name)
    untouched = foreign_class(settings_of(stub), CLASS)
    store = connect()
    assert not store.exists(SPEC.name)
    for call in (lambda: store.open(SPEC), lambda: store.drop(SPEC.name)):
        with pytest.raises(StoreRefused, match="not touched"):
            call()
    assert untouched()


def test_store_leaves_the_class_of_another_house_alone(stub: WeaviateStub, connect: Any, index: Index) -> None:
    stub.classes[CLASS].config["description"] = f"Index {SPEC.name} of Embedhouse fedcba987654. Do not change. {{}}"
    with pytest.raises(StoreRefused):
        connect().open(SPEC)


def test_store_opens_no_class_of_other_lexical_settings(connect: Any, index: Index) -> None:
    with pytest.raises(IndexDamaged, match=CLASS):
        connect().open(msgspec.structs.replace(SPEC, lexical=LexicalSettings(k1=0.9)))


def test_store_opens_a_class_that_another_process_made_meanwhile(stub: WeaviateStub, connect: Any) -> None:
    first, second = connect(), connect()
    first.open(SPEC)
    made = stub.classes.pop(CLASS)
    stub.failures["create_class"] = [lambda: stub.classes.update({CLASS: made})]
    write(second.open(SPEC), entry(1))
    assert stub.classes[CLASS] is made
    assert dense(first.open(SPEC)) == [1]
