"""A packed program from somewhere else is checked number by number: whatever is wrong is an error that says so."""

from __future__ import annotations

import ctypes
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
from programs import (
    INT8,
    Grid,
    attention_program,
    chain,
    encoder_layer,
    f32,
    gated_layer,
    linear_program,
    op_model,
    relative_program,
    scales,
    weights,
)

from optkit.errors import OptkitError
from optkit.ir.io import import_openvino
from optkit.runtime.packing import encode, pack
from optkit.runtime.program import (
    Activation,
    Add,
    Affine,
    Attention,
    FakeQuantize,
    Kernel,
    LayerNorm,
    Linear,
    PackedWeights,
    Program,
    Quantization,
    RMSNorm,
    Rotary,
)

pytestmark = pytest.mark.usefixtures("extension")
NONE = 0xFFFFFFFF
HEADER, STEP, SECTION = 64, 96, 16
#: Places within a step.
KIND, SOURCES, TARGET, INTEGERS, FLOATS, SECTIONS = 0, 4, 20, 24, 48, 64
NAN, INF = float("nan"), float("inf")


class Blob:
    """The bytes of a program, whose fields can be written over. The layout is told in optkit/runtime/packing.py."""

    def __init__(self, program: Program):
        self.bytes = bytearray(encode(program))
        self.values, self.steps, self.sections, self.inputs, self.outputs = struct.unpack_from("<5I", self.bytes, 12)
        self.tables = HEADER + 4 * (self.values + self.inputs + self.outputs)
        self.section_table = self.tables + STEP * self.steps

    def u32(self, at: int, *numbers: int) -> Blob:
        struct.pack_into(f"<{len(numbers)}I", self.bytes, at, *numbers)
        return self

    def u64(self, at: int, number: int) -> Blob:
        struct.pack_into("<Q", self.bytes, at, number)
        return self

    def f32(self, at: int, number: float) -> Blob:
        struct.pack_into("<f", self.bytes, at, number)
        return self

    def step(self, number: int, field: int, index: int = 0) -> int:
        return self.tables + STEP * number + field + 4 * index

    def entry(self, section: int) -> int:
        return self.section_table + SECTION * section

    def data(self, step: int, index: int) -> int:
        """Where the section begins that a step names ``index``-th."""
        (section,) = struct.unpack_from("<I", self.bytes, self.step(step, SECTIONS, index))
        return struct.unpack_from("<Q", self.bytes, self.entry(section))[0]


