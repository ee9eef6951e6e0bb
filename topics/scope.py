"""Scopes: `route`, or `route@deployment` when only one deployment is at fault.

`%` and `@` inside either half are percent-encoded, so the last unencoded `@` always separates.

>>> scope_of("chat@eu", "gpu-1")
'chat%40eu@gpu-1'
>>> split_scope("chat%40eu@gpu-1")
('chat@eu', 'gpu-1')
"""


def _quote(text: str) -> str:
    return text.replace("%", "%25").replace("@", "%40")


def _unquote(text: str) -> str:
    return text.replace("%40", "@").replace("%25", "%")


def scope_of(route: str, deployment: str = "") -> str:
    """Name the scope of a route, or of one deployment of it."""
    return f"{_quote(route)}@{_quote(deployment)}" if deployment else _quote(route)


def split_scope(scope: str) -> tuple[str, str]:
    """Return (route, deployment); deployment is empty for the route's own scope."""
    route, _, deployment = scope.partition("@")
    return _unquote(route), _unquote(deployment)
