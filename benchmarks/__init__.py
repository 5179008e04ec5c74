"""Speed of metalhead beside its peers and beside the machine's limits, measured in one run.

`python -m benchmarks --help` lists the commands; docs/performance.md says what is measured and how.
"""
