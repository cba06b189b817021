"""`python fake_shell.py ...` is `embedhouse ...` on a model that is a hash function, with everything else real."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fake_house import HashEmbedder

from embedhouse.cli import main
from embedhouse.domain.models import ModelChoice
from embedhouse.wiring.model_pool import ModelPool


def _hash_embedder(_pool: ModelPool, _choice: ModelChoice) -> HashEmbedder:
    return HashEmbedder()


if __name__ == "__main__":
    ModelPool._opened = _hash_embedder
    main()
