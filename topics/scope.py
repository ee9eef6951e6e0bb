"""Scopes: `route`, or `route@deployment` when only one deployment is at fault.

`%` and `@` inside either half are percent-encoded, so an unencoded `@` always separates. A route called
`owner/...` has its first letter encoded too: as a message key it would be mistaken for a partition's owner.

>>> scope_of("chat@eu", "gpu-1")
'chat%40eu@gpu-1'
>>> split_scope("chat%40eu@gpu-1")
('chat@eu', 'gpu-1')
"""

_OWNER = "owner/"


def _quote(text: str) -> str:
    return text.replace("%", "%25").replace("@", "%40")


def _unquote(text: str) -> str:
    return text.replace("%6F", "o").replace("%40", "@").replace("%25", "%")


def scope_of(route: str, deployment: str = "") -> str:
    """Name the scope of a route, or of one deployment of it."""
    quoted = _quote(route)
    if quoted.startswith(_OWNER):
        quoted = "%6F" + quoted[1:]
    return f"{quoted}@{_quote(deployment)}" if deployment else quoted


def split_scope(scope: str) -> tuple[str, str]:
    """Return (route, deployment); deployment is empty for the route's own scope."""
    route, _, deployment = scope.partition("@")
    return _unquote(route), _unquote(deployment)
