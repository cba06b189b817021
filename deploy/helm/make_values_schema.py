"""Writes the names of the settings into the chart's values.schema.json, so that a misspelt one is refused.

Run: python deploy/helm/make_values_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path

from embedhouse.settings import SECRETS, setting_names

PAGE = Path(__file__).with_name("embedhouse") / "values.schema.json"

OF_THE_CHART = {"home", "models_folder", "host", "port", "server_url"} | SECRETS | {"ledger_url", "redis_url"}
"""What the chart sets itself, and what holds secrets."""


def page() -> str:
    """The whole file."""
    schema = json.loads(PAGE.read_text(encoding="utf-8"))
    names = [name for name in setting_names() if name not in OF_THE_CHART]
    schema["properties"]["settings"]["propertyNames"]["enum"] = names
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
