"""Every test here reads from a real Prometheus that scrapes real targets."""

from tests.support.prometheus import prometheus

__all__ = ["prometheus"]
