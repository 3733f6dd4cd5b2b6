"""What a party can do by the pickles it sends: nothing but give data."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from agent.launchers.unpickling import PlainPickle


class Sent:
    """Pickles as a call of the callable by this name, and perhaps a state for what comes of it."""

    def __init__(self, named: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self._parts = (named, arguments) if state is None else (named, arguments, state)

    def __reduce__(self) -> Any:
        return self._parts


def sent(*parts: Any, state: Any = None) -> bytes:
    return pickle.dumps(Sent(*parts, state=state))


def named(module: str, name: str) -> bytes:
    """A message that is the bare thing of this name."""
    return (
        b"\x80\x04\x8c"
        + bytes([len(module)])
        + module.encode()
        + (b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93.")
    )


def create(*arguments: Any, state: Any = None) -> bytes:
    from mpyc.finfields import PrimeFieldElement

    return sent(PrimeFieldElement.createGF, *arguments, state=state)


def test_field_elements_pass() -> None:
    from mpyc.finfields import GF

    element = GF(101)(7)
    assert PlainPickle.loads(pickle.dumps([element, "text", {"n": None}])) == [
        element,
        "text",
        {"n": None},
    ]


def test_nothing_by_which_a_message_names_things_can_be_changed_by_it() -> None:
    function = named("mpyc.finfields", "PrimeFieldElement.createGF")[:-1]
    for state in ({"__name__": "x"}, (None, {"__defaults__": (1,)}), (None, {"__doc__": "x"})):
        pushed = pickle.dumps(state, protocol=3)[2:-1]
        with pytest.raises((pickle.UnpicklingError, AttributeError)):
            PlainPickle.loads(function + pushed + b"b.")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("mpyc.finfields", "os.system"),
        ("mpyc.finfields", "PrimeFieldElement.createGF.__globals__"),
        ("numpy", "ndarray.__new__"),
        ("numpy", "load"),
    ],
)
def test_no_other_name_is_found(module: str, name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match="more than data"):
        PlainPickle.loads(named(module, name))


def test_arrays_of_whole_numbers_pass() -> None:
    numpy = pytest.importorskip("numpy")
    for values in ([1 << 70, -2], [1, 2, 3], [0.5], [True]):
        array = numpy.array(values)
        read = PlainPickle.loads(pickle.dumps(array))
        assert read.dtype == array.dtype
        assert read.tolist() == values


def test_an_array_over_foreign_bytes_is_refused() -> None:
    """Called objects, the bytes would be taken for addresses of objects."""
    numpy = pytest.importorskip("numpy")
    with pytest.raises(pickle.UnpicklingError, match="more than data"):
        PlainPickle.loads(sent(numpy.ndarray, (1,), "O", b"AAAAAAAA"))


def test_a_type_cannot_hide_that_it_holds_objects() -> None:
    numpy = pytest.importorskip("numpy")
    state: Any = (4, "|", None, ("f",), {"f": (numpy.dtype("O"), 0)}, 8, 8, 0, {})
    with pytest.raises(pickle.UnpicklingError, match="more than data"):
        PlainPickle.loads(sent(numpy.dtype, "V8", False, True, state=state))
    read = PlainPickle.loads(sent(numpy.dtype, "i8", False, True, state=state))
    assert read == numpy.dtype("i8")
    assert read.names is None


def test_objects_of_an_array_come_as_data_and_never_as_bytes() -> None:
    numpy = pytest.importorskip("numpy")
    empty = numpy._core.multiarray._reconstruct
    state = (1, (1,), numpy.dtype("O"), False, b"AAAAAAAA")
    with pytest.raises(TypeError):
        PlainPickle.loads(sent(empty, numpy.ndarray, (0,), b"b", state=state))


def test_a_number_of_a_plain_type_passes_and_an_object_does_not() -> None:
    numpy = pytest.importorskip("numpy")
    numbers = (numpy.int64(-5), numpy.float64(0.5), numpy.uint8(7))
    for number in numbers:
        assert PlainPickle.loads(pickle.dumps(number)) == number

    class Place:
        def __reduce__(self) -> Any:
            return numpy._core.multiarray.scalar, (numpy.dtype("O8"), b"\1" * 8)

    class Short:
        def __reduce__(self) -> Any:
            return numpy._core.multiarray.scalar, (numpy.dtype("i8"), b"\1" * 4)

    for hostile in (Place(), Short()):
        with pytest.raises(pickle.UnpicklingError, match="a scalar of no plain type"):
            PlainPickle.loads(pickle.dumps(hostile))
