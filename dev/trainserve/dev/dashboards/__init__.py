"""The Grafana dashboards as code: `python -m trainserve.dev.dashboards` writes charts/trainserve/dashboards/*.json.

There is a module for each board (`boards/`), and one for each shared part: colours, units, panels, layout, variables,
links, annotations. `queries` reads the written files, for tests, the preview and the benchmark.
"""
