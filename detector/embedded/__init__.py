"""A broker for demos: see `broker.EmbeddedBroker` for what it can do and what it cannot."""
