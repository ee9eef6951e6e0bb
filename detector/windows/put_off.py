"""Many calls that wait, as arrays: eight bytes a call and column instead of a tuple of Python's objects.

Of a large batch the calls of each route are put together, one array for each column, and each route's inbox
is given a copy of its share.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from detector.windows.array_segment import Part
from detector.windows.arrays import TIME, Layout
from detector.windows.columns import Row, Table
from detector.windows.inbox import Inbox

WORTH_LAYING = 20  # calls of a route in a batch; fewer are put off faster one by one


def put_off(
    table: Table, offsets: Sequence[int], inboxes: Mapping[str, Inbox], layout: Layout
) -> dict[str, tuple[list[int], list[Row]]]:
    """Put the calls of a batch that may wait into the inboxes of their routes.

    Args:
        table: the batch.
        offsets: of its calls.
        inboxes: of all routes in it, and of no others.
        layout: of what is laid into them.

    Returns:
        By route, positions, ascending, and rows of all other calls; behind the first of them none has been
        put off.
    """
    left: defaultdict[str, tuple[list[int], list[Row]]] = defaultdict(lambda: ([], []))
    few = len(table) < WORTH_LAYING * len(inboxes)
    rest = range(len(table)) if few else _lay(table, offsets, inboxes, layout)
    for position, row in zip(rest, table.rows(rest), strict=True):
        inbox = inboxes[row[0]]
        if inbox.since <= row[1] < inbox.until:
            inbox.rows.append(row)
            inbox.offsets.append(offsets[position])
        else:
            inbox.until = -math.inf  # what follows comes after it
            positions, rows = left[row[0]]
            positions.append(position)
            rows.append(row)
    return left


def _lay(table: Table, offsets: Sequence[int], inboxes: Mapping[str, Inbox], layout: Layout) -> Sequence[int]:
    """Lay out the calls of every route all of whose calls may wait; return the positions of all others."""
    routes, codes = table.grouped()
    order = codes.argsort(kind="stable")
    ends = np.bincount(codes).cumsum()
    starts = np.concatenate(([0], ends[:-1]))
    times = table.array(TIME)[order]
    oldest, newest = np.minimum.reduceat(times, starts).tolist(), np.maximum.reduceat(times, starts).tolist()
    shares = list(
        zip(map(inboxes.__getitem__, routes), starts.tolist(), ends.tolist(), oldest, newest, strict=True)
    )
    fits = [
        end - start >= WORTH_LAYING and inbox.takes(first, last) for inbox, start, end, first, last in shares
    ]
    if not any(fits):
        return range(len(codes))
    laid = Part.of(table, offsets, layout).some(order)
    rest: list[int] = []
    for (inbox, start, end, _, _), fitting in zip(shares, fits, strict=True):
        if fitting:
            # Copied: a route that is quiet from here on must not keep the calls of all others alive.
            inbox.lay(laid.copy(start, end))
        else:
            rest += order[start:end].tolist()
    return rest
