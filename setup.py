"""Packaging of MetaF2N for BasicSR. Tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    text = (ROOT / 'metaf2n_arch' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"__version__ = '([^']+)'", text).group(1)


def requirements() -> list[str]:
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


setup(
    name='metaf2n-arch',
    version=version(),
    description='MetaF2N, self-similarity loss and GAN super-resolution losses as a plug-in of BasicSR',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['metaf2n_arch', 'metaf2n_arch.*']),
    install_requires=requirements(),
    extras_require={'test': ['pytest>=8', 'hypothesis>=6', 'safetensors>=0.4', 'ruff>=0.6', 'mypy>=1.10']},
    entry_points={'console_scripts': ['metaf2n = metaf2n_arch.cli.main:main']},
)
