"""Providers of embeddings, one a file."""

import sys

# `import openvino` alone reports to an analytics server, unless this package cannot be imported: None makes it so.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
