"""
Any bytes whatever, for everything that reads what strangers or operators write.

`tests.fuzz.targets` has a function for each kind of input, `corpus` what they have to pass in
each run of the tests, and ``python -m tests.fuzz`` (``make fuzz``) searches for more.
"""
