"""A made-up week of a large cluster's metrics, as blocks of a Prometheus: what dashboards and rules are timed on.

The names and labels are those of trainserve.api.metrics, Triton and dcgm-exporter; the figures are drawn from seeded
random numbers, the same for every run. Objects come and go as they do: a TrainJob's pod has its series while it runs, a
ModelServe's pods are replaced at every rollout, and the operator's series of an object stay until the end, since nobody
deletes what is done.
"""
