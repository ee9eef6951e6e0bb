"""What identifies a contract's content: a hash that neither comments nor formatting change."""

import json
from hashlib import sha256

from detector.contract.nodes import Listing, Mapping, Node, Scalar

DIGEST_LENGTH = 16  # hex digits


def digest(root: Mapping) -> str:
    """First 16 hex digits of the SHA-256 of the content as canonical JSON.

    The order of keys counts only under `modes`, where it is precedence. A number counts by its value:
    15, 15.0 and 1.5e1 are one. Defaults are not filled in: what is not written has no part in it.
    """
    content = {key: _canonical(node) for key, (_, node) in root.entries.items()}
    modes = root.entries.get("modes")
    if modes is not None and isinstance(modes[1], Mapping):
        content["modes"] = [[name, _canonical(node)] for name, (_, node) in modes[1].entries.items()]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256(text.encode("ascii")).hexdigest()[:DIGEST_LENGTH]


def _canonical(node: Node) -> object:
    if isinstance(node, Scalar):
        whole = isinstance(node.value, float) and node.value.is_integer()
        return int(node.value) if whole and node.value is not None else node.value
    if isinstance(node, Listing):
        return [_canonical(item) for item in node.items]
    return {key: _canonical(value) for key, (_, value) in node.entries.items()}
