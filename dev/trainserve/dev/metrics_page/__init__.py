"""docs/metrics.md, made of the definitions of all metrics and of a template with prose and queries."""
