"""Shapes with names for the dimensions that are not known: which values have provably the same.

OpenVINO's shape inference carries symbols of dimensions along, so the model is inferred anew, every unknown dimension
getting a symbol where it appears. What OpenVINO forgets on the way is added here: Reshapes to sizes computed from other
values' shapes, masks, which never make attention scores larger, tables of positions, which never make what they rotate
larger, and that ``attention_mask`` has an entry for each of ``input_ids``. ``model.validate_nodes_and_infer_types``
undoes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.ir.io import import_openvino
from optkit.runtime.rewriting.graph import SAME_NUMBERS, Key, arguments, integers, key, kind, number, readers
from optkit.runtime.rewriting.rotary import rotation

if TYPE_CHECKING:
    import openvino

#: Sizes that are known as they are; below ``_REST``, names of sizes that are not.
Shape = tuple[int, ...]
_REST = -1


class Shapes:
    """The shape of each value of a model, by ``shapes[value]``; None where even the rank is unknown.

    Equal entries of two shapes are equal sizes whenever the model runs, given that masks do not enlarge scores, nor
    tables what they rotate.
    """

    def __init__(self, model: openvino.Model) -> None:
        self._openvino = import_openvino()
        self._symbols: list[openvino.Symbol] = []
        self._numbers: dict[openvino.Symbol, int] = {}
        self._shapes: dict[Key, Shape | None] = {}
        self._length = self._tokens_of(model)
        for node in model.get_ordered_ops():
            if node.get_type_name() != "Parameter":
                node.validate_and_infer_types()
            for value in node.outputs():
                shape = self._refined(value, self._read(value.get_partial_shape()))
                self._shapes[key(value)] = shape
                self._stamp(value, shape)
        # Inference finds some symbols equal only later, as where two values meet in a product.
        same = self._representatives()
        for at, shape in self._shapes.items():
            self._shapes[at] = shape and tuple(same.get(size, size) for size in shape)

    def _tokens_of(self, model: openvino.Model) -> int | None:
        """How many token ids a text has, by name; None where that is known, or there are none."""
        ids = next((port for port in model.inputs if "input_ids" in port.get_names()), None)
        shape = None if ids is None else self._read(ids.get_partial_shape())
        if shape is None or len(shape) != 2 or shape[1] >= 0:
            return None
        self._stamp(ids, shape)
        return shape[1]

    def __getitem__(self, value: openvino.Output) -> Shape | None:
        return self._shapes.get(key(value))

    def tokens(self, value: openvino.Output) -> Shape | None:
        """The shape of float32 tokens, (..., features) with known features; None for anything else."""
        shape = self[value]
        if shape is None or len(shape) < 2 or shape[-1] <= 0 or value.get_element_type().to_string() != "f32":
            return None
        return shape

    def learn_features(self, value: openvino.Output, features: int) -> None:
        """Lets it be known how many features ``value`` has, as the weight that it is multiplied by says."""
        shape = self[value]
        if shape:
            self._shapes[key(value)] = (*shape[:-1], features)

    def integers(self, value: openvino.Output | None) -> list[int] | None:
        """The numbers of a short list of sizes that are known whatever the model is given."""
        if value is None or value.get_element_type().is_real():
            return None
        if (fixed := integers(value)) is not None:
            return fixed
        found = self._values(value)
        return None if found is None or min(found, default=0) < 0 else found

    def sizes(self, value: openvino.Output) -> list[int] | None:
        """The numbers of a short list of sizes, unknown ones by name; None if it holds no such."""
        return None if value.get_element_type().is_real() else self._values(value)

    def _number(self, size: openvino.Dimension) -> int:
        symbol = size.get_symbol() if size.has_symbol() else self._openvino.Symbol()
        if symbol not in self._numbers:
            self._symbols.append(symbol)
            self._numbers[symbol] = _REST - len(self._symbols)
        return self._numbers[symbol]

    def _read(self, shape: openvino.PartialShape) -> Shape | None:
        if shape.rank.is_dynamic:
            return None
        return tuple(size.get_length() if size.is_static else self._number(size) for size in shape)

    def _representatives(self) -> dict[int, int]:
        """For the name of each size the first that means the same."""
        first: list[int] = []
        same = {}
        for symbol, name in self._numbers.items():
            alike = (other for other in first if self._symbols[_REST - other - 1] == symbol)
            same[name] = next(alike, name)
            if same[name] == name:
                first.append(name)
        return same

    def _stamp(self, value: openvino.Output, shape: Shape | None) -> None:
        """Lets the nodes that read ``value`` know what its unknown sizes are called."""
        if shape is None or all(size >= 0 for size in shape):
            return
        sizes = []
        for size, known in zip(shape, value.get_partial_shape()):
            dimension = self._openvino.Dimension(size) if size >= 0 else known
            if size < 0:
                dimension.set_symbol(self._symbols[_REST - size - 1])
            sizes.append(dimension)
        stamped = self._openvino.PartialShape(sizes)
        value.get_node().set_output_type(value.get_index(), value.get_element_type(), stamped)

    # What OpenVINO forgets, for a value whose node's inputs are in ``_shapes`` already.

    def _refined(self, value: openvino.Output, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        if kind(value) == "Parameter" and "attention_mask" in value.get_names():
            return (shape[0], self._length) if self._length is not None and len(shape) == 2 and shape[1] < 0 else shape
        if kind(value) == "Reshape":
            return self._reshaped(value, shape)
        if kind(value) == "Broadcast" and value.get_node().get_attributes()["mode"] == "numpy":
            return _merged(shape, self._values(arguments(value)[1]))
        if kind(value) == "Range" and (number(arguments(value)[0]), number(arguments(value)[2])) == (0, 1):
            return _merged(shape, self._values(arguments(value)[1]))
        if kind(value) == "ScaledDotProductAttention":
            query, last = self[arguments(value)[0]], shape[-1]
            return shape if query is None or len(query) != len(shape) else (*query[:-1], last)
        if kind(value) == "Tile":
            data, repeats = self[arguments(value)[0]], self.sizes(arguments(value)[1])
            alike = data is not None and repeats is not None and len(data) == len(repeats) == len(shape)
            return tuple(a if n == 1 else b for a, n, b in zip(data, repeats, shape)) if alike else shape
        if kind(value) in ("Add", "Select") and len(shape) == 4:
            turned = rotation(value, self)
            return self[turned.source] if turned else self._masked(value) or shape
        return shape

    def _reshaped(self, value: openvino.Output, shape: Shape) -> Shape:
        data, pattern = arguments(value)
        wanted, source = self._values(pattern), self[data]
        if wanted is None or source is None:
            return shape
        if value.get_node().get_attributes()["special_zero"]:
            wanted = [source[i] if size == 0 and i < len(source) else size for i, size in enumerate(wanted)]
        if _REST in wanted:
            rest = _quotient(source, [size for size in wanted if size != _REST])
            wanted = [rest if size == _REST else size for size in wanted]
        return _merged(shape, wanted)

    def _values(self, value: openvino.Output) -> list[int] | None:
        """The numbers of a short list of sizes, unknown ones by name."""
        fixed = integers(value)
        if fixed is not None:
            return fixed
        inputs, operation = arguments(value), kind(value)
        if operation == "ShapeOf":
            shape = self[inputs[0]]
            return None if shape is None else list(shape)
        if operation in SAME_NUMBERS or operation == "Floor":
            return self._values(inputs[0])
        if operation == "Concat":
            parts = [self._values(each) for each in inputs]
            return None if None in parts else [size for part in parts for size in part]
        if operation == "Gather":
            sizes, indices = self._values(inputs[0]), integers(inputs[1])
            return None if sizes is None or indices is None else [sizes[index] for index in indices]
        if operation == "Divide":
            over, under = (self._values(each) for each in inputs)
            if over and under and len(under) == 1 and under[0] > 0 and min(over) >= 0:
                return [each // under[0] for each in over]
        size = value.get_partial_shape()
        if size.is_dynamic or len(size) > 1:
            return None
        count = size.to_shape()[0] if len(size) else 1
        if operation in ("Slice", "StridedSlice"):
            sizes, start = self._values(inputs[0]), integers(inputs[1])
            step = integers(inputs[3]) if len(inputs) > 3 else [1]
            if sizes is None or start is None or step != [1]:
                return None
            from_start = operation == "StridedSlice" and value.get_node().get_attributes()["begin_mask"][:1] == [1]
            first = 0 if from_start else start[0] + len(sizes) * (start[0] < 0)
            return sizes[first : first + count]
        return [self._number(self._openvino.Dimension()) for _ in range(count)]

    def _masked(self, value: openvino.Output) -> Shape | None:
        """The shape of the scores in a sum or choice of scores and mask that ends in a Softmax."""
        if not {node.get_type_name() for node in readers(value)} <= {"Softmax", "Add", "Select"}:
            return None
        scores = [self[each] for each in arguments(value) if _are_scores(each)]
        return scores[0] if len(scores) == 1 else None


def _are_scores(value: openvino.Output, depth: int = 6) -> bool:
    """Whether ``value`` is a matrix product, perhaps scaled or masked already."""
    operation = kind(value)
    if operation in ("Multiply", "Divide", "Add", "Select") and depth:
        return any(_are_scores(each, depth - 1) for each in arguments(value))
    return operation == "MatMul"


def _merged(shape: Shape, sizes: list[int | None] | None) -> Shape:
    """``shape`` with ``sizes`` for those that it does not know."""
    if sizes is None or len(sizes) != len(shape):
        return shape
    return tuple(old if old >= 0 or new is None else new for old, new in zip(shape, sizes))


def _quotient(sizes: Shape, others: list[int]) -> int | None:
    """The size that ``others`` lack to have as many elements as ``sizes``; None if that is no known or named one."""
    left, number = [size for size in sizes if size < 0], 1
    for size in sizes:
        number *= size if size >= 0 else 1
    for size in others:
        if size < 0:
            if size not in left:
                return None
            left.remove(size)
        elif size == 0 or number % size:
            return None
        else:
            number //= size
    if not left:
        return number
    return left[0] if len(left) == 1 and number == 1 else None
