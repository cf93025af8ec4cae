"""What CFFI makes of ``native/api.h``; the types are C's, so Python sees anything."""

from typing import Any

ffi: Any
lib: Any
