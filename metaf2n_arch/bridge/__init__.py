"""Floor 7: the bridge: registers the parts of this package with BasicSR, and repairs BasicSR ("the host").

No other code of this package patches anything. `python -m metaf2n_arch.bridge` prints the table of repairs;
METAF2N_BRIDGE=0 turns the bridge off. A *run of this package* is a run that uses a part of it, see `bridge.circle`.
"""
