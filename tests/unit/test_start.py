"""What a command loads before it knows that it needs it."""

import subprocess
import sys

HEAVY = ("openvino", "httpx", "litestar", "torch", "nncf", "rich.progress")


def test_house_starts_without_a_runtime_for_models_or_a_client_for_http() -> None:
    code = f"import embedhouse.wiring, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
