"""What holds for all tests."""

from hypothesis import settings

# No example is judged by how long it takes: a machine may have other things to do.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
