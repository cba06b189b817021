"""A protocol stub of Weaviate: its REST and gRPC sides in this process, on 127.0.0.1, strict about every request.

`WeaviateStub.start()` again after `stop()` has the same ports and everything that was written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import grpc
import numpy as np
from weaviate.proto.v1 import (
    aggregate_pb2,
    base_pb2,
    batch_delete_pb2,
    batch_pb2,
    health_weaviate_pb2,
    properties_pb2,
    search_get_pb2,
    tenants_pb2,
    weaviate_pb2_grpc,
)
from weaviate_stub_data import Refused, Tenant, WeaviateClass
from weaviate_stub_rest import RestServer, handler_of

__all__ = ["WeaviateStub"]

MAX_RESULTS = 10_000


class WeaviateStub:
    """One node. `key`: what requests must carry. `requests` holds what was asked, as (operation, details)."""

    def __init__(self, *, version: str = "1.34.0", key: str = "") -> None:
        self.version = version
        self.key = key
        self.classes: dict[str, WeaviateClass] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.failures: dict[str, list[Exception | Callable[[], object]]] = {}
        """Operation -> what its next calls fail with, or what happens just before them."""
        self.slow: dict[str, float] = {}
        """Operation -> how long its calls take, in seconds."""
        self.queued = 0
        self.lock = threading.RLock()
        self._ports = (0, 0)
        self._rest: RestServer | None = None
        self._grpc: grpc.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def grpc_port(self) -> int:
        return self._ports[1]

    def start(self) -> None:
        if self._rest is not None:
            return
        self._rest = RestServer(("127.0.0.1", self._ports[0]), handler_of(self))
        threading.Thread(target=self._rest.serve_forever, args=(0.01,), daemon=True).start()
        self._grpc = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 1 << 27)])
        weaviate_pb2_grpc.add_WeaviateServicer_to_server(_Servicer(self), self._grpc)
        self._grpc.add_generic_rpc_handlers((_health(),))
        grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{self._ports[1]}")
        self._grpc.start()
        self._ports = self._rest.server_address[1], grpc_port

    def stop(self) -> None:
        if self._rest is not None:
            self._rest.shutdown()
            self._rest.close_all()
            self._rest = None
        self.stop_grpc()

    def stop_grpc(self) -> None:
        if self._grpc is not None:
            self._grpc.stop(None).wait()
            self._grpc = None

    def find(self, name: str) -> WeaviateClass:
        if name not in self.classes:
            raise Refused(f"could not find class {name} in schema")
        return self.classes[name]

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [details for name, details in self.requests if name == operation]

    def note(self, operation: str, **details: Any) -> None:
        with self.lock:
            self.requests.append((operation, details))
            failing = self.failures.get(operation)
            failing_now = failing.pop(0) if failing else None
        time.sleep(self.slow.get(operation, 0.0))
        if isinstance(failing_now, Exception):
            raise failing_now
        if failing_now is not None:
            failing_now()


# ---- gRPC --------------------------------------------------------------------------------------------------------


def _health() -> grpc.GenericRpcHandler:
    serving = health_weaviate_pb2.WeaviateHealthCheckResponse.SERVING
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, context: health_weaviate_pb2.WeaviateHealthCheckResponse(status=serving),
        request_deserializer=health_weaviate_pb2.WeaviateHealthCheckRequest.FromString,
        response_serializer=health_weaviate_pb2.WeaviateHealthCheckResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})


class _Servicer(weaviate_pb2_grpc.WeaviateServicer):  # type: ignore[misc]
    """Every refusal is UNKNOWN with a sentence, as the server's are."""

    def __init__(self, stub: WeaviateStub) -> None:
        self._stub = stub

    def _serve(self, operation: str, work: Any, request: Any, context: grpc.ServicerContext) -> Any:
        if self._stub.key and ("authorization", f"Bearer {self._stub.key}") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthorized: anonymous access not enabled")
        try:
            self._stub.note(operation, request=request, timeout_s=context.time_remaining())
            return work(request)
        except Refused as refused:
            context.abort(grpc.StatusCode.UNKNOWN, str(refused))
        except grpc.RpcError as error:
            context.abort(error.args[0], error.args[1])

    def Search(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("search", self._search, request, context)

    def BatchObjects(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("batch_objects", self._batch_objects, request, context)

    def BatchDelete(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("batch_delete", self._batch_delete, request, context)

    def TenantsGet(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("tenants_get", self._tenants_get, request, context)

    def Aggregate(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._serve("aggregate", self._aggregate, request, context)

    def _search(self, request: Any) -> search_get_pb2.SearchReply:
        tenant = self._stub.find(request.collection).tenant(request.tenant)
        filters = request.filters if request.HasField("filters") else None
        _check_search(request, filters)
        passing = None if filters is None else tenant.ids(filters)
        if request.HasField("near_vector"):
            query = _query_vector(request.near_vector)
            found = [(uid, {"distance": each}) for uid, each in tenant.nearest(query, passing)]
        elif request.HasField("bm25_search"):
            search = request.bm25_search
            found = [(uid, {"score": each}) for uid, each in tenant.bm25(search.query, search.properties, passing)]
        else:
            ids = tenant.ids(None) if passing is None else passing
            found = [(uid, {}) for uid in ids if not request.after or uid > UUID(request.after)]
        return search_get_pb2.SearchReply(
            results=[_result(request, tenant, uid, scores) for uid, scores in found[: request.limit]]
        )

    def _batch_objects(self, request: Any) -> batch_pb2.BatchObjectsReply:
        _check_level(request)
        errors = []
        for index, each in enumerate(request.objects):
            try:
                tenant = self._stub.find(each.collection).tenant(each.tenant, create=True)
                vectors = {vector.name: np.frombuffer(vector.vector_bytes, "<f4") for vector in each.vectors}
                tenant.put(UUID(each.uuid), _properties(each.properties), vectors)
            except Refused as refused:
                errors.append(batch_pb2.BatchObjectsReply.BatchError(index=index, error=str(refused)))
        return batch_pb2.BatchObjectsReply(errors=errors)

    def _batch_delete(self, request: Any) -> batch_delete_pb2.BatchDeleteReply:
        _check_level(request)
        found = self._stub.find(request.collection)
        tenant = found.tenant(request.tenant)
        ids = tenant.ids(request.filters)
        error = "store is read-only" if found.read_only else ""
        if not error:
            tenant.delete(set(ids))
        objects = [
            batch_delete_pb2.BatchDeleteObject(uuid=uid.bytes, successful=not error, error=error) for uid in ids
        ]
        failed = len(ids) if error else 0
        return batch_delete_pb2.BatchDeleteReply(
            matches=len(ids), failed=failed, successful=len(ids) - failed, objects=objects
        )

    def _tenants_get(self, request: Any) -> tenants_pb2.TenantsGetReply:
        hot = tenants_pb2.TENANT_ACTIVITY_STATUS_HOT
        names = self._stub.find(request.collection).tenants
        return tenants_pb2.TenantsGetReply(
            tenants=[tenants_pb2.Tenant(name=name, activity_status=hot) for name in list(names)]
        )

    def _aggregate(self, request: Any) -> aggregate_pb2.AggregateReply:
        count = len(self._stub.find(request.collection).tenant(request.tenant))
        return aggregate_pb2.AggregateReply(
            single_result=aggregate_pb2.AggregateReply.Single(objects_count=count if request.objects_count else 0)
        )


def _check_level(request: Any) -> None:
    if request.consistency_level == base_pb2.CONSISTENCY_LEVEL_UNSPECIFIED:
        raise Refused("the stub is always told the consistency level")


def _check_search(request: Any, filters: Any) -> None:
    _check_level(request)
    if not 0 < request.limit <= MAX_RESULTS:
        raise Refused("query maximum results exceeded")
    if request.after and (filters or request.HasField("near_vector") or request.HasField("bm25_search")):
        raise Refused("invalid params: after cannot be used with filters or searches")
    if not (request.uses_123_api and request.uses_125_api and request.uses_127_api):
        raise Refused("the client is too old")


def _query_vector(near: Any) -> Any:
    if list(near.targets.target_vectors) != ["dense"]:
        raise Refused(f"the class has the vector 'dense', not {list(near.targets.target_vectors)}")
    return np.frombuffer(near.vector_bytes or near.vectors[0].vector_bytes, "<f4")


def _properties(sent: Any) -> dict[str, Any]:
    found: dict[str, Any] = {name: sent.non_ref_properties[name] for name in sent.non_ref_properties}
    found |= {each.prop_name: list(each.values) for each in sent.text_array_properties}
    return found | {name: [] for name in sent.empty_list_props}


def _result(request: Any, tenant: Tenant, uid: UUID, scores: dict[str, float]) -> search_get_pb2.SearchResult:
    metadata = search_get_pb2.MetadataResult(id=str(uid), id_as_bytes=uid.bytes)
    for name, value in scores.items():
        if getattr(request.metadata, name):
            setattr(metadata, name, value)
            setattr(metadata, f"{name}_present", True)
    for name in request.metadata.vectors:
        kind = base_pb2.Vectors.VECTOR_TYPE_SINGLE_FP32
        raw = tenant.vector(uid).astype("<f4").tobytes()
        metadata.vectors.append(base_pb2.Vectors(name=name, vector_bytes=raw, type=kind))
    held = tenant.properties(uid)
    fields = {
        name: properties_pb2.Value(text_value=held[name])
        for name in request.properties.non_ref_properties
        if name in held
    }
    properties = search_get_pb2.PropertiesResult(non_ref_props=properties_pb2.Properties(fields=fields))
    return search_get_pb2.SearchResult(properties=properties, metadata=metadata)
