"""Linear layers of a Relax program as block-sparse products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax

from optkit.adapters.tvm.kernels import block_sparse_product, lanes_for, transposition
from optkit.adapters.tvm.kernels_int8 import GROUP, block_sparse_product_int8, quantization
from optkit.adapters.tvm.program import Program

if TYPE_CHECKING:
    from optkit.export.tvm.packing import PackedLayer

#: In the names of the functions of block-sparse products.
PRODUCT = "block_sparse_product"
#: What a packed layer is as parameters, in the order of the product's arguments; and a weight of a dense product.
_PARTS, _TRANSPOSED = ("starts", "columns", "values"), ("transposed",)
_INT8_PARTS = (*_PARTS, "scales", "offsets")
#: Operations of one input that compute each output from the input at its place, whatever the layout.
_POINTWISE = ("relax.nn.gelu", "relax.nn.gelu_tanh", "relax.nn.relu", "relax.nn.silu", "relax.tanh", "relax.sigmoid")


def rewrite(program: Program, layers: Mapping[str, PackedLayer], width: int, *, fast_math: bool = True) -> Program:
    """``program`` with block-sparse products in the place of linear layers.

    The weights of the others are transposed beforehand: then they are factors of products, whose layout is free.

    A layer is matmul(inputs (tokens, in), permute_dims(weight (out, in))), most often with add(bias (out,), ...). The
    product takes (features, tokens), so transpositions are put around it. Between two products they are left out where
    all that is computed in between is computed at each place alone.

    Args:
        layers: by the name of the weight; those that the program does not multiply by as above stay dense.
        width: float32 numbers of the CPU's widest vector.
        fast_math: whether GELU's error function may be a rational approximation, which vectors compute.
    """
    return _Rewriting(program, layers, width, fast_math).run()


class _Rewriting:
    """One pass over the bindings of ``main``, which are straight-line code."""

    def __init__(self, program: Program, layers: Mapping[str, PackedLayer], width: int, fast_math: bool):
        self._program, self._layers, self._width, self._fast_math = program, layers, width, fast_math
        self._main = program.module["main"]
        first = int(self._main.attrs["num_input"])
        self._names = dict(zip(self._main.params[first:], program.parameters))
        (block,) = self._main.body.blocks
        self._bound = {binding.var: binding.value for binding in block.bindings}
        self._uses = Counter(each for value in self._bound.values() for each in _variables(value))
        self._biased = {product: add for add, (product, _) in self._sums().items()}
        self._builder = relax.BlockBuilder()
        self._new: dict[Any, Any] = {}
        #: The same numbers as (features, tokens), by the new variable of (tokens, features); both ways are looked up.
        self._columns: dict[Any, Any] = {}
        self._functions: dict[Any, Any] = {}
        #: Inputs in int8 and their scales, by the (features, tokens) that they are of.
        self._quantized: dict[Any, tuple[Any, Any]] = {}
        #: Parameters and what they hold, by what they are of and which parts of it they are.
        self._added: dict[tuple[str, tuple[str, ...]], tuple[list[Any], Sequence[np.ndarray]]] = {}

    def run(self) -> Program:
        for variable in self._bound:
            if (name := self._layer(variable)) is not None:
                layer = self._layers[name]
                parts = _parts(layer)
                self._add_parameters(name, parts, [getattr(layer, part) for part in parts])
            elif (name := self._transposed(variable)) is not None and (name, _TRANSPOSED) not in self._added:
                self._add_parameters(name, _TRANSPOSED, (np.ascontiguousarray(self._program.parameters[name].T),))
        added = [variable for variables, _ in self._added.values() for variable in variables]
        builder, (block,) = self._builder, self._main.body.blocks
        for variable in self._main.params:
            self._new[variable] = variable
        with builder.function("main", [*self._main.params, *added], attrs=dict(self._main.attrs)):
            with builder.dataflow():
                for binding in block.bindings:
                    self._new[binding.var] = self._emit(binding.var, binding.value)
                result = builder.emit_output(self._new[self._main.body.body])
            builder.emit_func_output(result)
        parameters = dict(self._program.parameters)
        for (name, parts), (_, arrays) in self._added.items():
            parameters |= {f"{name}.{part}": array for part, array in zip(parts, arrays)}
        return Program(builder.finalize(), parameters, self._fast_math)

    def _weight(self, variable: Any) -> str | None:
        """The name of the weight that ``variable`` is a product with, where it is one of ``layers``."""
        value = self._bound.get(variable)
        if not _is(value, "relax.matmul") or len(value.args[0].ty.shape) != 2:
            return None
        turned = self._bound.get(value.args[1])
        name = self._names.get(turned.args[0]) if _is(turned, "relax.permute_dims") else None
        return name if name in self._layers else None

    def _sums(self) -> dict[Any, tuple[Any, Any]]:
        """Products and biases by the variables of their sums."""
        found = {}
        for variable, value in self._bound.items():
            if not _is(value, "relax.add"):
                continue
            for bias, product in (value.args, reversed(value.args)):
                if bias in self._names and self._weight(product) and self._uses[product] == 1:
                    found[variable] = product, bias
        return found

    def _layer(self, variable: Any) -> str | None:
        """The weight of the layer whose outputs ``variable`` has."""
        value = self._bound[variable]
        if _is(value, "relax.add"):
            products = (each for each in value.args if each in self._biased and self._biased[each].same_as(variable))
            return next((self._weight(each) for each in products), None)
        return self._weight(variable) if variable not in self._biased else None

    def _transposed(self, variable: Any) -> str | None:
        """The name of the weight that ``variable`` is the transpose of, where it is of a layer that stays dense."""
        value = self._bound[variable]
        if not _is(value, "relax.permute_dims") or len(value.args[0].ty.shape) != 2:
            return None
        name = self._names.get(value.args[0])
        return None if name in self._layers else name

    def _add_parameters(self, name: str, parts: tuple[str, ...], arrays: Sequence[np.ndarray]) -> None:
        variables = [
            relax.Var(f"p_{len(self._added)}_{part}", relax.TensorType(array.shape, str(array.dtype)))
            for part, array in zip(parts, arrays)
        ]
        self._added[name, parts] = variables, arrays

    def _emit(self, variable: Any, value: Any) -> Any:
        if variable in self._biased:  # computed with its bias
            return None
        name = self._layer(variable)
        if name is not None:
            return self._emit_product(variable, value, name)
        if (name := self._transposed(variable)) is not None:
            return self._added[name, _TRANSPOSED][0][0]
        if _is(value, *_POINTWISE) and (columns := self._columns.get(self._new[value.args[0]])) is not None:
            return self._emit_rows(self._emit_plain(relax.Call(value.op, [columns], value.attrs)))
        emitted = self._emit_plain(_replace(value, self._new))
        if _is(value, "relax.reshape") and _rows_alike(value.args[0].ty, emitted.ty):
            if (columns := self._columns.get(self._new[value.args[0]])) is not None:
                self._columns[emitted] = columns
        return emitted

    def _emit_plain(self, value: Any) -> Any:
        emit = self._builder.emit
        if _is(value, "relax.take"):  # an index that is out of range must not read other memory
            return emit(relax.op.take(*value.args, axis=value.attrs.axis, mode="clip"))
        if self._fast_math and _is(value, "relax.nn.gelu"):
            (inputs,) = value.args
            erf = emit(relax.op.erf(emit(relax.op.multiply(inputs, relax.const(np.float32(0.5**0.5))))))
            half = emit(relax.op.multiply(inputs, relax.const(np.float32(0.5))))
            return emit(relax.op.multiply(half, emit(relax.op.add(erf, relax.const(np.float32(1))))))
        return emit(value)

    def _emit_product(self, variable: Any, value: Any, name: str) -> Any:
        product = value
        if _is(value, "relax.add"):
            bias = next(each for each in value.args if each in self._names)
            product = self._bound[next(each for each in value.args if not each.same_as(bias))]
        else:
            bias = relax.const(np.zeros(self._layers[name].shape[0], np.float32))
        layer, inputs = self._layers[name], self._new[product.args[0]]
        columns = self._columns.get(inputs)
        if columns is None:
            columns = self._transpose(inputs)
            self._columns[inputs] = columns
        tokens, shape, block = int(columns.ty.shape[1]), layer.shape, layer.block
        parameters = self._added[name, _parts(layer)][0]
        if layer.scales is None:
            called = self._function(
                PRODUCT, block_sparse_product, tokens=tokens, shape=shape, block=block, width=self._width
            )
            arguments = [columns, *parameters]
        else:
            called = self._function(PRODUCT, block_sparse_product_int8, tokens=tokens, shape=shape, block=block)
            packed, scales = self._quantize(columns, tokens, shape[1])
            arguments = [packed, *parameters, scales]
        type_ = relax.TensorType((shape[0], tokens), "float32")
        return self._emit_rows(
            self._builder.emit(relax.call_tir(called, [*arguments, self._new.get(bias, bias)], type_))
        )

    def _quantize(self, columns: Any, tokens: int, inputs: int) -> tuple[Any, Any]:
        """``columns`` in int8, and the tokens' scales."""
        if columns not in self._quantized:
            called = self._function("quantize", quantization, tokens=tokens, inputs=inputs)
            types = [relax.TensorType((inputs // GROUP, tokens), "int32"), relax.TensorType((tokens,), "float32")]
            both = self._builder.emit(relax.call_tir(called, [columns], types))
            packed, scales = (self._builder.emit(relax.TupleGetItem(both, number)) for number in range(2))
            self._quantized[columns] = packed, scales
        return self._quantized[columns]

    def _transpose(self, matrix: Any) -> Any:
        rows, columns = map(int, matrix.ty.shape)
        lanes = min(lanes_for(rows, self._width), lanes_for(columns, self._width))
        if lanes == 1:
            return self._builder.emit(relax.op.permute_dims(matrix, [1, 0]))
        called = self._function("transpose", transposition, rows=rows, columns=columns, lanes=lanes)
        return self._builder.emit(relax.call_tir(called, [matrix], relax.TensorType((columns, rows), "float32")))

    def _function(self, name: str, make: Callable[..., Any], **sizes: Any) -> Any:
        """The function of the program that ``make`` makes for these sizes."""
        key = make, *sizes.items()
        if key not in self._functions:
            self._functions[key] = self._builder.add_func(make(**sizes), name)
        return self._functions[key]

    def _emit_rows(self, columns: Any) -> Any:
        rows = self._transpose(columns)
        self._columns[rows] = columns
        return rows


def _parts(layer: PackedLayer) -> tuple[str, ...]:
    return _PARTS if layer.scales is None else _INT8_PARTS


def _is(value: Any, *names: str) -> bool:
    return isinstance(value, relax.Call) and getattr(value.op, "name", None) in names


def _variables(value: Any) -> Iterator[Any]:
    """The variables that ``value`` is computed of."""
    if isinstance(value, relax.Var):
        yield value
    for each in getattr(value, "args", ()) or getattr(value, "fields", ()):
        yield from _variables(each)
    if isinstance(value, relax.TupleGetItem):
        yield from _variables(value.tuple_value)


def _replace(value: Any, new: Mapping[Any, Any]) -> Any:
    """``value`` with other variables, as ``new`` says."""
    if isinstance(value, relax.Var):
        return new[value]
    if isinstance(value, relax.Call):
        return relax.Call(value.op, [_replace(each, new) for each in value.args], value.attrs, value.ty_args)
    if isinstance(value, relax.Tuple):
        return relax.Tuple([_replace(each, new) for each in value.fields])
    if isinstance(value, relax.TupleGetItem):
        return relax.TupleGetItem(_replace(value.tuple_value, new), value.index)
    return value


def _rows_alike(before: Any, after: Any) -> bool:
    """Whether a reshape leaves the last dimension as it is, so that both are rows of the same features."""
    return int(before.shape[-1]) == int(after.shape[-1])
