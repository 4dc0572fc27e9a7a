"""The Grafana dashboards as code: `python -m trainserve.dev.dashboards` writes charts/trainserve/dashboards/*.json.

A module for each board (`boards/`), and one for each thing that they share: colours, units, panels, layout, variables,
links, annotations. `queries` reads the written files again, for tests, the preview and the benchmark.
"""
