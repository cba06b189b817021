"""The REST side of the protocol stub of Weaviate."""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from weaviate_stub_data import Refused, WeaviateClass

if TYPE_CHECKING:
    from weaviate_stub import WeaviateStub

__all__ = ["RestServer", "handler_of"]

_LEVELS = {"ONE", "QUORUM", "ALL"}


class RestServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        self._open: set[Any] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        self.server_close()
        for request in list(self._open):
            super().shutdown_request(request)


Answer = tuple[int, Any]


def handler_of(stub: WeaviateStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            return

        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            try:
                status, answer = self._answer(body)
            except Refused as refused:
                status, answer = 422, {"error": [{"message": str(refused)}]}
            raw = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def _answer(self, body: Any) -> Answer:
            if stub.key and self.headers.get("authorization") != f"Bearer {stub.key}":
                return 401, {"code": 401, "message": "anonymous access not enabled"}
            parts = urlsplit(self.path)
            return _rest(stub, self.command, parts.path, parse_qs(parts.query), body)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    return Handler


def _rest(stub: WeaviateStub, method: str, path: str, query: dict[str, list[str]], body: Any) -> Answer:
    for pattern, answer in _ROUTES.items():
        found = re.fullmatch(pattern, f"{method} {path}")
        if found:
            stub.note(answer.__name__.strip("_"), path=path, query=query, body=body)
            with stub.lock:
                return answer(stub, found.groupdict(), query, body)
    return 404, None


def _meta(stub: WeaviateStub, at: dict[str, str], query: Any, body: Any) -> Answer:
    return 200, {"hostname": stub.url, "version": stub.version, "modules": {}, "grpcMaxMessageSize": 1 << 27}


def _create_class(stub: WeaviateStub, at: dict[str, str], query: Any, body: Any) -> Answer:
    if body["class"] in stub.classes:
        raise Refused(f"class name {body['class']} already exists")
    stub.classes[body["class"]] = made = WeaviateClass(body)
    return 200, _shown(made)


def _read_class(stub: WeaviateStub, at: dict[str, str], query: Any, body: Any) -> Answer:
    found = stub.classes.get(at["name"])
    return (404, None) if found is None else (200, _shown(found))


def _delete_class(stub: WeaviateStub, at: dict[str, str], query: Any, body: Any) -> Answer:
    stub.classes.pop(at["name"], None)
    return 200, None


def _add_property(stub: WeaviateStub, at: dict[str, str], query: Any, body: Any) -> Answer:
    stub.find(at["name"]).add_property(body)
    return 200, body


def _patch(stub: WeaviateStub, at: dict[str, str], query: Any, body: Any) -> Answer:
    if body["class"] != at["name"] or set(query["consistency_level"]) - _LEVELS:
        raise Refused("invalid object: class or consistency level")
    tenant, uid = stub.find(at["name"]).tenant(body["tenant"]), UUID(at["id"])
    if uid not in tenant:
        return 404, None
    tenant.merge(uid, body["properties"])
    return 204, None


def _graphql(stub: WeaviateStub, at: dict[str, str], query: Any, body: Any) -> Answer:
    """How the client counts on servers before 1.29."""
    found = re.fullmatch(r"\{Aggregate\{(\w+)\(\s*tenant: \"([\w-]+)\"\)\s*\{meta\{count\}\}\}\}", body["query"])
    if found is None:
        raise Refused(f"the stub does not know {body['query']}")
    name, tenant = found.groups()
    return 200, {"data": {"Aggregate": {name: [{"meta": {"count": len(stub.find(name).tenant(tenant))}}]}}}


def _nodes(stub: WeaviateStub, at: dict[str, str], query: Any, body: Any) -> Answer:
    if query.get("output") != ["verbose"]:
        raise Refused("the stub is asked for verbose nodes alone")
    shards = [
        {"class": at["name"], "name": name, "objectCount": len(tenant), "vectorIndexingStatus": "READY"}
        | {"vectorQueueLength": stub.queued, "compressed": False, "loaded": True}
        for name, tenant in stub.find(at["name"]).tenants.items()
    ]
    stub.queued = 0
    node = {"name": "node1", "status": "HEALTHY", "version": stub.version, "gitHash": "", "shards": shards}
    return 200, {"nodes": [node | {"stats": {"objectCount": 0, "shardCount": len(shards)}}]}


_ROUTES = {
    r"GET /v1/meta": _meta,
    r"POST /v1/schema": _create_class,
    r"GET /v1/schema/(?P<name>\w+)": _read_class,
    r"DELETE /v1/schema/(?P<name>\w+)": _delete_class,
    r"POST /v1/schema/(?P<name>\w+)/properties": _add_property,
    r"PATCH /v1/objects/(?P<name>\w+)/(?P<id>[0-9a-f-]{36})": _patch,
    r"GET /v1/nodes/(?P<name>\w+)": _nodes,
    r"POST /v1/graphql": _graphql,
}


def _shown(found: WeaviateClass) -> dict[str, Any]:
    """A class as the server shows it: with what it fills in."""
    config = json.loads(json.dumps(found.config))
    filled = {"cleanupIntervalSeconds": 300, "dynamicEfMin": 100, "dynamicEfMax": 500, "dynamicEfFactor": 8}
    filled |= {"flatSearchCutoff": 40_000, "skip": False, "vectorCacheMaxObjects": 10**12}
    filled |= {"distance": "cosine", "ef": -1, "efConstruction": 128, "maxConnections": 32}
    if "vectorConfig" not in config:
        config |= {"vectorizer": "none", "vectorIndexType": "hnsw", "vectorIndexConfig": dict(filled)}
    for each in config["properties"]:
        each["indexFilterable"] = each.get("indexFilterable", True)
        each["indexSearchable"] = each.get("indexSearchable", each["dataType"][0].startswith("text"))
    for vector in config.get("vectorConfig", {}).values():
        vector["vectorIndexConfig"] = filled | vector["vectorIndexConfig"]
    return config
