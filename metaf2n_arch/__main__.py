"""The `metaf2n` command as ``python -m metaf2n_arch``, for launchers such as torchrun."""

from metaf2n_arch.cli.main import main

if __name__ == '__main__':
    main()
