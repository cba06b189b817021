"""int8 models: made once, reproducible to the byte, near their float originals."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import MissingExtra, ModelUnsupported
from embedhouse.models import quantised as quantised_module
from embedhouse.models.golden import golden_texts
from embedhouse.models.local import LocalModelSettings, open_local_model
from embedhouse.models.quantise import calibration_texts
from embedhouse.models.quantised import quantised_file
from embedhouse.models.store import ModelFiles, ModelStore

TINY = Path(__file__).parent.parent / "golden" / "data" / "tiny" / "bert-cls-dense"

needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="the extra int8 is not installed")


@pytest.fixture
def tiny(tmp_path: Path) -> ModelFiles:
    return ModelStore(tmp_path, offline=True).get(str(TINY))


def _hashes(file: Path) -> list[str]:
    return [hashlib.sha256(file.with_suffix(ending).read_bytes()).hexdigest() for ending in (".xml", ".bin")]


def _vectors(folder: Path, texts: list[str], quantised: Path | None) -> np.ndarray:
    settings = LocalModelSettings(name="m", precision="int8" if quantised else "f32", quantised_file=quantised)
    embedder = open_local_model(folder, settings)
    vectors = embedder.embed(texts, role="document", deadline=Deadline.never()).vectors
    embedder.close()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@needs_nncf
def test_quantised_file_is_the_same_to_the_byte_whoever_makes_it(tmp_path: Path, tiny: ModelFiles) -> None:
    first = quantised_file(tiny, tmp_path / "a")
    said: list[tuple[str, int | None]] = []
    second = quantised_file(tiny, tmp_path / "b", progress=lambda what, done, total: said.append((what, total)))
    assert said == [(f"Quantising {tiny.name} to int8: once, and about a minute", None)]
    assert _hashes(first) == _hashes(second)
    assert first.parent.name.startswith(f"int8-{tiny.content_sha256[:12]}-nncf")
    assert sorted(path.name for path in first.parent.iterdir()) == ["manifest.json", "model.bin", "model.xml"]
    cosines = (_vectors(TINY, golden_texts()[::20], first) * _vectors(TINY, golden_texts()[::20], None)).sum(axis=1)
    assert cosines.mean() > 0.98


def _stand_in(model: ModelFiles, into: Path, progress: object) -> None:
    (into / "model.xml").write_text("<net/>")
    (into / "model.bin").write_bytes(b"weights")


def test_quantised_file_damaged_is_made_again(
    tmp_path: Path, tiny: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised_module, "_run", _stand_in)
    monkeypatch.setattr(quantised_module, "version", lambda name: "1.0")
    made = quantised_file(tiny, tmp_path)
    made.with_suffix(".bin").write_bytes(b"short")
    assert quantised_file(tiny, tmp_path) == made
    assert made.with_suffix(".bin").read_bytes() == b"weights"


def test_quantised_file_survives_an_upgrade_of_what_made_it(
    tmp_path: Path, tiny: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised_module, "_run", _stand_in)
    monkeypatch.setattr(quantised_module, "version", lambda name: "1.0")
    made = quantised_file(tiny, tmp_path)
    monkeypatch.setattr(quantised_module, "version", lambda name: "2.0")
    assert quantised_file(tiny, tmp_path) == made


def test_quantised_file_of_changed_content_is_another(
    tmp_path: Path, tiny: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised_module, "_run", _stand_in)
    monkeypatch.setattr(quantised_module, "version", lambda name: "1.0")
    changed = tmp_path / "changed"
    shutil.copytree(TINY, changed)
    (changed / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    other = ModelStore(tmp_path, offline=True).get(str(changed))
    assert quantised_file(tiny, tmp_path / "a") != quantised_file(other, tmp_path / "a")


def test_quantised_file_without_the_extra_says_how_to_get_it(
    tmp_path: Path, tiny: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(quantised_module, "version", missing)
    with pytest.raises(MissingExtra, match=r"embedhouse\[int8\]"):
        quantised_file(tiny, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_quantised_file_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, tiny: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised_module, "version", lambda name: "1.0")
    broken = tmp_path / "broken"
    shutil.copytree(TINY, broken)
    model = ModelStore(tmp_path, offline=True).get(str(broken))
    (broken / "model.safetensors").unlink()
    with pytest.raises(ModelUnsupported, match=r"int8 could not be made of it: .*safetensors"):
        quantised_file(model, tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir() if path.is_dir()] == []


@needs_nncf
def test_quantise_never_reports_to_anyone() -> None:
    code = (
        "from embedhouse.models import quantise; quantise._import_nncf();"
        "from nncf.telemetry import wrapper;"
        "print(isinstance(wrapper.telemetry, wrapper.NNCFTelemetry))"
    )
    # In a process of its own: inside pytest NNCF would not report anyway.
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == "False"


def test_calibration_texts_are_many_and_of_all_lengths() -> None:
    texts = calibration_texts()
    assert texts == calibration_texts()
    assert len(texts) > 300
    assert len(set(texts)) == len(texts)
    assert min(map(len, texts)) < 10
    assert max(map(len, texts)) > 1000


@needs_nncf
@pytest.mark.model
def test_quantised_default_model_stays_near_float(tmp_path: Path, default_model_folder: Path) -> None:
    model = ModelStore(tmp_path, offline=True).get(str(default_model_folder))
    made = quantised_file(model, tmp_path / "a")
    texts = [text for text in golden_texts() if len(text) > 20][::5]
    quantised, plain = (_vectors(default_model_folder, texts, file) for file in (made, None))
    cosines = (quantised * plain).sum(axis=1)
    assert cosines.mean() > 0.995
