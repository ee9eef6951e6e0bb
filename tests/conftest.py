"""Fixtures for all tests; see tests/harness."""

from hypothesis import settings

pytest_plugins = ["tests.harness.plugin"]

# A shared machine makes single examples slow now and then; deadlines would test the machine.
settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")
