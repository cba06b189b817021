"""One form of requests for servers of version 8 and 9."""

from __future__ import annotations

from typing import Any

from elastic_transport import HttpHeaders, Urllib3HttpNode
from elastic_transport.client_utils import DEFAULT, DefaultType

__all__ = ["Form8Node"]


class Form8Node(Urllib3HttpNode):
    """Servers of version 8 refuse what the client of version 9 sends; those of version 9 take both forms."""

    def perform_request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: DefaultType | float | None = DEFAULT,
    ) -> Any:
        """As the client's own, in form 8."""
        older: Any = HttpHeaders(
            {
                name: value.replace("compatible-with=9", "compatible-with=8")
                for name, value in (headers or {}).items()
            }
        )
        return super().perform_request(method, target, body, older, request_timeout)
