"""The Autobahn Testsuite through a relay and without one: ``make conformance``."""
