"""A synthetic week of a large cluster's metrics as Prometheus blocks, on which dashboards and rules are timed.

The names and labels are those of trainserve.api.metrics, Triton and dcgm-exporter; the values come from a seeded random
generator and are the same for every run. Series have realistic lifetimes: those of a TrainJob's pod exist while it
runs, a ModelServe's pods are replaced at every rollout, and the operator's series of an object last until the end,
since finished objects are not deleted.
"""
