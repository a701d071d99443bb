"""Text between marks on a page: what a command writes there stays beside what people wrote."""

import re
from pathlib import Path


def write_block(page: Path, name: str, text: str, made_by: str = "make proofs") -> None:
    """Put `text` between the marks of block `name`; ValueError where the page has none."""
    old = page.read_text()
    begin, end = f"<!-- begin {name}: made by `{made_by}` -->", f"<!-- end {name} -->"
    block = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not block.search(old):
        raise ValueError(f"{page} has no block {name}")
    page.write_text(block.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", old))
