"""Recognition of the host: BasicSR as it was published, or another package of its name that is left alone.

Many projects carry their own ``basicsr/``, older and changed. What no installed distribution of version 1.4.2 or later
has brought is such a copy.
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
"""Files of the host that repairs and parts of ours build on; a fork that was installed may lack some."""


def why_foreign(spec: ModuleSpec) -> str | None:
    """Returns why the package `basicsr` that `spec` describes is to be left alone, or None if it is the host."""
    if not spec.origin or Path(spec.origin).name != '__init__.py':
        return 'it is a folder without __init__.py'
    package = Path(spec.origin).resolve().parent
    versions = [distribution.version for distribution in _distributions() if _brought(distribution, package)]
    if not versions:
        return f'{package} is a copy that no installed distribution has brought'
    found = re.match(r'(\d+)\.(\d+)(?:\.(\d+))?', versions[0])
    if found is None or tuple(int(part or 0) for part in found.groups()) < OLDEST:
        return f'{package} is version {versions[0]}, and repairs are known from 1.4.2 on'
    missing = [name for name in NEEDED if not (package / name).is_file()]
    return f'{package} lacks {missing[0]}, which BasicSR has' if missing else None


def _distributions() -> Iterator[metadata.Distribution]:
    yield from metadata.distributions(name='basicsr')
    for name in metadata.packages_distributions().get('basicsr', []):  # one under another name brings it
        if name.lower() != 'basicsr':
            yield from metadata.distributions(name=name)


def _brought(distribution: metadata.Distribution, package: Path) -> bool:
    """Whether the distribution's files, or the folder it was installed from as editable, hold `package`."""
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
