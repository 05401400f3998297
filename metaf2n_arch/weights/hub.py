"""Hugging Face hub: uploads generators to a repository and downloads them, as safetensors with training record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.extras import install_command

FILE = 'model.safetensors'
CARD = 'README.md'


def download(repo: str, file: str = FILE, revision: str | None = None) -> Path:
    """Downloads a generator from a repository into the cache of the hub, unless it is there.

    Args:
        repo: the repository, ``owner/name``.
        file: name of the file in the repository.
        revision: branch, tag or commit; give a commit to make results reproducible.

    Returns:
        Path of the file.

    Raises:
        OptionError: huggingface_hub is not installed, or `repo` is not of the form ``owner/name``.
        DataError: there is no connection, or no such repository or file.
    """
    hub = _hub(repo)
    try:
        return Path(hub.hf_hub_download(repo, file, revision=revision))
    except Exception as error:  # errors of the hub and of the network connection
        raise DataError(f'{repo}: {file} could not be fetched from the hub ({_reason(error)}).') from None


def push(path: str | Path, repo: str, licence: str, private: bool = False) -> str:
    """Uploads a .safetensors file and a short model card to a repository, which is created if it does not exist.

    Args:
        path: a file that `export` wrote.
        repo: the repository, ``owner/name``.
        licence: licence of the weights, as the hub spells it, for example ``apache-2.0``.
        private: whether a new repository is private.

    Returns:
        Web address of the repository.

    Raises:
        OptionError: see `download`; or the file has another suffix.
        DataError: there is no connection or no permission (run ``hf auth login``), or the file cannot be read.
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
        raise DataError(f'{repo}: could not be uploaded ({_reason(error)}); log in with: hf auth login') from None
    return address


def card(metadata: dict[str, str], repo: str, licence: str) -> str:
    """The model card as Markdown: the network, its training record, and how to use it in Python."""
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
        raise OptionError(f'{repo!r} is not a repository of the hub, expected owner/name.')
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise OptionError(f'the hub needs huggingface_hub; run: {install_command("hub")}') from None
    return huggingface_hub


def _reason(error: Exception) -> str:
    return ' '.join(str(error).split())[:160].rstrip('.') or type(error).__name__
