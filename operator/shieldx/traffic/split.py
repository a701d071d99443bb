"""How many challenger pods give it a share of the traffic; pure integers.

Behind a Service every ready pod gets the same share, so of n champion pods and k challenger pods
the challenger has the weight k / (n + k): the next such weight at or above the asked one is used.
"""


def challenger_replicas(champion: int, weight: int, *, most: int) -> int:
    """Return the fewest challenger pods that have `weight` percent beside `champion` pods.

    `most` caps them; the weight is then less than asked for. Without champion pods there is
    nothing to share, so there are no challenger pods.
    """
    if not 0 <= weight < 100:  # noqa: PLR2004 - percent.
        raise ValueError(f"a weight is from 0 to 99 percent, got {weight}")
    return min(-(-champion * weight // (100 - weight)), most)


def actual_weight(champion: int, challenger: int) -> int:
    """Return the percentage of ready pods that are the challenger's, rounded."""
    pods = champion + challenger
    return 0 if pods == 0 else round(100 * challenger / pods)
