"""Optional packages: the command that installs those of one extra, for error messages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires


def install_command(extra: str) -> str:
    """Returns the command that installs the packages of an extra, such as ``web``.

    The packages are named, not the extra: with ``metaf2n-arch[web]`` pip would check all requirements of this package
    again, and bring a second OpenCV with pyiqa.

    >>> install_command('web').startswith('pip install "gradio>=')
    True
    """
    try:
        lines = requires('metaf2n-arch') or []
    except PackageNotFoundError:  # the source is used without an installation
        lines = []
    marks = f'extra == "{extra}"', f"extra == '{extra}'"
    names = [line.partition(';')[0].strip() for line in lines if line.endswith(marks)]
    return 'pip install ' + (' '.join(f'"{name}"' for name in names) or extra)
