"""Tells CFFI how to build `wsrelay.relay._native`; setup.py names it, nobody imports it."""

from pathlib import Path

from cffi import FFI

HERE = Path("wsrelay/relay/native")  # setuptools wants paths that start where setup.py is

ffibuilder = FFI()
ffibuilder.cdef((HERE / "api.h").read_text())
ffibuilder.cdef(
    """
    extern "Python" void control_received(void *, int, const uint8_t *, size_t);
    extern "Python" void violated(void *, int, enum ws_fault, uint64_t);
    extern "Python" void leg_lost(void *, int);
    extern "Python" void leg_slow(void *, int);
    """
)
ffibuilder.set_source(
    "wsrelay.relay._native",
    '#include "pump.h"',
    sources=sorted(str(path) for path in HERE.glob("*.c")),
    depends=sorted(str(path) for path in HERE.glob("*.h")),
    include_dirs=[str(HERE)],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
    optional=True,  # without a compiler the Python pump does the work
)
