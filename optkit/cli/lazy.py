"""What the verbs work and print with, imported at first use: ``optkit --help`` and ``optkit validate`` import little.

The work itself is done by the function of the package that has the verb's name, such as ``optkit.bake``, which is
imported at first use as well.
"""

from __future__ import annotations

from optkit.lazy import lazy_attributes

#: The module of each name.
_NAMES = {
    "Console": "rich.console",
    "Table": "rich.table",
    "Text": "rich.text",
    "FRONTIER_CHART": "optkit.experiments.sweep:CHART",
    "RuntimeReport": "optkit.interop.inspect",
    "bench_result": "optkit.benchmark.bench",
    "benchmark_chart": "optkit.report.render.benchmark_chart",
    "benchmark_lines": "optkit.benchmark.result_tables:lines",
    "benchmark_load_table": "optkit.benchmark.result_tables:load_table",
    "benchmark_table": "optkit.benchmark.result_tables:shape_table",
    "draw_frontier": "optkit.experiments.sweep:draw",
    "format_dollars": "optkit.report.result_tables:dollars",
    "is_repository": "optkit.recipe.schema",
    "parse_report": "optkit.report.reading",
    "precision_advice": "optkit.report.precision:advice",
    "price_list_form": "optkit.report.prices:FORM",
    "report_table": "optkit.report.render.markdown:rich_table",
    "suited_structure": "optkit.runtime.structures",
    "thread_count": "optkit.progress",
}


__getattr__ = lazy_attributes(__name__, _NAMES)
