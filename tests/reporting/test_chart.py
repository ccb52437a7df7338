"""The picture of the layers: well-formed, to scale, with every layer's name and share."""

from __future__ import annotations

from xml.etree import ElementTree

from optkit.reporting.chart import short_names, sparsity_chart

SVG = "{http://www.w3.org/2000/svg}"


def test_bars_are_to_scale_and_named():
    shares = {"m.encoder.0.up.weight": 0.8, "m.encoder.0.<odd>.weight": 0.0, "m.encoder.1.up.weight": 1.0}
    layers = [{"name": name, "structure": "1x4", "sparsity": share} for name, share in shares.items()]
    picture = ElementTree.fromstring(sparsity_chart(layers, "a & b"))
    bars = [float(bar.get("width")) for bar in picture.iter(f"{SVG}rect")][1:]
    full, filled = bars[::2], bars[1::2]
    assert [filled[i] / full[i] for i in range(3)] == [0.8, 0.0, 1.0]
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert texts[0] == "a & b" and {"0.up", "0.<odd>", "1.up", "80.0% 1x4", "0.0% 1x4", "100.0% 1x4"} <= set(texts)
    assert float(picture.get("height")) > max(float(bar.get("y")) for bar in picture.iter(f"{SVG}rect") if bar.get("y"))


def test_what_all_names_begin_with_is_left_out_by_whole_modules():
    assert short_names(["bert.layer.0.key.weight", "bert.layer.0.query.weight"]) == ["key", "query"]
    assert short_names(["bert.lay.weight", "bert.layer.weight", "classifier"]) == [
        "bert.lay",
        "bert.layer",
        "classifier",
    ]
    assert short_names(["bert.only.weight"]) == ["bert.only"] and short_names([]) == []
