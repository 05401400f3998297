"""Hugging Face hub: generators pushed to a repository and read from one, as safetensors with their record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import DataError, OptionError

FILE = 'model.safetensors'
CARD = 'README.md'


def download(repo: str, file: str = FILE, revision: str | None = None) -> Path:
    """Fetches a generator from a repository into the hub's own cache, unless it is there.

    Args:
        repo: ``owner/name``.
        file: its name in the repository.
        revision: branch, tag or commit; pin a commit for results that can be repeated.

    Raises:
        OptionError: huggingface_hub is not installed, or `repo` is no ``owner/name``.
        DataError: no connection, no such repository or file.
    """
    hub = _hub(repo)
    try:
        return Path(hub.hf_hub_download(repo, file, revision=revision))
    except Exception as error:  # the hub's own errors, and those of the connection below
        raise DataError(f'{repo}: {file} could not be fetched from the hub ({_reason(error)}).') from None


def push(path: str | Path, repo: str, licence: str, private: bool = False) -> str:
    """Puts a .safetensors file and a short model card into a repository, which is made if it is not there.

    Args:
        path: of a file that `export` wrote.
        repo: ``owner/name``.
        licence: of the weights, as the hub spells it, for example ``apache-2.0``: nobody else can know it.
        private: whether a new repository is private.

    Returns:
        The address.

    Raises:
        OptionError: see `download`.
        DataError: no connection, no permission (run ``hf auth login``), or no .safetensors file.
    """
    from metaf2n_arch.weights.files import read_metadata

    path = Path(path)
    if path.suffix != '.safetensors':
        raise OptionError(f'{path}: the hub takes .safetensors files, which cannot execute code; export to one first.')
    metadata = read_metadata(path)
    api = _hub(repo).HfApi()
    try:
        address = str(api.create_repo(repo, private=private, exist_ok=True))
        api.upload_file(path_or_fileobj=card(metadata, repo, licence).encode(), path_in_repo=CARD, repo_id=repo)
        api.upload_file(path_or_fileobj=str(path), path_in_repo=FILE, repo_id=repo)
    except Exception as error:
        raise DataError(f'{repo}: could not be pushed to the hub ({_reason(error)}); see: hf auth login') from None
    return address


def card(metadata: dict[str, str], repo: str, licence: str) -> str:
    """The model card: what the network is, how it was trained, and the three lines that use it."""
    from metaf2n_arch.weights.records import record_in

    record = record_in(metadata, repo)
    rows = {'scale': metadata.get('scale'), 'architecture': metadata.get('architecture')}
    rows |= {} if record is None else record.plain()
    table = '\n'.join(f'| {key} | `{value}` |' for key, value in rows.items() if value is not None)
    trained = record is not None and record.meta_trained
    return f"""---
license: {licence}
library_name: metaf2n_arch
pipeline_tag: image-to-image
tags: [super-resolution, image-restoration{', meta-learning' if trained else ''}]
---
# {repo.rpartition('/')[2]}

A super-resolution generator, {'meta-trained to adapt to each photo' if trained else 'not meta-trained'}.

| | |
|---|---|
{table}

```python
from metaf2n_arch import MetaF2N

sr = MetaF2N.from_pretrained('{repo}')
```
"""


def _hub(repo: str) -> Any:
    if repo.count('/') != 1 or not all(repo.split('/')):
        raise OptionError(f'{repo!r} is no repository of the hub, expected owner/name.')
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise OptionError('the hub needs huggingface_hub; run: pip install "metaf2n-arch[hub]"') from None
    return huggingface_hub


def _reason(error: Exception) -> str:
    return ' '.join(str(error).split())[:160].rstrip('.') or type(error).__name__
