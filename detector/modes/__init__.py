"""Failure modes: what predicates mean together, the state machine of a scope, and one route's judgement. Pure."""
