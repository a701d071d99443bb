"""What a caller may do at all, in one word each: the scopes of the resource."""

from shieldx.resources.creditledger import Scope

__all__ = ["Scope"]
