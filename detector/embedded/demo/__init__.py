"""`detector demo`: the whole loop on an embedded broker with real traffic."""
