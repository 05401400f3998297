"""Packaging of MetaF2N for BasicSR. Tool settings live in pyproject.toml.

Two things go beyond the ordinary: the bridge's start-up file (`metaf2n_bridge.pth`) has to reach the top of
site-packages, from a wheel and from an editable install alike, and the option files are shipped inside the package.
"""

import base64
import hashlib
import re
import shutil
import zipfile
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
NCNN = 'ncnn>=1.0.20250916'
OPTIMIZERS = ['schedulefree>=1.3', 'pytorch_optimizer>=3.1']
STARTUP = ROOT / 'metaf2n_arch' / 'bridge' / 'metaf2n_bridge.pth'


def version() -> str:
    text = (ROOT / 'metaf2n_arch' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"__version__ = '([^']+)'", text).group(1)


def requirements() -> list[str]:
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


class BuildWithStartup(build_py):
    """Puts the start-up file at the wheel's root, and the option files inside the package."""

    def run(self) -> None:
        super().run()
        if getattr(self, 'editable_mode', False):
            return
        for source, target in self._extra_files().items():
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        return outputs if getattr(self, 'editable_mode', False) else [*outputs, *self._extra_files().values()]

    def _extra_files(self) -> dict[str, str]:
        lib = Path(self.build_lib)
        options = sorted(f for f in (ROOT / 'options').rglob('*') if f.suffix in ('.yml', '.json'))
        targets = {str(f): str(lib / 'metaf2n_arch' / f.relative_to(ROOT)) for f in options}
        return {**targets, str(STARTUP): str(lib / STARTUP.name)}


class EditableWithStartup(editable_wheel):
    """Adds the start-up file to the editable wheel, with its line in RECORD so that it is uninstalled again."""

    def run(self) -> None:
        super().run()
        for wheel in Path(self.dist_dir).glob('metaf2n_arch-*.whl'):
            add_to_wheel(wheel, STARTUP)


def add_to_wheel(wheel: Path, file: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        content = {item: archive.read(item) for item in archive.infolist()}
    data = file.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
    line = f'{file.name},sha256={digest},{len(data)}\n'
    with zipfile.ZipFile(wheel, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(file.name, data)
        for item, old in content.items():
            is_record = item.filename.endswith('.dist-info/RECORD')
            archive.writestr(item, old + line.encode() if is_record else old)


setup(
    name='metaf2n-arch',
    version=version(),
    description='MetaF2N, self-similarity loss and GAN super-resolution losses as a plug-in of BasicSR',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    # An explicit '.' makes an editable install a plain path file, which starts faster than a finder.
    package_dir={'': '.'},
    packages=find_packages(include=['metaf2n_arch', 'metaf2n_arch.*']),
    package_data={'': ['*.pth', '*.md', 'py.typed']},
    install_requires=requirements(),
    extras_require={
        'test': [
            'pytest>=8',
            'hypothesis>=6',
            'ruff>=0.6',
            'mypy>=1.10',
            'jsonschema>=4',
            'schedulefree>=1.3',
            'pytorch_optimizer>=3.1',
            NCNN,
        ],
        'formats': ['pillow-heif>=0.20', 'pillow-jxl-plugin>=1.3'],
        'ray': ['ray[data]>=2.30'],
        'web': ['gradio>=5.30'],
        'docs': [
            'mkdocs>=1.6,<2',
            'mkdocs-material>=9.5',
            'mkdocstrings[python]>=0.26',
            'mkdocs-gen-files>=0.5',
            'mkdocs-literate-nav>=0.6',
            'latex2mathml>=3.77',
        ],
        'tensorflow': ['tensorflow>=2.16'],
        'onnx': ['onnx>=1.16', 'onnxruntime>=1.18', 'onnxscript>=0.2'],
        'hub': ['huggingface_hub>=0.25'],
        'video': ['av>=12'],
        'ncnn': [NCNN],
        'optimizers': OPTIMIZERS,
    },
    entry_points={'console_scripts': ['metaf2n = metaf2n_arch.cli.main:main']},
    cmdclass={'build_py': BuildWithStartup, 'editable_wheel': EditableWithStartup},
)
