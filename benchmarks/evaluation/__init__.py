"""How often the detector is wrong, what it finds and how fast, beside other methods on the same data."""