@pytest.fixture(scope="module")
def validate(extension):
    """optkit_validate: the message, or None for a valid program."""
    import_openvino()
    library = ctypes.CDLL(str(extension.extension_path()))
    library.optkit_validate.restype = ctypes.c_char_p
    library.optkit_validate.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

    def call(packed: bytes) -> str | None:
        memory = (ctypes.c_uint64 * (len(packed) // 8 + 1)).from_buffer_copy(bytes(packed) + bytes(8))
        message = library.optkit_validate(memory, len(packed))
        return None if message is None else message.decode()

    return call


def layer(kernel=INT8[0], *, single=False, dynamic=False, factors=False) -> dict:
    rng = np.random.default_rng(1)
    packed = weights(rng, (21, 10), kernel, 0.6, single=single)
    quantization = None if single else Quantization(None, None) if dynamic else Grid().quantization
    if factors:
        quantization = Quantization(-1.0, 1.0, f32(rng, 10))
    return {"weights": packed, "scales": scales(rng, packed), "bias": f32(rng, 21), "quantization": quantization}


def linear(**options) -> Blob:
    return Blob(linear_program([layer(**options)], 10))


def steps() -> Blob:
    """0: activation, 1: affine, 2: FakeQuantize, 3: LayerNorm, 4: add; values 0 .. 5 of 6 features."""
    numbers = f32(np.random.default_rng(2), 6)
    return Blob(
        chain(
            6,
            lambda s, t: Activation(s, t, "relu"),
            lambda s, t: Affine(s, t, numbers, None),
            lambda s, t: FakeQuantize(s, t, -1.0, 1.0),
            lambda s, t: LayerNorm(s, t, None, numbers, 1e-5),
            lambda s, t: Add(s, 1, t),
        )
    )


def attention() -> Blob:
    """Values 0, 1, 2: query, key, value; 3: target; 4: mask."""
    return Blob(attention_program(2, 3, mask=True))


def by_heads() -> Blob:
    """0: RMSNorm, 1: rotation, 2: attention of 2 heads that share one; values: 12 features, two tables of 6, 6 of a key,
    the steps' targets."""
    program = Program([12, 6, 6, 6, 12, 12, 12], [0, 1, 2, 3], [6])
    gamma = f32(np.random.default_rng(3), 12)
    program.steps = [
        RMSNorm(0, 4, gamma, 1e-6, 2),
        Rotary(4, 1, 2, 5, 2, False),
        Attention(5, 3, 3, None, 6, 2, 0.5, 1),
    ]
    return Blob(program)


def relative_of_other_features() -> Blob:
    """The first content of ``relative`` has one feature a head, and the attention three."""
    program = relative_program(2, 3)
    program.inputs.append(program.value(2))
    program.steps[0] = replace(program.steps[0], content=program.inputs[-1])
    return Blob(program)


def relative() -> Blob:
    """0, 1: relative positions of query and key; 2, 3: sums; 4: attention. Values 0, 1, 2: query, key, value; 3: target;
    4, 5, 6: table, places, what they add; 7, 8, 9: those of keys; 10: the sum of both; 11: a mask; 12: the sum of all."""
    return Blob(relative_program(2, 3))


def two_widths() -> Blob:
    """Values 0 and 1 of 10 features, 2 and 3 of 21; a linear step between two activations."""
    return Blob(
        chain(
            10,
            lambda s, t: Activation(s, t, "relu"),
            (21, lambda s, t: Linear(s, t, **layer())),
            lambda s, t: Activation(s, t, "tanh"),
        )
    )


DAMAGE = {
    "empty": (lambda: b"", "shorter than its header"),
    "half a header": (lambda: steps().bytes[:40], "shorter than its header"),
    "other letters": (lambda: b"OPTKPROF" + steps().bytes[8:], "does not begin with OPTKPROG"),
    "newer format": (lambda: steps().u32(8, 2), "has format 2.*bake it again"),
    "no format": (lambda: steps().u32(8, 0), "has format 0"),
    "many values": (lambda: steps().u32(12, 1 << 30), "a count is out of range"),
    "most values": (lambda: steps().u32(12, NONE), "a count is out of range"),
    "more values than fit": (lambda: steps().u32(12, 2000), "tables do not fit"),
    "more steps than fit": (lambda: steps().u32(16, 100), "tables do not fit"),
    "more sections than fit": (lambda: steps().u32(20, 10_000), "tables do not fit"),
    "no steps": (lambda: steps().u32(16, 0), "no step"),
    "no inputs": (lambda: steps().u32(24, 0, 2), "no input"),
    "no outputs": (lambda: steps().u32(24, 2, 0), "given twice|no output"),
    "cut": (lambda: linear().bytes[:-1], "length is not what its header says"),
    "longer": (lambda: linear().bytes + b"\0", "length is not what its header says"),
    "cut, and says so": (lambda: Blob.u64(b := linear(), 32, len(b.bytes) - 64).bytes[:-64], "a section lies outside"),
    "length 2^63": (lambda: steps().u64(32, 1 << 63), "length is not what its header says"),
    "features beyond all models": (lambda: steps().u32(HEADER, 1 << 30), "too many features"),
    "features beyond all memory": (lambda: steps().u32(HEADER, *[1 << 24] * 5), "its values have too many features"),
    "no features": (lambda: steps().u32(HEADER, 0), "first input is a mask"),
    "other features": (lambda: steps().u32(HEADER + 4, 7), "changes the number of features"),
    "input beyond values": (lambda: steps().u32(HEADER + 24, 6), "an input is no value"),
    "input 2^32 - 1": (lambda: steps().u32(HEADER + 24, NONE), "an input is no value"),
    "input that is computed": (lambda: steps().u32(HEADER + 24, 5), "before it is computed|already there"),
    "input given twice": (lambda: attention().u32(HEADER + 20, 0, 0), "given twice"),
    "output beyond values": (lambda: steps().u32(HEADER + 28, 6), "an output is never computed"),
    "output that is an input": (lambda: steps().u32(HEADER + 28, 0), "an output is never computed"),
    "output that is a mask": (lambda: attention().u32(HEADER + 36, 4), "an output is never computed"),
    "kind 0": (lambda: (b := steps()).u32(b.step(0, KIND), 0), "unknown kind"),
    "kind 13": (lambda: (b := steps()).u32(b.step(0, KIND), 13), "unknown kind"),
    "kind 11 for tokens": (lambda: (b := steps()).u32(b.step(0, KIND), 11), "added to scores has features"),
    "source later computed": (lambda: (b := steps()).u32(b.step(0, SOURCES), 3), "before it is computed"),
    "source beyond values": (lambda: (b := steps()).u32(b.step(1, SOURCES), 6), "before it is computed"),
    "no source": (lambda: (b := steps()).u32(b.step(1, SOURCES), NONE), "before it is computed"),
    "source is its target": (lambda: (b := steps()).u32(b.step(1, SOURCES), 2), "before it is computed"),
    "no right summand": (lambda: (b := steps()).u32(b.step(4, SOURCES, 1), NONE), "before it is computed"),
    "source is a mask": (lambda: (b := attention()).u32(b.step(0, SOURCES), 4), "computes with a mask"),
    "value is a mask": (lambda: (b := attention()).u32(b.step(0, SOURCES, 2), 4), "computes with a mask"),
    "mask is a value": (lambda: (b := attention()).u32(b.step(0, SOURCES, 3), 0), "a mask is no mask"),
    "mask beyond values": (lambda: (b := attention()).u32(b.step(0, SOURCES, 3), 5), "a mask is no mask"),
    "target computed before": (lambda: (b := steps()).u32(b.step(1, TARGET), 1), "already there"),
    "target is an input": (lambda: (b := steps()).u32(b.step(1, TARGET), 0), "already there"),
    "target beyond values": (lambda: (b := steps()).u32(b.step(1, TARGET), 6), "already there"),
    "no target": (lambda: (b := steps()).u32(b.step(1, TARGET), NONE), "already there"),
    "target is a mask": (lambda: (b := attention()).u32(b.step(0, TARGET), 4), "already there|computes a mask"),
    "activation 0": (lambda: (b := steps()).u32(b.step(0, INTEGERS), 0), "activation is unknown"),
    "activation 7": (lambda: (b := steps()).u32(b.step(0, INTEGERS), 7), "activation is unknown"),
    "levels 1": (lambda: (b := steps()).u32(b.step(2, INTEGERS), 1), "too few or too many levels"),
    "range upside down": (lambda: (b := steps()).f32(b.step(2, FLOATS), 2.0), "a range is empty"),
    "range empty": (lambda: (b := steps()).f32(b.step(2, FLOATS), 1.0), "a range is empty"),
    "range not a number": (lambda: (b := steps()).f32(b.step(2, FLOATS), NAN), "not finite"),
    "range infinite": (lambda: (b := steps()).f32(b.step(2, FLOATS, 1), INF), "not finite"),
    "range too wide for float32": (
        lambda: (b := steps()).f32(b.step(2, FLOATS), -3e38).f32(b.step(2, FLOATS, 1), 3e38),
        "range",
    ),
    "epsilon not a number": (lambda: (b := steps()).f32(b.step(3, FLOATS), NAN), "not finite"),
    "epsilon negative": (lambda: (b := steps()).f32(b.step(3, FLOATS), -1e-5), "epsilon is negative"),
    "widths added": (
        lambda: (b := two_widths()).u32(b.step(2, KIND), 5).u32(b.step(2, SOURCES, 1), 0),
        "different features",
    ),
    "attention of no heads": (lambda: (b := attention()).u32(b.step(0, INTEGERS), 0), "heads do not divide"),
    "attention of 4 heads": (lambda: (b := attention()).u32(b.step(0, INTEGERS), 4), "heads do not divide"),
    "attention of 2^31 heads": (lambda: (b := attention()).u32(b.step(0, INTEGERS), 1 << 31), "heads do not divide"),
    "attention's scale": (lambda: (b := attention()).f32(b.step(0, FLOATS), INF), "not finite"),
    "widths multiplied": (
        lambda: (b := two_widths()).u32(b.step(2, KIND), 8).u32(b.step(2, SOURCES, 1), 0),
        "different features",
    ),
    "norm of no heads": (lambda: (b := by_heads()).u32(b.step(0, INTEGERS), 0), "heads do not divide"),
    "norm of 5 heads": (lambda: (b := by_heads()).u32(b.step(0, INTEGERS), 5), "heads do not divide"),
    "norm's epsilon": (lambda: (b := by_heads()).f32(b.step(0, FLOATS), -1e-6), "epsilon is negative"),
    "norm's gamma": (lambda: (b := by_heads()).u64(b.entry(0) + 8, 24), "wrong length"),
    "rotation of no heads": (lambda: (b := by_heads()).u32(b.step(1, INTEGERS), 0), "heads do not divide"),
    "rotation of 4 heads": (lambda: (b := by_heads()).u32(b.step(1, INTEGERS), 4), "no pairs"),
    "rotation of one head": (lambda: (b := by_heads()).u32(b.step(1, INTEGERS), 1), "table does not fit"),
    "rotation of a third kind": (lambda: (b := by_heads()).u32(b.step(1, INTEGERS, 1), 2), "no pairs"),
    "rotation by other sines": (lambda: (b := by_heads()).u32(b.step(1, SOURCES, 2), 0), "table does not fit"),
    "rotation without sines": (lambda: (b := by_heads()).u32(b.step(1, SOURCES, 2), NONE), "before it is computed"),
    "rotation by a fourth": (lambda: (b := by_heads()).u32(b.step(1, SOURCES, 3), 0), "too many sources"),
    "more heads of keys than heads": (lambda: (b := by_heads()).u32(b.step(2, INTEGERS, 1), 4), "share no whole"),
    "2^31 heads of keys": (lambda: (b := by_heads()).u32(b.step(2, INTEGERS, 1), 1 << 31), "share no whole"),
    "as many heads of keys": (lambda: (b := by_heads()).u32(b.step(2, INTEGERS, 1), 2), "have different features"),
    "relative positions of no heads": (lambda: (b := relative()).u32(b.step(0, INTEGERS), 0), "heads do not divide"),
    "relative positions of 6 heads": (lambda: (b := relative()).u32(b.step(0, INTEGERS), 6), "numbers of heads"),
    "relative positions of values": (lambda: (b := relative()).u32(b.step(0, INTEGERS, 1), 2), "queries or of keys"),
    "relative positions of other features": (relative_of_other_features, "do not fit a head"),
    "relative scale": (lambda: (b := relative()).f32(b.step(0, FLOATS), NAN), "not finite"),
    "relative positions of a mask": (lambda: (b := relative()).u32(b.step(0, SOURCES), 11), "computes with a mask"),
    "table of tokens": (lambda: (b := relative()).u32(b.step(0, SOURCES, 1), 0), "a mask is no mask"),
    "table that is places": (lambda: (b := relative()).u32(b.step(0, SOURCES, 2), 4), "serves two purposes"),
    "table for other heads": (
        lambda: (b := relative()).u32(b.step(1, SOURCES, 1), 4).u32(b.step(1, INTEGERS), 1),
        "a table serves different heads",
    ),
    "no places": (lambda: (b := relative()).u32(b.step(0, SOURCES, 2), NONE), "a mask is no mask"),
    "mask that is a table": (lambda: (b := relative()).u32(b.step(3, SOURCES, 1), 4), "serves two purposes"),
    "sum of three relative positions": (lambda: (b := relative()).u32(b.step(3, SOURCES, 1), 6), "too much is added"),
    "sum of itself": (lambda: (b := relative()).u32(b.step(2, SOURCES), 10), "a mask is no mask"),
    "sum of tokens": (lambda: (b := relative()).u32(b.step(2, SOURCES), 0), "a mask is no mask"),
    "section beyond table": (lambda: (b := steps()).u32(b.step(1, SECTIONS), 1), "section that is not there"),
    "section too short": (lambda: (b := steps()).u64(b.entry(0) + 8, 20), "wrong length"),
    "more weights than are counted": (lambda: (b := linear()).u64(b.entry(1) + 8, 1 << 40), "too many weights"),
    "section too long": (lambda: (b := steps()).u64(b.entry(0) + 8, 28), "wrong length|outside"),
    "section not aligned": (lambda: (b := linear()).u64(b.entry(0), 65), "section lies outside"),
    "section outside": (lambda: (b := linear()).u64(b.entry(0), 1 << 20), "section lies outside"),
    "section ends outside": (lambda: (b := linear()).u64(b.entry(4), len(b.bytes) // 64 * 64), "section lies outside"),
    "section at 2^64 - 64": (lambda: (b := linear()).u64(b.entry(0), (1 << 64) - 64), "section lies outside"),
    "section of 2^64 - 1": (lambda: (b := linear()).u64(b.entry(0) + 8, (1 << 64) - 1), "outside|wrong length"),
    "layer's outputs": (lambda: (b := linear()).u32(b.step(0, INTEGERS), 22), "shape is not that of its values"),
    "layer's inputs": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 1), 9), "shape is not that of its values"),
    "rows 0": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 2), 0), "height"),
    "rows 3": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 2), 3), "height"),
    "rows 64": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 2), 64), "height"),
    "rows 2 for 1": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 2), 2), "wrong length"),
    "columns 0": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 3), 0), "width"),
    "columns 2": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 3), 2), "width"),
    "columns 1 for 4": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 3), 1), "wrong length"),
    "float 2": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 4), 2), "type is unknown"),
    "float32 in blocks of 4": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 4), 1), "width|do not fit"),
    "quantization 3": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 5), 3), "type is unknown"),
    "int8 without quantization": (lambda: (b := linear()).u32(b.step(0, INTEGERS, 5), 0), "do not fit"),
    "float32 with quantization": (
        lambda: (b := linear(kernel=Kernel("element"), single=True)).u32(b.step(0, INTEGERS, 5), 1),
        "do not fit",
    ),
    "activation range empty": (lambda: (b := linear()).f32(b.step(0, FLOATS, 1), -4.0), "range is empty"),
    "activation range not a number": (lambda: (b := linear()).f32(b.step(0, FLOATS), NAN), "not finite"),
    "activation range too wide": (
        lambda: (b := linear()).f32(b.step(0, FLOATS), -3e38).f32(b.step(0, FLOATS, 1), 3e38),
        "range",
    ),
    "no pointers": (lambda: (b := linear()).u32(b.step(0, SECTIONS), NONE), "no pointers"),
    "no indices": (lambda: (b := linear()).u32(b.step(0, SECTIONS, 1), NONE), "section that is not there"),
    "no values": (lambda: (b := linear()).u32(b.step(0, SECTIONS, 2), NONE), "no weights"),
    "no scales": (lambda: (b := linear()).u32(b.step(0, SECTIONS, 3), NONE), "have scales"),
    "scales of float32 weights": (
        lambda: (b := linear(kernel=Kernel("element"), single=True)).u32(b.step(0, SECTIONS, 3), 3),
        "have scales",
    ),
    "channel factors of another length": (
        lambda: (b := linear(factors=True)).u32(b.step(0, SECTIONS, 5), 4),
        "wrong length",
    ),
    "pointers for indices": (lambda: (b := linear()).u32(b.step(0, SECTIONS, 1), 0), "wrong length|pointers"),
    "first pointer": (lambda: (b := linear()).u32(b.data(0, 0), 1), "pointers"),
    "last pointer": (lambda: (b := linear()).u32(b.data(0, 0) + 4 * 21, 1 << 20), "pointers"),
    "pointer beyond": (lambda: (b := linear()).u32(b.data(0, 0) + 4 * 5, 1 << 20), "pointers do not ascend"),
    "pointer 2^32 - 1": (lambda: (b := linear()).u32(b.data(0, 0) + 4 * 5, NONE), "pointers do not ascend"),
    "pointers descend": (lambda: (b := linear()).u32(b.data(0, 0) + 4 * 5, 0), "pointers do not ascend|blocks do not"),
    "index beyond columns": (lambda: (b := linear()).u32(b.data(0, 1), 3), "outside its matrix"),
    "index 65535": (lambda: (b := linear()).u32(b.data(0, 1), 0xFFFFFFFF), "outside its matrix"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_with_what_is_wrong(validate, extension, name):
    make, message = DAMAGE[name]
    damaged = make()
    damaged = bytes(damaged.bytes if isinstance(damaged, Blob) else damaged)
    found = validate(damaged)
    assert found is not None, "taken for a valid program"
    assert "\n" not in found
    assert re.search(message, found)
    if damaged:
        with pytest.raises((RuntimeError, OptkitError), match=message):
            extension.create_node([_parameter(10)], damaged, "damaged")


def _parameter(features: int):
    return import_openvino().opset13.parameter([-1, -1, features], np.float32).output(0)


def programs() -> dict[str, Program]:
    rng = np.random.default_rng(3)
    return {
        "layer": encoder_layer(rng, 12, 3, 20),
        "dynamic": encoder_layer(rng, 12, 3, 20, quantization="dynamic"),
        "float32": encoder_layer(rng, 12, 3, 20, None),
        "gated": gated_layer(rng, 8, 4, 2, 6, 12),
        "relative": relative_program(2, 5, masks=2),
        "linear": linear_program([layer(), layer(kernel=Kernel("element", 8), factors=True)], 10),
    }


@pytest.mark.parametrize("name", programs())
def test_valid_programs_are_valid(validate, name):
    assert validate(encode(programs()[name])) is None


@pytest.mark.parametrize("name", programs())
def test_every_shorter_program_is_refused(validate, name):
    packed = encode(programs()[name])
    for length in range(0, len(packed), 7):
        assert validate(packed[:length]) is not None, length
        # Even when the header agrees, a cut program lacks a table or a section's end.
        if length >= HEADER:
            said = packed[:32] + struct.pack("<Q", length) + packed[40:length]
            assert validate(said) is not None, length


@pytest.mark.parametrize("name", programs())
def test_any_word_may_be_wrong(validate, name):
    """Each 32-bit word of the header and tables is replaced in turn; the answer is a message or none, never a crash."""
    blob = Blob(programs()[name])
    end = blob.section_table + SECTION * blob.sections
    refused = 0
    for at in range(8, end, 4):
        for number in (0, 1, 5, 0x7FFFFFFF, 0x80000000, 0x7FC00000, NONE):
            damaged = bytes(blob.bytes[:at]) + struct.pack("<I", number) + bytes(blob.bytes[at + 4 :])
            refused += validate(damaged) is not None
    assert refused > (end - 8) // 4


def test_indices_have_to_ascend(validate):
    packed = pack(np.ones((2, 12), np.int8), Kernel("block4"))
    scale = np.ones(2, np.float32)
    for indices in ([0, 2, 1, 0, 1, 2], [0, 1, 1, 0, 1, 2]):
        wrong = PackedWeights((2, 12), 1, 4, packed.pointers, np.array(indices, np.uint16), packed.values)
        step = Linear(0, 1, wrong, scale, None, Quantization(-1.0, 1.0))
        assert "do not ascend" in validate(encode(Program([12, 2], [0], [1], [step])))


def test_damaged_model_file_is_refused_when_it_is_read(extension, tmp_path):
    program = linear_program([layer()], 10)
    openvino = import_openvino()
    openvino.save_model(op_model(program), tmp_path / "model.xml", compress_to_fp16=False)
    core = openvino.Core()
    extension.add_to(core)
    core.read_model(tmp_path / "model.xml")
    file = tmp_path / "model.bin"
    whole = file.read_bytes()
    at = whole.index(b"OPTKPROG")
    for offset, number, message in ((8, 7, "has format 7"), (12, 1 << 31, "out of range"), (64, 0, "mask")):
        damaged = bytearray(whole)
        struct.pack_into("<I", damaged, at + offset, number)
        file.write_bytes(damaged)
        with pytest.raises(RuntimeError, match=message):
            core.read_model(tmp_path / "model.xml")


def test_two_sections_may_begin_at_one_place(validate, extension):
    """Numbers that overlap are read each with its own length: here 10 and 21 of them from one offset."""
    rng = np.random.default_rng(4)
    numbers, more = f32(rng, 10), f32(rng, 21)
    program = chain(
        10,
        lambda s, t: Affine(s, t, numbers, None),
        (21, lambda s, t: Linear(s, t, **layer())),
        lambda s, t: LayerNorm(s, t, None, None, 1e-5),
        lambda s, t: Affine(s, t, more, None),
    )
    blob = Blob(program)
    blob.u64(blob.entry(0), blob.data(3, 0))
    assert validate(blob.bytes) is None
    shared = Program(program.features, program.inputs, program.outputs, list(program.steps))
    shared.steps[0] = Affine(0, 1, more[:10].copy(), None)
    x = Grid().activations(rng, 1, 40, 10)
    openvino = import_openvino()
    results = []
    for packed in (bytes(blob.bytes), encode(shared)):
        parameter = openvino.opset13.parameter([-1, -1, 10], np.float32)
        node = extension.create_node([parameter.output(0)], packed, "node")
        model = openvino.Model([openvino.opset13.result(node.output(0))], [parameter], "shared")
        compiled = openvino.Core().compile_model(model, "CPU")
        results.append(np.array(compiled.create_infer_request().infer([x])[0]))
    np.testing.assert_array_equal(*results)
