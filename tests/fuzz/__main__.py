"""Starts the API on a throw-away Postgres and lets Schemathesis loose on it.

What is checked: no 5xx, and no status, content type, header or body that the document does not
promise. What is not: that requests without a token or with a used key are refused, since the
embedded API asks for no token and Schemathesis sends one key with many bodies.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from shieldx.ledger.embedded import EmbeddedPostgres
from tests.support.api import Service

SCHEMATHESIS: Final = "schemathesis==4.32.5"
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


async def main() -> int:
    """Return the exit code of Schemathesis."""
    with tempfile.TemporaryDirectory(prefix="shieldx-fuzz-") as folder:
        server = EmbeddedPostgres(Path(folder) / "data", settings={"fsync": "off"})
        async with server, Service(server.dsn) as service:
            service.process.api.feed.close()  # Nobody is to wait for events here.
            tool = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name("uv")),
                *("tool", "run", "--quiet", "--from", SCHEMATHESIS, "schemathesis", "run"),
                f"http://127.0.0.1:{service.port}/openapi.json",
                *("--phases", "coverage,fuzzing", "--max-examples", "15"),
                *("--request-timeout", "40", "--checks", ",".join(CHECKS)),
            )
            return await tool.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
