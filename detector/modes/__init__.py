"""Failure modes: what predicates mean together, a scope's state machine, a route's judgement. Pure."""
