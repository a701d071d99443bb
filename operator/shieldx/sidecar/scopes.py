"""What a caller may do at all, in one word each."""

from enum import StrEnum


class Scope(StrEnum):
    """What a caller may do at all."""

    READ = "read"
    WRITE = "write"
    ISSUE = "issue"
    ADMIN = "admin"
