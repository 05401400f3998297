"""Status of the bridge: `python -m metaf2n_arch.bridge [--brief | option file]` prints the repairs and how to switch
them off; ``--brief`` prints one line, and exits with code 1 if something failed."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Prints the table of repairs, and whether a run with the given option file is a run of this package."""
    if os.environ.get('METAF2N_BRIDGE') == '0':
        print('The bridge is off (METAF2N_BRIDGE=0); no repair is applied. Unset it to switch the bridge on.')
        return
    try:
        import basicsr
    except Exception as error:
        print(f'`import basicsr` fails, and the bridge is not the cause: {type(error).__name__}: {error}')
        return
    from metaf2n_arch.bridge import circle, decision, hooks, registration
    from metaf2n_arch.bridge.circle import SKIP
    from metaf2n_arch.bridge.table import brief, report

    if sys.argv[1:] == ['--brief']:
        _brief(*((True, f'leaves BasicSR alone: {hooks.foreign["why"]}') if hooks.foreign['why'] else brief()))
        return
    folder = os.path.dirname(getattr(basicsr, '__file__', None) or 'an unknown place')
    print(f'BasicSR {getattr(basicsr, "__version__", "of unknown version")} at {folder}')
    if hooks.foreign['why']:
        print(f'The bridge leaves it alone, and registers no part of this package there: {hooks.foreign["why"]}.')
        return
    print(f'{report()}\n')
    if registration.failed:
        print('Parts that cannot be registered:')
        for name, reason in registration.failed.items():
            print(f'  {name}: {type(reason).__name__}: {reason}')
    if registration.plugins:
        print(f'Plug-ins of other packages: {", ".join(registration.plugins)}')
    if sys.argv[1:]:
        arguments = sys.argv[1:] if '-opt' in sys.argv else ['-opt', *sys.argv[1:]]
        ours, why = decision.kind_of_run(arguments)
    else:
        ours, why = circle.is_ours(), circle.why()
    print(f'This run {"uses" if ours else "does not use"} this package: {why}.')
    print(
        '"everybody": in every run; it makes BasicSR run and changes no result. "ours": only in runs whose option file '
        'names a part of this package or lists `plugins`, and in all runs with METAF2N_BRIDGE=all.\n'
        f'Switch off: METAF2N_BRIDGE=0 (everything), {SKIP}=name,name (single repairs).'
    )


def _brief(well: bool, line: str) -> None:
    from metaf2n_arch.bridge import registration

    failed = [f'{name} cannot be registered: {error}' for name, error in registration.failed.items()]
    print('; '.join([line, *failed]))
    if failed or not well:
        sys.exit(1)


if __name__ == '__main__':
    main()
