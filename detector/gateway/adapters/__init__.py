"""The client inside other people's gateways; each adapter brings the library that it adapts to."""
