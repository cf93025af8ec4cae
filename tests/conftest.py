"""Settings for every test."""

from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does; it says nothing of the code.
settings.register_profile(
    "wsrelay", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("wsrelay")
