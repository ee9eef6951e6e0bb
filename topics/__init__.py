"""The wire contract: topics, records and their codecs. Imports nothing of the detector."""
