"""The `detector` command: one module per verb, which imports what it needs only when it runs."""
