from setuptools import setup

setup(cffi_modules=["wsrelay/relay/native_build.py:ffibuilder"])
