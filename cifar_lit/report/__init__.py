"""One page that compares runs: rankings, figures, tables for papers. `python -m cifar_lit.report runs/... -o report/`."""
