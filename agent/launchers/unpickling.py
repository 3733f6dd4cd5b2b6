"""Pickled messages between parties, read without running what they say.

MPyC (at the end of every run, and for arrays) and Cicada (always) unpickle what other parties send:
whoever is a party could run code inside ours, which holds the private input. Plain data needs no
names; the few that the frameworks' own messages have are listed here, all others are refused.

A name stands for a maker of ours that makes that data and nothing else. NumPy's own objects behind
these names do more: an array over foreign bytes that are called objects, or a type whose state says
that they are none, reads memory wherever the bytes point.
"""

import importlib
import io
import pickle
import re
from typing import Any, Final

_PLAIN_TYPE: Final = re.compile(r"O8|b1|[iu][1248]|f[248]|c8|c16")


class PlainPickle:
    """Takes the place of the `pickle` module: the same `dumps`, a `loads` that trusts nobody."""

    dumps = staticmethod(pickle.dumps)

    @staticmethod
    def loads(data: bytes) -> Any:
        return _Unpickler(io.BytesIO(data)).load()


class _Maker:
    """What a name stands for; without slots to fill, nothing a message says can change it."""

    __slots__ = ()

    def __call__(self, *_arguments: Any) -> Any:
        raise pickle.UnpicklingError("a party sent more than data: what is only a name is called")


class _PrimeFieldElement(_Maker):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        return importlib.import_module("mpyc.finfields").PrimeFieldElement.createGF(*arguments)


class _ExtensionFieldElement(_Maker):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        return importlib.import_module("mpyc.finfields").ExtensionFieldElement.createGF(*arguments)


class _EmptyArray(_Maker):
    """Of NumPy's own class, to be filled from the message; `ndarray` checks what it is told."""

    __slots__ = ()

    def __call__(self, *_arguments: Any) -> Any:
        return importlib.import_module("numpy").empty((0,), "b1")


class _PlainType(_Maker):
    """NumPy's one object for a built-in type, whose state cannot be set; never a copy of it."""

    __slots__ = ()

    def __call__(self, name: Any, *_arguments: Any) -> Any:
        if not isinstance(name, str) or not _PLAIN_TYPE.fullmatch(name):
            raise pickle.UnpicklingError("a party sent more than data: an array of no plain type")
        return importlib.import_module("numpy").dtype(name)


class _Scalar(_Maker):
    """One number of a plain type, from its bytes; never an object, whose bytes would be a place."""

    __slots__ = ()

    def __call__(self, kind: Any, data: Any, *_arguments: Any) -> Any:
        numpy = importlib.import_module("numpy")
        plain = isinstance(kind, numpy.dtype) and kind.kind in "biufc"
        if not plain or not isinstance(data, bytes) or len(data) != kind.itemsize:
            raise pickle.UnpicklingError("a party sent more than data: a scalar of no plain type")
        return numpy.frombuffer(data, kind)[0]


_ALLOWED: Final = {
    ("mpyc.finfields", "PrimeFieldElement.createGF"): _PrimeFieldElement(),
    ("mpyc.finfields", "ExtensionFieldElement.createGF"): _ExtensionFieldElement(),
    ("numpy", "dtype"): _PlainType(),
    ("numpy", "ndarray"): _Maker(),
    ("numpy._core.multiarray", "scalar"): _Scalar(),
    ("numpy.core.multiarray", "scalar"): _Scalar(),
    ("numpy._core.multiarray", "_reconstruct"): _EmptyArray(),
    ("numpy.core.multiarray", "_reconstruct"): _EmptyArray(),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"a party sent more than data: {module}.{name}")
        return _ALLOWED[module, name]
