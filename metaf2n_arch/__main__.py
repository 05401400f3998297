"""The `metaf2n` command as ``python -m metaf2n_arch``, which launchers such as torchrun start."""

from metaf2n_arch.cli.main import main

if __name__ == '__main__':
    main()
