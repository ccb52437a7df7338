"""Results are read back as they were written, and those of earlier releases as what they meant."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import pytest

from optkit.benchmark.result_migration import read_result
from optkit.benchmark.result_tables import row_names
from optkit.variant import DENSE, Variant

INT8 = Variant("pruned", "int8", "openvino")
#: A file of format 2, as far as it is read.
EARLIER = {
    "format": 2,
    "command": "optkit bench run",
    "settings": {"mode": "latency", "threads": 2, "streams": None, "duration": 5.0, "texts": None, "precision": "bf16"},
    "machine": {"cpu": "A CPU", "flags": ["avx2"], "cores": 4, "versions": {"openvino": "2026.1"}, "load": [0.1]},
    "models": [{"path": "run", "model": "dense", "backend": "torch", "source": "run/dense", "bytes": 9}],
    "left_out": [{"path": "run", "backend": "onnxruntime", "why": "not installed"}],
    "shapes": [
        {
            "batch": 1,
            "seq": 128,
            "rows": [
                {"path": "run", "model": "dense", "backend": "torch", "milliseconds": 8.0, "per_second": 125.0,
                 "reference": True, "ratio": None, "over_int8": [0.5, 0.4, 0.6], "noisy": False},
                {"path": "run", "model": "int8 IR", "backend": "openvino-int8", "milliseconds": 4.0,
                 "per_second": 250.0, "reference": False, "ratio": [2.0, 1.9, 2.1], "over_int8": None, "noisy": True},
                {"path": "other", "model": "int8 IR", "backend": "openvino-int8-f32", "milliseconds": 4.0,
                 "per_second": 250.0, "reference": False, "ratio": [2.0, 1.9, 2.1], "noisy": False},
            ],
        }
    ],
    "warnings": [],
}  # fmt: skip


def test_paths_that_end_alike_are_told_apart():
    def rows(*paths):
        return [SimpleNamespace(name="int8 IR", path=path) for path in paths]

    assert row_names(rows("a/one/openvino", "b/two/openvino/")) == ["int8 IR (one/openvino)", "int8 IR (two/openvino)"]
    assert row_names(rows("a/x", "b/y", None)) == ["int8 IR (x)", "int8 IR (y)", "int8 IR"]
    assert row_names(rows("a/x", "a/x")) == ["int8 IR"] * 2
    assert row_names(rows("x", "a/x")) == ["int8 IR (x)", "int8 IR (a/x)"]


def test_a_file_of_an_earlier_release():
    result = read_result(json.loads(json.dumps(EARLIER)))
    (shape,) = result.shapes
    assert [row.variant for row in shape.rows] == [DENSE, INT8, Variant("given", "int8", "openvino", True)]
    assert [row.name for row in shape.rows][:2] == ["dense, torch", "int8 IR, openvino-int8"]
    assert (shape.against, shape.plain, shape.noisy) == (DENSE, INT8, [INT8])
    assert shape.over_plain == {DENSE: [0.5, 0.4, 0.6]}
    assert (result.versions, result.machine.instruction_sets) == ({"openvino": "2026.1"}, ["avx2"])
    assert (result.precision, result.models[0].variant, result.left_out[0].backend) == ("bf16", DENSE, "onnxruntime")
    assert read_result(json.loads(json.dumps(result.to_dict()))) == result


def test_what_the_first_release_wrote_was_in_f32():
    earlier = copy.deepcopy(EARLIER) | {"format": 1}
    del earlier["settings"]["precision"]
    assert read_result(earlier).precision == "f32"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found.update(format=4),
        lambda found: found.pop("shapes"),
        lambda found: found["shapes"][0]["rows"][0].update(backend="numpy"),
        lambda found: found["shapes"][0]["rows"][0].update(per_second=0),
        lambda found: found["shapes"][0]["rows"][0].update(per_second="125"),
        lambda found: found["settings"].update(threads=0),
        lambda found: found.update(machine=[]),
    ],
)
def test_what_is_no_result_is_refused(spoil):
    found = copy.deepcopy(EARLIER)
    spoil(found)
    with pytest.raises(ValueError):
        read_result(found)
