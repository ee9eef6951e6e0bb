"""Scopes name a route or one deployment of it, whatever characters these have."""

from hypothesis import given
from hypothesis import strategies as st

from topics.scope import scope_of, split_scope

PIECES = st.sampled_from(["%", "@", "%40", "%25", "%2540", "a", "/", "ü"])
NAMES = st.lists(PIECES, min_size=1, max_size=5).map("".join) | st.text(min_size=1)


@given(route=NAMES, deployment=st.just("") | NAMES)
def test_quoting_is_undone_by_splitting(route, deployment):
    """split_scope(scope_of(route, deployment)) == (route, deployment)."""
    assert split_scope(scope_of(route, deployment)) == (route, deployment)


@given(one=st.tuples(NAMES, st.just("") | NAMES), other=st.tuples(NAMES, st.just("") | NAMES))
def test_no_two_scopes_share_a_name(one, other):
    """Different routes or deployments have different scopes."""
    assert (scope_of(*one) == scope_of(*other)) == (one == other)


@given(rest=st.text(max_size=20))
def test_no_scope_can_be_mistaken_for_an_owner(rest):
    """A route called owner/... has a scope of its own that is no owner's key, and comes back as it was."""
    scope = scope_of(f"owner/{rest}")

    assert not scope.startswith("owner/")
    assert split_scope(scope) == (f"owner/{rest}", "")
