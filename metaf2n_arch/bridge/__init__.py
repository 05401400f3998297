"""Floor 7: what makes the stock runner know our parts, and every repair of it. Nothing else patches anything.

`python -m metaf2n_arch.bridge` prints the table of repairs; METAF2N_BRIDGE=0 turns the bridge off.
"""
