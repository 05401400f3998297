"""`python -m metaf2n_arch.bridge`: imports BasicSR and prints every repair, and whether it was needed."""

from __future__ import annotations

import os


def main() -> None:
    """Prints the table of repairs."""
    if os.environ.get('METAF2N_BRIDGE') == '0':
        print('The bridge is off (METAF2N_BRIDGE=0); no repair is applied.')
        return
    import basicsr

    from metaf2n_arch.bridge.table import report

    version = getattr(basicsr, '__version__', 'of unknown version')
    print(f'BasicSR {version} at {os.path.dirname(basicsr.__file__)}\n{report()}')


if __name__ == '__main__':
    main()
