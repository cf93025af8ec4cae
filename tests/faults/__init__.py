"""
What is done to a relay and its neighbours here is what happens to them in the field.

Each test does one harm, while sessions that have nothing to do with it go on: they must lose
nothing.  When all is over, the relay must hold what it held before (`tests.faults.scene`).

With ``FAULTS_RECORD=docs/faults.json`` the figures of a run are written there, for
``docs/make_faults.py``.
"""
