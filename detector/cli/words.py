"""Where a scope's calls go, in words: "inactive" would read like an outage to whoever is woken up by it."""

from collections.abc import Mapping, Sequence


def whereabouts(deployment: str, state: str, fallbacks: Mapping[str, Sequence[str]]) -> str:
    """What the calls of a scope are on, to be read after its name.

    Args:
        deployment: empty for a route's own scope.
        state: `active` or `inactive`.
        fallbacks: input class -> names, as in the control record.

    >>> whereabouts("", "active", {"*": ["secondary", "rule"]})
    'on its fallbacks (secondary, rule)'
    >>> whereabouts("", "inactive", {})
    'on its primary'
    >>> whereabouts("eu-1", "active", {}), whereabouts("eu-1", "inactive", {})
    ('avoided for its siblings', 'used like its siblings')
    """
    if deployment:
        return "avoided for its siblings" if state == "active" else "used like its siblings"
    if state != "active":
        return "on its primary"
    return f"on its fallbacks ({named})" if (named := names_of(fallbacks)) else "on its fallbacks"


def names_of(fallbacks: Mapping[str, Sequence[str]]) -> str:
    """Fallbacks in their order; by input class only where classes differ.

    >>> names_of({"high_risk": ["rule"], "*": ["secondary", "rule"]})
    'high_risk: rule; *: secondary, rule'
    >>> names_of({"high_risk": ["rule"], "*": ["rule"]})
    'rule'
    """
    lists = {name: ", ".join(names) for name, names in fallbacks.items()}
    if len(set(lists.values())) == 1:
        return next(iter(lists.values()))
    return "; ".join(f"{name}: {names}" for name, names in lists.items())


def judged_meanwhile(deployment: str, modes: Sequence[str], *, lapsed: bool = False) -> str:
    """What is judged of a scope that an order keeps on its primary; `lapsed`: nobody judges it any more."""
    found = f"{', '.join(modes)} in breach"
    if lapsed:
        return f"judged when it was last watched: {found}"
    return f"judged meanwhile: {found}; without the order it would be {whereabouts(deployment, 'active', {})}"
