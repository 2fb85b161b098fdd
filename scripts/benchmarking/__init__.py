"""What `scripts/benchmark.py` is made of: methods, one child process per method, curves, tables and plots."""
