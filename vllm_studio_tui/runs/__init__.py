"""The faces' side of runs: resolve a spec, start a keeper, read state, fold ledgers."""
