"""The page for people says what the document says, and fetches nothing."""

from html.parser import HTMLParser

from shieldx.sidecar import docs, openapi
from shieldx.sidecar.calls import CALLS

PAGE = docs.page(openapi.document()).decode()


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(str(value))
            if name in {"href", "src"}:
                self.links.add(str(value))


def parsed() -> Links:
    links = Links()
    links.feed(PAGE)
    return links


def test_every_call_has_its_place() -> None:
    assert {call.name for call in CALLS} <= parsed().ids


def test_links_lead_to_places_of_the_page_itself() -> None:
    found = parsed()

    assert found.links - {"openapi.json"} == {f"#{one}" for one in found.ids} & found.links
    assert not found.tags & {"script", "img", "link", "iframe"}


def test_what_looks_like_markup_is_shown_as_text() -> None:
    document = openapi.document().replace(b"Open an account", b"Open <script>")

    assert "<script>" not in docs.page(document).decode()
