"""Zeros that are put into an IR, and what is timed of it. The clock is replaced."""

from __future__ import annotations

import numpy as np
import pytest

from optkit.errors import OptkitError
from optkit.runtime.planning import sparsities
from optkit.runtime.planning.sparsities import kernel_times, model_times, with_zeros
from optkit.runtime.rewriting.sites import sites

UP, DOWN = (f"__module.encoder.layer.0.{name}/aten::linear/MatMul" for name in ("up", "down"))


def mask(shape, share, seed=0):
    keep = np.ones(shape[0] * shape[1] // 4, bool)
    keep[np.random.default_rng(seed).permutation(keep.size)[: round(share * keep.size)]] = False
    return np.repeat(keep, 4).reshape(shape)


@pytest.mark.parametrize("quantized", [True, False])
def test_zeros_are_put_into_a_copy(make_encoder, quantized):
    model = make_encoder(density=1.0, quantized=quantized)
    keep = mask((256, 64), 0.75)
    found = {site.matmul: site for site in sites(with_zeros(model, {UP: keep}))}
    plain = {site.matmul: site for site in sites(model)}
    assert found[UP].block4_densities[1] == 0.25 and plain[UP].block4_densities[1] == 1.0
    assert np.array_equal(found[UP].values, plain[UP].values * keep)
    assert np.array_equal(found[DOWN].values, plain[DOWN].values)


def test_a_layer_that_is_not_there_is_one_line(make_encoder):
    with pytest.raises(OptkitError, match="zeros cannot be put into nowhere: there is no such layer"):
        with_zeros(make_encoder(), {"nowhere": np.ones((4, 4), bool)})


def test_on_kernels_even_a_dense_layer_is_not_openvinos(make_encoder, monkeypatch, extension):
    compiled = []

    def medians(turns, **_):
        for run in turns.values():
            run()
        return {name: 8.0 - number for number, name in enumerate(turns)}

    compile_for_cpu = sparsities.compile_for_cpu
    monkeypatch.setattr(sparsities, "medians", medians)
    monkeypatch.setattr(
        sparsities, "compile_for_cpu", lambda core, model, _: compiled.append(model) or compile_for_cpu(core, model, {})
    )
    dense = make_encoder(density=1.0)
    models = [dense, with_zeros(dense, {UP: mask((256, 64), 0.9)})]
    assert kernel_times(models, shape=(1, 16), config={}) == [8.0, 7.0]
    assert [sites(model) for model in compiled] == [[], []] and len(sites(dense)) > 0


def test_whole_models_take_turns_with_the_dense_one(make_encoder, monkeypatch, extension, folder):
    timed = []

    def medians(turns, **_):
        for run in turns.values():
            run()
        timed.append(list(turns))
        return {name: 8.0 - number for number, name in enumerate(turns)}

    monkeypatch.setattr(sparsities, "medians", medians)
    dense = make_encoder(density=1.0)
    models = [with_zeros(dense, {UP: mask((256, 64), share)}) for share in (0.5, 0.9)]
    options = {"config": {"INFERENCE_NUM_THREADS": 1}, "reference_config": {"INFERENCE_NUM_THREADS": 1}}
    assert model_times(dense, models, shape=(1, 16), **options) == (8.0, [7.0, 6.0], 1)
    assert timed == [["reference", "0", "1"]]
