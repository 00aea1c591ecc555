"""A described cluster on which the engine's own placement and admission run, in simulated time.

`python -m millpond.scheduler.simulate --help`. `workloads` says what is to be done, `policies` who
decides where, `node` and `directory` what a node and the cluster hold, `simulation` lets it happen,
`report` compares.
"""
