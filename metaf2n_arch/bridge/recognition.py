"""Recognition of BasicSR: tells the published package from other packages of the same name, which are left alone.

Many projects contain their own ``basicsr/``, older and changed. A package counts as such a copy unless an installed
distribution of version 1.4.2 or later contains it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from urllib.parse import unquote, urlsplit

OLDEST = (1, 4, 2)
NEEDED = (
    'train.py',
    'models/sr_model.py',
    'models/srgan_model.py',
    'losses/basic_loss.py',
    'losses/gan_loss.py',
    'data/data_sampler.py',
    'utils/registry.py',
    'utils/options.py',
)
"""Files of BasicSR that repairs and parts of this package need; an installed fork may lack some."""


def why_foreign(spec: ModuleSpec) -> str | None:
    """Returns why the package `basicsr` of `spec` is left alone, or None if it is the published BasicSR."""
    if not spec.origin or Path(spec.origin).name != '__init__.py':
        return 'it is a folder without __init__.py'
    package = Path(spec.origin).resolve().parent
    versions = [distribution.version for distribution in _distributions() if _brought(distribution, package)]
    if not versions:
        return f'{package} is a copy that belongs to no installed distribution'
    found = re.match(r'(\d+)\.(\d+)(?:\.(\d+))?', versions[0])
    if found is None or tuple(int(part or 0) for part in found.groups()) < OLDEST:
        return f'{package} is version {versions[0]}, and the repairs need 1.4.2 or later'
    missing = [name for name in NEEDED if not (package / name).is_file()]
    return f'{package} lacks {missing[0]}, which BasicSR has' if missing else None


def _distributions() -> Iterator[metadata.Distribution]:
    yield from metadata.distributions(name='basicsr')
    for name in metadata.packages_distributions().get('basicsr', []):  # distributions of another name that contain it
        if name.lower() != 'basicsr':
            yield from metadata.distributions(name=name)


def _brought(distribution: metadata.Distribution, package: Path) -> bool:
    """Whether `package` is among the distribution's files, or in the folder of its editable install."""
    if Path(str(distribution.locate_file('basicsr'))).resolve() == package:
        return True
    try:
        origin = json.loads(distribution.read_text('direct_url.json') or '{}')
    except ValueError:
        return False
    if not origin.get('dir_info', {}).get('editable'):
        return False
    folder = Path(unquote(urlsplit(origin.get('url', '')).path))
    return folder.resolve() in package.parents
